/* SPDX-License-Identifier: Apache-2.0
 *
 * Compares what stands in the unit's broker with what the origin has, and says how the copy goes on: it follows, it is
 * filled further, or it begins anew.
 */
#ifndef AGENT_COPY_LOOK_H
#define AGENT_COPY_LOOK_H

#include "common/broker.h"

struct copy;

/* The next step of COPY, which LOOKS. */
void copy_look_step(struct copy *copy);

/* What it has read is covered, or not: for a struct copy_claim, whose ARG is the copy. */
void copy_look_claimed(void *copy, bool covered);

/* The fields of `meta` that are asked for, in this order. */
enum copy_meta {
    COPY_META_SEQ = 0,
    COPY_META_STATE,
    COPY_META_EPOCH,
    COPY_META_BUCKET,
    COPY_META_BEAT,
    COPY_META_BAD,
    COPY_META_OWNER,
    COPY_META_DIGEST_SEQ,
    COPY_META_DIGEST_OK,
    COPY_META_UNTIL,
    COPY_META_COUNT,
};

/* Asks the unit's broker for them. As broker_command(). */
bool copy_look_ask(struct copy *copy, broker_reply_fn done, void *arg) MUST_CHECK;

#endif
