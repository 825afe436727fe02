/* SPDX-License-Identifier: Apache-2.0
 *
 * A message between its call and the broker's word on it, and what became of it. It belongs to its unit's lines, and is
 * on one of them or held; whoever published it holds a pointer until `done` runs or message_forget() was called,
 * whichever is first. It knows nothing of HTTP: one request may publish many.
 */
#ifndef GATEWAY_MESSAGE_H
#define GATEWAY_MESSAGE_H

#include <h2o.h>

#include "common/broker.h"
#include "common/protocol.h"
#include "common/stream_id.h"
#include "gateway/queue_call.h"
#include "router/table.h"
#include "router/verdict.h"

struct line;
struct lines;
struct unit_lines;

#define MESSAGE_MOVES "The user is moving to another unit"

/* What a function of collections said. */
struct call_answer {
    uint64_t numbers[3]; /* the first integers of its answer */
    unsigned count;
    struct buf texts; /* its strings in their order, each behind its length: for call_answer_next() */
};

/* Takes the next text off TEXTS; false where there is none. */
bool call_answer_next(struct str *texts, struct str *text);

struct publish_result {
    enum verdict verdict;             /* VERDICT_OK: accepted. OUTCOME_UNKNOWN: may be stored. Others: was not stored */
    const char *detail;               /* a sentence for the client; NULL: none. Static */
    bool moves;                       /* of SWITCHING: its user leaves the unit; to be routed again by newer rules */
    struct str message_id;            /* where it may be stored: its id, for a replay the first one's */
    struct str entry;                 /* the function's word: the stream's entry id, a state; base NULL: none */
    bool replayed;                    /* its idempotency key was known: nothing new was stored */
    enum durability durability;       /* of VERDICT_OK: DURABILITY_REPLICATED, _QUORUM or _LOCAL, which was met */
    const struct call_answer *answer; /* of a call of a collection; NULL: none */
    uint64_t epoch;                   /* of VERDICT_OK: of the broker that answered */
};

/* Runs once, on the worker's thread, never from within queue_send(). RESULT and its texts live until it returns. */
typedef void (*publish_done_fn)(void *arg, const struct publish_result *result);

struct publication {
    const struct queue_call *call; /* borrowed until queue_send() returns; ENVELOPE_ID names the message */
    enum durability durability;    /* what the route asks for */
    int64_t timeout_ms;            /* of the route; 0: the broker's */
    uint64_t routed;               /* epoch of the rules that chose the unit, */
    uint32_t slot;                 /* for a user of this slot; UINT32_MAX: for nobody in particular */
    publish_done_fn done;
    void *arg;
};

enum message_phase {
    MESSAGE_WAITING = 0, /* nothing of it has left */
    MESSAGE_SENT,
    MESSAGE_STORED, /* by the primary's word */
    MESSAGE_REFUSED,
    MESSAGE_PUT_OFF, /* the broker does not serve the unit now: to be sent again */
};

struct message {
    struct unit_lines *home;
    struct line *line;    /* that it is on; NULL: it is held */
    uint64_t number;      /* in the order in which the unit's messages came */
    publish_done_fn done; /* NULL: nobody waits any more */
    void *arg;
    enum message_phase phase;
    enum verdict verdict; /* of MESSAGE_REFUSED and MESSAGE_PUT_OFF */
    const char *detail;
    bool replayed;
    enum queue_call_kind kind;
    bool tried;                 /* a call of it went out whose outcome nobody knows */
    uint64_t epoch, doubt;      /* with which it was sent last; and the last of which nobody knows what came of it */
    enum durability durability; /* what the route asks for, */
    enum durability sent_as;    /* and what the record made of it when it was sent last */
    uint32_t partition, slot;
    uint64_t routed;    /* as in the publication */
    int64_t timeout_ms; /* of the route; 0: the broker's */
    uint64_t held_us;   /* since when it waits for a primary, monotonic; 0: it never did */
    struct str made;    /* its call, to be sent again, of its own memory; base NULL: in its batch, or nowhere */
    uint8_t id_len, entry_len;
    char id[PROTOCOL_ID_MAX], entry[STREAM_ID_TEXT + 1];
    struct call_answer answer;
    size_t bytes;                   /* of its call on the wire */
    h2o_timeout_entry_t impatience; /* linked only while it may run out before the broker's own time */
    struct message *next;           /* in its batch, or spare */
};

/* Takes a spare one; message_conclude() gives it back. */
struct message *message_take(struct unit_lines *home, const struct publication *publication);

/* Its call takes BYTES on the wire now. */
void message_set_bytes(struct message *message, size_t bytes);
/* Keeps a copy of its call, MADE, unless it has one. */
void message_keep(struct message *message, struct str made);

/* The broker's REPLY to the call; NULL: it never came. Sets the phase. */
void message_read_reply(struct message *message, const redisReply *reply);

/* Tells whoever waits, counts, and frees MESSAGE. Where it is stored, DURABILITY is what was met. */
void message_accept(struct message *message, enum durability durability);
void message_refuse(struct message *message, enum verdict verdict, const char *detail);
void message_turn_away(struct message *message);                   /* its user leaves the unit */
void message_give_up(struct message *message, const char *detail); /* may be stored */
/* By what the reply said: refused, accepted as local, or given up. */
void message_conclude(struct message *message);

/* Nobody waits any more; `done` will not run. What has been sent is not taken back. */
void message_forget(struct message *message);

void message_dispose_spare(struct lines *lines);

#endif
