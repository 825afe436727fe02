/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may be in sync: the keeper's judgement, as a pure function of what it saw. No I/O, no clock.
 *
 * - A replica joins when a look at it, taken between two looks at the primary that counted the same attachments, shows
 *   it linked to this very primary, with the same data, holding all that was acknowledged and not late, and its
 *   append-only file whole: kept, written well, no rewrite running or due, the last one well. (Right after a full copy
 * a replica acknowledges before that.)
 * - A member leaves when it has not kept up for the timeout, soon when the primary says that its link has ended
 * (writers wait), or at once when it holds the data no more (it copies them anew) or its append-only file is of no use.
 * The record is changed first; a replica that is still attached is detached when the change is in force.
 * - Who has left joins again only after it has been well for a while, which doubles with each time of the last minutes;
 * at once where there would be no quorum without it. Nothing that makes a member leave waits.
 * - In a unit that accepts by quorum, who might still hold the data stays a member where a majority would be left
 *   without him: writers wait, and he can still be promoted.
 * - No record is written while it is not known whether a member is online: a WAIT counts whoever is.
 * - An attachment that the record does not know makes every WAIT void (broker_record_covers): the record is written
 *   anew only when each member was found safe again.
 * - Before a member joins, the primary is stamped with the next epoch: whoever still writes by a record in which nobody
 *   waits for the new member is refused from then on, and a replica that has the stamp has all that came before it.
 * - A primary whose data are not those of the record is refused, loudly, and the record stays.
 * - A primary that was started anew is fenced: the record lets it serve, alone, only where it holds no less than each
 *   member does. Where it holds less a member must take over.
 * - One that comes back with an older stamp than its record's holds an old copy, or was started anew before it was
 *   stamped: the only member is taken up where its data have taken all that was counted for the record, or where it was
 *   to take over and has the stamp of the record before, by which it was in sync.
 * - Replicas that the rules do not name are detached.
 *
 * Owned by the keeper, which reports its looks and carries out the action. Times are monotonic microseconds.
 */
#ifndef AGENT_KEEPER_DECIDE_H
#define AGENT_KEEPER_DECIDE_H

#include "unit-agent/keeper_look.h"

#define KEEPER_REPLICAS_MOST (BROKER_MEMBERS_MOST - 1)
#define KEEPER_WHY           240

struct keeper_replica {
    char url[BROKER_URL_SIZE];
    unsigned port;
    struct keeper_look look;
    uint64_t base_link, base_offset; /* the link over which it came online, and how far the primary was then */
    uint64_t goal_us, goal_offset;   /* how far the primary was at some time: what it is to reach next */
    uint64_t heard_us;               /* it is known to hold all that the primary held then */
    uint64_t gone_us;                /* since when the primary has no link of it, and too few; 0: it has */
    uint64_t struck_us;              /* when it was last dropped for lagging while it was attached */
    uint64_t left_us;                /* when it last left the set, for whatever reason */
    unsigned strikes;                /* how often that was of late */
    uint64_t rest_us;                /* for how long it must be well before it may join again */
    uint64_t well_us;                /* and since when it is: attached, and not late */
};

struct keeper_state {
    char url[BROKER_URL_SIZE];   /* of the primary that the rules name */
    struct broker_record record; /* in force; without members: there is none */
    bool record_known;           /* the store has answered */
    struct keeper_look primary;  /* the latest */
    uint64_t steady_us;          /* the end of the first look since which its run and its counts are the same */
    uint64_t watch_us;           /* since when the primary is looked at without a gap */
    struct keeper_replica replicas[KEEPER_REPLICAS_MOST];
    unsigned replica_count;
    unsigned quorum;      /* fewer members are left only of necessity; 0: the unit does not accept by quorum */
    uint64_t most_writes; /* that the data of the record were seen to hold, by this process */
    uint64_t timeout_us;  /* how long a member may fall behind */
};

enum keeper_verdict {
    KEEPER_REST = 0, /* the record holds, or nothing can be done about it now: see `why` */
    KEEPER_WRITE,    /* put `record` in place of the one in force */
    KEEPER_STAMP,    /* raise the primary's stamp to `stamp`; the record follows */
    KEEPER_MARK,     /* there is no record yet: give the data a name, so that they are known again */
    KEEPER_REFUSE,   /* the primary's data are not those of the record: an operator must look */
};

enum keeper_leave {
    KEEPER_STAYS = 0, /* or was no member */
    KEEPER_LEAVES,
    KEEPER_LAGS, /* leaves, and is still attached */
};

struct keeper_action {
    enum keeper_verdict verdict;
    struct broker_record record; /* KEEPER_WRITE: all but version, at_us and by; dataset "": draw one */
    uint64_t stamp;
    char why[KEEPER_WHY];                          /* "" when every named replica is in sync */
    enum keeper_leave leave[KEEPER_REPLICAS_MOST]; /* KEEPER_WRITE: for keeper_strike */
    uint64_t detach[KEEPER_LINKS_MOST];            /* ids of links to end; none while a record is to be written */
    bool foreign[KEEPER_LINKS_MOST];               /* it is of no replica that the rules name */
    unsigned detach_count;
};

/* Looks that ended; each is taken over as a copy. */
void keeper_saw_primary(struct keeper_state *state, const struct keeper_look *look);
void keeper_saw_replica(struct keeper_state *state, unsigned index, const struct keeper_look *look);

/* The primary serves by an older record than the one in force: its warden is not there to tell it. A stamp is only ever
 * raised, so anybody may who sees the recorded run lead. */
bool keeper_lacks_stamp(const struct keeper_state *state);

void keeper_decide(const struct keeper_state *state, uint64_t now_us, struct keeper_action *action);

/* Whether the next look at the primary is awaited, for writers wait or may: a member's link has ended, somebody who is
 * no member has just attached, or there is no quorum. */
bool keeper_hurries(const struct keeper_state *state);

/* Replica INDEX was struck off the record, LAGS: for lagging. Each time it stays out for longer. */
void keeper_strike(struct keeper_state *state, unsigned index, bool lags, uint64_t now_us);

#endif
