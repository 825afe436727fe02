/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways to the brokers of one unit, of one worker: a line to each, all kept connected, of which one leads to the
 * primary that the unit's record names; and the messages that wait while the unit changes its broker.
 *
 * Lifecycle of a message: it leaves on the primary's line. Where its connection is lost, or the broker does not serve
 * the unit (any more, or yet), it is held, and sent again by the record that is in force then, under the same id, until
 * a broker gives its word or `failover.hold` is over. Of those that are held one goes first, as a feeler; the others
 * follow in their order when it was answered. Units with one broker hold only what that has put off: if it is gone,
 * nobody takes its place.
 *
 * The queue owns these for as long as it lives; they own their lines.
 */
#ifndef GATEWAY_UNIT_LINES_H
#define GATEWAY_UNIT_LINES_H

#include "gateway/line.h"

struct unit_lines {
    struct lines *lines;
    struct unit *unit;
    struct line *all[BROKER_MEMBERS_MOST];
    unsigned count;
    struct line *primary; /* NULL: none. Written under lines->lock, for readers in other threads */
    bool replicas;        /* the rules name more than one broker */
    unsigned majority;    /* of them */
    bool by_quorum;       /* what is accepted without a word of the route waits for a majority */
    struct broker_record record;
    struct line *retired;   /* brokers that the rules no longer name: they go when their last message is answered */
    size_t messages, bytes; /* on the way, and held */
    uint64_t number;        /* of the newest message */
    struct message **held;  /* in no order until they are to be sent */
    size_t held_count, held_room;
    struct message *feeler;
    bool unfelt;        /* nobody has answered yet what was sent by this record */
    void *retry;        /* timer; runs while any are held */
    uint64_t away_us;   /* since when the primary does not serve; 0: it does, for all we know */
    uint64_t asked_us;  /* when the control thread was last told that there must be a newer record */
    uint64_t behind_us; /* since when the primary is known to bear an older stamp than the record; 0: it is not */
    const char *detail; /* why messages are held */
    bool closing;
};

struct unit_lines *unit_lines_create(struct lines *lines, struct unit *unit);
/* Concludes what is on the way. Not from a broker's callback. */
void unit_lines_destroy(struct unit_lines **unit_lines);

/* Lines to the brokers that RULES name (NULL: none). Under lines->lock. */
void unit_lines_adopt(struct unit_lines *unit_lines, const struct table_unit *rules);
/* Frees the retired lines that are done. Not from a broker's callback. */
void unit_lines_sweep(struct unit_lines *unit_lines);

/* Takes over the unit's newest record: what is under way to a broker that has had its day is cancelled, and sent again.
 * Not from a broker's callback. */
void unit_lines_follow(struct unit_lines *unit_lines);

/* Sends the message, or holds it, or says in REFUSAL why not: then NULL comes back, and nothing will be called. */
struct message *unit_lines_send(struct unit_lines *unit_lines, const struct publication *publication,
                                struct publish_result *refusal);

/* --- for the lines ------------------------------------------------------------------------------------------------ */

/* MESSAGE was not stored, or nobody knows: holds it, or ends it where that is of no use. Its call is kept. */
void unit_lines_hold(struct unit_lines *unit_lines, struct message *message);
/* How many members the record must have for a message of DURABILITY, which is none of AUTO and AVAILABLE. */
unsigned unit_lines_members(const struct unit_lines *unit_lines, enum durability durability);
/* The broker has answered MESSAGE, by its phase. */
void unit_lines_felt(struct unit_lines *unit_lines, struct message *message);
/* MESSAGE is about to go. */
void unit_lines_ended(struct unit_lines *unit_lines, const struct message *message);
/* What the primary must be stamped with to serve. */
static inline uint64_t unit_lines_epoch(const struct unit_lines *unit_lines)
{
    return unit_lines->record.version;
}

/* The primary says that it is stamped with EPOCH. */
void unit_lines_heard_epoch(struct unit_lines *unit_lines, uint64_t epoch);

#endif
