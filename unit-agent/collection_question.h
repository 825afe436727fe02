/* SPDX-License-Identifier: Apache-2.0
 *
 * A question about one collection of a unit, or about all, that came to the admin listener and is answered from the
 * unit's primary broker: nothing that this agent believes goes into it. Owned by who answers; the broker calls back
 * what is under way before it goes.
 *
 * Lifecycle: ask -> (commands to the broker) -> answer or refuse, once, which ends it.
 */
#ifndef AGENT_COLLECTION_QUESTION_H
#define AGENT_COLLECTION_QUESTION_H

#include <jansson.h>

#include "common/collection_value.h"
#include "common/protocol.h"
#include "unit-agent/duty.h"

struct collection_question {
    struct httpd_request *request;
    struct broker *broker;
    const struct duty *duty;
    char name[PROTOCOL_NAME_MAX + 1]; /* "": all */
    char at[PROTOCOL_KEY_MAX];        /* "ldc:{UNIT}:c/NAME/" */
    json_t *items;
    uint64_t from, to; /* what is asked for: buckets, or sequences */
    bool with_keys;
    unsigned owed; /* replies */
    bool failed;   /* one of them was no answer */
};

/* NULL: it was answered already, since there is no such collection or no broker. The query's `name` names it; where it
 * may be absent, all are meant. */
struct collection_question *collection_ask(const struct duty *duty, struct httpd_request *request, bool all);

/* The query's number NAME, from LEAST to MOST, or PRESET where it is absent. False: the question was refused. */
bool collection_ask_number(struct collection_question *question, const char *name, uint64_t least, uint64_t most,
                           uint64_t preset, uint64_t *number) MUST_CHECK;

/* With `{unit, collection, count, items}`. */
void collection_answer(struct collection_question *question);
void collection_refuse(struct collection_question *question, int status, const char *problem, const char *detail);
/* Because of REPLY (may be NULL), which is not what was asked for. */
void collection_fail(struct collection_question *question, const redisReply *reply);

/* Of a key and the packed value under it: 16 hex digits, zero-terminated. Shares nothing with the sums. */
#define COLLECTION_FINGERPRINT_SIZE 17
uint64_t collection_fingerprint(struct str key, struct str packed);
void collection_fingerprint_format(uint64_t fingerprint, char text[COLLECTION_FINGERPRINT_SIZE]);

/* The key as a JSON text, with what is not printable ASCII as in a URL. A new reference. */
json_t *collection_key_text(struct str key);

#endif
