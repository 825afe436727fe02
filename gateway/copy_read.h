/* SPDX-License-Identifier: Apache-2.0
 *
 * One read of a collection, of whatever form: it finds a copy that may be read and is as new as the rules and the
 * client want, waits for it for a moment, or goes to the origin. The form says what is asked and how it is answered.
 *
 * It lives in the request's pool, as the carrier of its exchange, and ends with the answer.
 */
#ifndef GATEWAY_COPY_READ_H
#define GATEWAY_COPY_READ_H

#include "gateway/collection_origin.h"
#include "gateway/collections.h"
#include "gateway/copy_choice.h"
#include "gateway/freshness.h"

enum finding {
    FINDING_VALUE = 0,
    FINDING_NOTHING, /* there is no such key */
    FINDING_BAD,     /* what stands there is not what was written */
};

struct copy_read;

struct copy_read_form {
    bool exact; /* the answer and the copy's sequence must be of one moment */
    /* Appends the one command that asks COPY, in RESP. */
    void (*command)(const struct copy_read *read, const struct copy *copy, struct buf *wire);
    /* What REPLY says; what the read keeps of it is borrowed. Sets read->version. */
    enum finding (*look)(struct copy_read *read, const redisReply *reply);
    /* As collection_origin_ask(), with read->call. */
    struct message *(*ask_origin)(struct copy_read *read, struct origin_answer *refusal);
    enum finding (*look_origin)(struct copy_read *read, const struct origin_answer *answer);
    /* Answers the exchange with what was found last: FINDING_VALUE or FINDING_NOTHING. */
    void (*answer)(struct copy_read *read, enum finding finding, const struct standing *standing);
};

enum copy_fault {
    COPY_FAULT_NONE = 0,
    COPY_FAULT_CLOSED, /* there is no copy that may be read */
    COPY_FAULT_STALE,  /* by the rules' bound */
    COPY_FAULT_WISH,   /* only by what the client asks for */
    COPY_FAULT_BEHIND, /* it has not applied yet what it must have */
    COPY_FAULT_BAD,
};

struct copy_read {
    const struct copy_read_form *form;
    struct exchange *exchange;
    const struct table_collection *rules;
    struct freshness wanted;
    uint32_t unit;            /* whose copy was asked last, an index; NO_UNIT: none yet */
    bool named;               /* by LDC-Unit: no other will do */
    bool exact;               /* asked once more, to be sure */
    bool wishes;              /* counted: it goes to the origin because an untrusted client wants it */
    bool resort;              /* the core unit does not answer: a stale value is better than none */
    uint64_t version;         /* of what was found; 0: it has none */
    enum copy_fault fault;    /* why the origin is asked */
    struct standing standing; /* of a copy that is stale, or shown; seq 0: of none yet */
    struct copy_ask *ask;     /* under way; NULL: none */
    struct message *message;  /* at the origin; NULL: none */
    struct origin_call call;
    uint64_t begun_us;         /* at the origin; monotonic */
    uint64_t waited_ms;        /* for the copy */
    h2o_timeout_entry_t timer; /* armed while it waits for the copy to catch up, or for the origin */
};

/* Begins READ, zeroed, of what PATH names. */
void copy_read_start(struct copy_read *read, const struct copy_read_form *form, struct exchange *exchange,
                     const struct collection_path *path);

#endif
