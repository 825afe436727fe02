/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose copy of a collection is read, and what one worker knows of the copies: whether they may be read, how far they
 * are. That is asked for together with the values, and believed for some milliseconds. Each worker owns one of these;
 * a `struct copy` lives as long.
 */
#ifndef GATEWAY_COPY_CHOICE_H
#define GATEWAY_COPY_CHOICE_H

#include "common/broker.h"
#include "common/protocol.h"
#include "gateway/copy_floor.h"
#include "gateway/view.h"

struct copies;
struct worker;

enum copy_state {
    COPY_UNKNOWN = 0,
    COPY_OPEN, /* it may be read */
    COPY_CLOSED,
};

/* How a copy stood when it was last looked at. */
struct copy_look {
    enum copy_state state;
    uint64_t seq;     /* that it has applied */
    uint64_t beat_us; /* of the origin's clock: it holds all that happened until then */
};

/* A collection in one unit; the core unit's is the origin. */
struct copy {
    struct unit *unit;
    struct str collection;     /* its name */
    char at[PROTOCOL_KEY_MAX]; /* what its keys begin with */
    size_t at_len;
    struct copy_look look; /* under the unit's record EPOCH, */
    uint64_t epoch;
    uint64_t looked_us; /* asked for then; monotonic */
    struct copy_floor *floor;
    struct copy *next; /* of the unit */
};

struct copies *copies_create(struct worker *worker);
/* Nothing may be under way any more. */
void copies_destroy(struct copies **copies);

/* What is known of UNIT's copy of COLLECTION: of a new one nothing yet. Borrowed. */
struct copy *copy_find(struct copies *copies, struct unit *unit, struct str collection);

/* The first unit, by index, from FROM on that stands in the gateway's datacentre with its primary, and whose copy may
 * be read as far as is known. Never the core unit. NO_UNIT: there is none. */
uint32_t copy_choose(struct copies *copies, const struct view *view, struct str collection, uint32_t from,
                     uint64_t now_us);

/* Whether the primary of unit UNIT, an index, stands in the gateway's datacentre. A gateway without one is near all. */
bool copy_is_near(const struct worker *worker, const struct view *view, uint32_t unit);

struct copy_answer {
    const redisReply *reply; /* borrowed; NULL: it did not come */
    struct copy_look look;   /* CLOSED also where the unit's record has changed meanwhile */
    bool exact;              /* LOOK is of the very moment of REPLY, and not of some milliseconds before */
};

/* Runs once, on the worker's thread, never from within the call. ANSWER lives until it returns. */
typedef void (*copy_done_fn)(void *arg, const struct copy_answer *answer);

struct copy_ask;

/* An empty buffer to make a command in. */
struct buf *copy_command(struct copies *copies);

/* Sends a COMMAND, made in RESP, to the broker that holds COPY. NULL: there is none that could be asked. */
struct copy_ask *copy_ask(struct copies *copies, struct copy *copy, struct str command, bool exact, copy_done_fn done,
                          void *arg, uint64_t now_us) MUST_CHECK;
/* `done` will not run. */
void copy_forget(struct copy_ask *ask);

/* Whether one more read may go to the origin because an untrusted client wants it newer than the rules do; it is
 * counted until copies_end_wish(). */
bool copies_wish(struct copies *copies) MUST_CHECK;
void copies_end_wish(struct copies *copies);

/* A core unit that has just let somebody wait in vain is left alone for a moment. */
void copies_origin_failed(struct copies *copies, uint64_t now_us);
bool copies_origin_answers(const struct copies *copies, uint64_t now_us);

/* How many CHANGES a copy that has applied SEQ is behind ORIGIN, as far as is known; asks for what is too old. False:
 * nothing is known. */
bool copy_lag(struct copies *copies, struct copy *origin, uint64_t seq, uint64_t now_us, uint64_t *changes);

#endif
