/* SPDX-License-Identifier: Apache-2.0
 *
 * The unit's copy of one collection, as far as this agent has to do with it. What counts stands in the unit's broker
 * (docs/COLLECTIONS.md); this is who writes there. Belongs to the copies.
 *
 * Lifecycle: RESTS (another agent's turn, or no broker) -> TAKES (the lease) -> LOOKS (what is there, what the origin
 * has) -> FILLS, where it has to be made anew -> FOLLOWS the origin's log, and opens the copy -> LOOKS again whenever
 * something is not as it was: another connection, another record, a gap. One step is under way at a time (`busy`): what
 * comes up meanwhile (`again`) is looked at when it has ended.
 */
#ifndef AGENT_COPY_H
#define AGENT_COPY_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/protocol.h"
#include "common/stream_id.h"
#include "router/collection.h"
#include "unit-agent/copy_fill.h"
#include "unit-agent/copy_queue.h"

struct copies;
struct copy_scrub;
struct copy_push;

enum copy_phase {
    COPY_RESTS = 0,
    COPY_TAKES,
    COPY_LOOKS,
    COPY_FILLS,
    COPY_FOLLOWS,
};

struct copy {
    struct copy *next;
    struct copies *copies;
    struct table_collection rules; /* `name` and `push` are the copy's own texts, zero-terminated */
    bool listed;                   /* the rules in force name it */
    uint64_t hash;                 /* of the name, by which agents share copies out */
    char at[PROTOCOL_KEY_MAX];     /* "ldc:{UNIT}:c/NAME/", */
    char from[PROTOCOL_KEY_MAX];   /* and the same of the core unit */

    enum copy_phase phase;
    bool owned, busy, again;
    bool stray;             /* the broker may call it this agent's, whatever this agent gave back at another one */
    uint64_t wait_until_us; /* monotonic: no step before */

    /* As the unit's broker said last: */
    uint64_t seq;                /* applied; of a copy that is made: where its log begins */
    bool live, there, is_origin; /* what its state is; not THERE: there is none to go on with */
    uint64_t epoch;              /* for which it is open; 0: it is not */
    uint64_t beat_us;            /* when the last entry that it has seen was made, by the origin's clock */
    unsigned next_bucket;        /* of a copy that is made, */
    uint64_t until;              /* and at which sequence it is live; UINT64_MAX: never, there is no such bucket */
    bool misled;                 /* it cannot apply what comes next, and never will */
    char *bad;                   /* buckets that differ from the origin's, with commas; NULL or "": none */
    /* As the origin said last: */
    uint64_t origin_seq;
    bool log_reaches; /* its log has all behind `seq` */

    uint64_t opening;        /* the epoch of the call under way that opens it */
    uint64_t open_at;        /* what has to be applied before it may be opened, as of the last look */
    uint64_t look_us;        /* monotonic: when a snapshot is to be brought up to the origin again */
    bool rests;              /* a snapshot: it has all that the origin had at the last look */
    uint32_t life;           /* rises with each look: what was asked for before says nothing any more */
    uint32_t makings;        /* so often it was begun anew: buckets that were read for it before are not for this one */
    struct stream_id read;   /* the last entry that was read */
    struct copy_queue queue; /* what was read, and is not applied */
    size_t applying;         /* entries of it that are in the call under way */
    bool hurries;            /* it could not rest, so slow are the calls */
    uint64_t applying_us;    /* when the last of these was made */
    uint64_t sent_us;        /* monotonic: when the calls under way were sent */
    uint64_t owed_us;        /* for so long it is to rest, in pauses that are worth their while */
    sd_event_source *rest;   /* ends the pause */
    struct copy_claim claim; /* of what a look has seen */
    struct copy_fill fill;
    struct copy_scrub *scrub;
    struct copy_push *push;
    char fault[160]; /* why it does not go on, as the log told it last; "": it does */
};

struct copy *copy_create(struct copies *copies, struct str name);
void copy_destroy(struct copy **copy);
/* RULES: NULL: they do not name it any more. CORE: the unit that holds the origin. */
void copy_adopt(struct copy *copy, const struct table_collection *rules, struct str core);

/* Does what is to be done now, if anything. */
void copy_step(struct copy *copy);
/* What is known may not hold any more: it is looked at anew. */
void copy_look_again(struct copy *copy);

/* The connection to the unit's broker is another one: whether this agent owns it is asked anew. */
void copy_lose(struct copy *copy);

/* Owned by this agent, live, and up with the origin but for what is on its way. */
bool copy_is_settled(const struct copy *copy);

/* Calls the function ldc1_NAME at the unit's broker, with the epoch and the owner before ARGS. DONE as for
 * broker_command(), which this is. */
bool copy_call(struct copy *copy, const char *name, const struct str *args, size_t count, broker_reply_fn done,
               void *arg) MUST_CHECK;
/* The same with COUNT words that are in RESP already. */
bool copy_call_made(struct copy *copy, const char *name, struct str words, size_t count, broker_reply_fn done,
                    void *arg) MUST_CHECK;

/* Of the unit's record, in force: copies are open for it, or not. */
uint64_t copy_epoch(const struct copy *copy);
bool copy_is_open(const struct copy *copy);

/* --- for its parts ------------------------------------------------------------------------------------------------ */

/* The step is over: the next one may begin. */
void copy_end_step(struct copy *copy);
/* The same, but others have the brokers for US before it. */
void copy_rest(struct copy *copy, uint64_t us);
/* The step came to nothing: REPLY (NULL: it was lost) says why. What is to be done then follows from a new look. */
void copy_fail_step(struct copy *copy, const redisReply *reply);
/* The same for what is not there by itself soon. */
void copy_refuse_step(struct copy *copy, const char *why);
/* Takes what c_fill or c_apply answered. False: it was no answer of theirs. */
bool copy_note(struct copy *copy, const redisReply *reply);
void copy_note_bad(struct copy *copy, const char *buckets);
/* A number, as such or as text; 0 where it is none. */
uint64_t copy_number(const redisReply *reply);

#endif
