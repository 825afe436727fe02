/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to the origin of collections: calls of functions of docs/COLLECTIONS.md to the core unit's primary, sent as
 * messages are (gateway/unit_lines.h). So they are held while the unit changes its broker; a write is sent again under
 * the same id where nobody knows what came of it; and what is answered is held by the in-sync replicas.
 *
 * Of a call that was sent the lines own the message; whoever called holds a pointer until its `done` runs or it called
 * message_forget(), whichever is first. It may be held for `failover.hold`: who will not wait that long, forgets it.
 */
#ifndef GATEWAY_COLLECTION_ORIGIN_H
#define GATEWAY_COLLECTION_ORIGIN_H

#include "gateway/message.h"
#include "gateway/worker.h"

enum origin_outcome {
    ORIGIN_READ = 0,
    ORIGIN_REPLACED, /* or deleted */
    ORIGIN_CREATED,
    ORIGIN_CONFLICT, /* the condition does not hold */
    ORIGIN_ABSENT,   /* there was nothing to delete */
};

/* What the origin said. Lives until `done` returns. */
struct origin_answer {
    enum verdict verdict; /* VERDICT_OK: it has answered. OUTCOME_UNKNOWN: of a write alone. Others: nothing was done */
    const char *detail;   /* a sentence for the client; NULL: none. Static */
    enum origin_outcome outcome; /* of VERDICT_OK */
    uint64_t number; /* READ, ABSENT: the collection's sequence. CONFLICT: the version that stands there, 0: none. Else
                        the change's version */
    struct str packed; /* of collection_origin_get(): the value (common/collection_value.h); len 0: there is none */
    struct str texts;  /* of collection_origin_ask(): all strings of the answer, for call_answer_next() */
    bool replayed;     /* the call's id was known before it was sent: this is what was answered then */
    uint64_t epoch;    /* version of the core unit's record by which it was answered */
    enum durability durability;
};

/* Runs once, on the worker's thread, never from within the call. */
typedef void (*origin_done_fn)(void *arg, const struct origin_answer *answer);

/* A call. It lives where its caller put it until `done` runs or its message is forgotten; the texts are borrowed until
 * the call returns. */
struct origin_call {
    struct str collection, key;
    uint32_t order;     /* calls of the same number stay in their order, and leave together */
    int64_t timeout_ms; /* 0: the broker's */
    origin_done_fn done;
    void *arg;
    /* of a write */
    struct str id;        /* by which a repeat is known */
    bool keyed;           /* the id is made of an Idempotency-Key: a client may have sent it before */
    struct str condition; /* as ldc1_c_put takes it */
    struct str packed;    /* the value; len 0: delete */
};

/* Reads KEY at the origin. NULL and *REFUSAL: it was not even asked, and `done` will not run.
 *
 * The answer also covers what its caller read before on the line to the core unit's primary, where that was read by the
 * record whose version is the answer's epoch. */
struct message *collection_origin_get(struct worker *worker, struct origin_call *call,
                                      struct origin_answer *refusal) MUST_CHECK;

/* The same with any function of collections that only reads, and its WORDS behind the epoch. */
struct message *collection_origin_ask(struct worker *worker, struct origin_call *call, struct str function,
                                      const struct str *words, unsigned count,
                                      struct origin_answer *refusal) MUST_CHECK;

/* Writes KEY; as above. */
struct message *collection_origin_put(struct worker *worker, struct origin_call *call,
                                      struct origin_answer *refusal) MUST_CHECK;

#endif
