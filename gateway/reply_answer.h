/* SPDX-License-Identifier: Apache-2.0
 *
 * The app's answer to a message, as the reply stream brings it, and as the waiting client gets it. The texts are
 * borrowed.
 */
#ifndef GATEWAY_REPLY_ANSWER_H
#define GATEWAY_REPLY_ANSWER_H

#include "common/broker.h"
#include "gateway/exchange.h"

struct reply_answer {
    struct str id;      /* of the message */
    struct str status;  /* decimal; "0": the app gave no answer */
    struct str headers; /* "name: value" lines */
    struct str body;
    struct str fault; /* why the answer is not here, a sentence; empty where it is */
};

/* ENTRY: of a reply stream. False where it is none. */
bool reply_answer_read(const redisReply *entry, struct reply_answer *answer);

/* Answers EXCHANGE with the app's status, fields (those that a proxy passes on) and body, or with the problem that
 * there is none. WAIT_S: the preference that was applied. */
void reply_answer_send(struct exchange *exchange, const struct reply_answer *answer, enum durability durability,
                       uint64_t wait_s);

#endif
