/* SPDX-License-Identifier: Apache-2.0
 *
 * The call by which one message goes to a broker: which function of the library ldc1, with which keys, and which
 * arguments stand before the ten values of the envelope and which behind them. One row a function in queue_call.c;
 * docs/PROTOCOL.md says what the functions promise. All texts are borrowed, or live in the pool that it was made with.
 */
#ifndef GATEWAY_QUEUE_CALL_H
#define GATEWAY_QUEUE_CALL_H

#include <h2o.h>

#include "common/protocol.h"
#include "gateway/publish_options.h"
#include "router/topic.h"

#define QUEUE_CALL_KEYS 8
#define QUEUE_CALL_ARGS 8

struct queue_target {
    struct str unit;
    const struct table_topic *topic;
    uint32_t partition;
};

struct queue_call {
    struct queue_target target;
    struct str function;
    struct str keys[QUEUE_CALL_KEYS];
    struct str before[QUEUE_CALL_ARGS]; /* behind the broker's epoch, which comes first with a message */
    struct envelope envelope;           /* the fields up to ENVELOPE_BODY, and ENVELOPE_REPLY */
    struct str behind[QUEUE_CALL_ARGS]; /* behind the reply stream */
    unsigned key_count, before_count, behind_count;
    enum queue_call_kind {
        QUEUE_CALL_MESSAGE = 0, /* it brings one */
        QUEUE_CALL_ENDING,      /* ends one that is put aside: `before`, and the epoch as the last word, are all */
        QUEUE_CALL_COLLECTION,  /* of a collection: the epoch and `before` are all */
    } kind;
    bool reads; /* nothing is stored by it */
};

/* The envelope is the caller's to fill, before: the fingerprint is taken of it. */
void queue_call_init(struct queue_call *call, h2o_mem_pool_t *pool, const struct queue_target *target,
                     const struct publish_options *options);

/* A call that ends what is put aside: FUNCTION of the message ID, which must be one, with ARGUMENT. */
void queue_call_init_end(struct queue_call *call, h2o_mem_pool_t *pool, struct str function, struct str id,
                         struct str argument);

#define QUEUE_CALL_GET    "ldc1_c_get"
#define QUEUE_CALL_PUT    "ldc1_c_put" /* sent again as QUEUE_CALL_REPLAY */
#define QUEUE_CALL_REPLAY "ldc1_c_replay"

/* A call of FUNCTION for a COLLECTION of UNIT, without its words: those that come behind the epoch are to be added. */
void queue_call_init_collection(struct queue_call *call, h2o_mem_pool_t *pool, struct str function, struct str unit,
                                struct str collection);
void queue_call_add_word(struct queue_call *call, struct str word);

/* Appends the call to WIRE, in RESP; returns how many bytes that were. */
size_t queue_call_format(const struct queue_call *call, uint64_t broker_epoch, struct buf *wire);

/* The same for a call that was MADE before. REPLAY: its message may be stored. */
size_t queue_call_format_again(struct str made, bool replay, uint64_t broker_epoch, struct buf *wire);

#endif
