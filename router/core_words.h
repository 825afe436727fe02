/* SPDX-License-Identifier: Apache-2.0
 *
 * The words in which the core of failover is spoken to and answers: what may be wrong, what stands in the way, a unit's
 * facts and record, a proposal. Plain values without pointers; see core.h for units of time and ids.
 */
#ifndef ROUTER_CORE_WORDS_H
#define ROUTER_CORE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "router/failover.h"

#define CORE_UNITS_MOST    1024
#define CORE_GATEWAYS_MOST 64
#define CORE_BROKERS_MOST  8 /* of a unit */
#define CORE_TICK_US       10000
#define CORE_BALLOT_US     1000000 /* a vote may still lead to a failover so long after it was cast */
#define CORE_VOTE_US       50000   /* how long a vote is worth something: a few pulses may be lost */
#define CORE_HOLD_US       1000000 /* a planned switch that takes longer is given up */

/* What may be wrong with a unit, and is voted on. */
enum core_matter {
    CORE_PRIMARY = 0, /* the broker that holds its queue */
    CORE_CONSUMER,    /* the agents that deliver from it */
    CORE_MATTERS,
};

/* Why something is suspected. */
enum core_reason {
    CORE_FINE = 0,
    CORE_SILENT,    /* nothing good was heard of it for the gap */
    CORE_REFUSED,   /* our connection was reset, and a new one is refused; or its agent found that */
    CORE_CONDEMNED, /* its agent says that it is unwell */
    CORE_RESTARTED, /* it is another run than the one in the record */
    CORE_FAILING,   /* only our own requests fail, and have for a second */
};

/* Why a unit is not moved. The order is that of the rules in core_rules.c: the first that objects is the one named. */
enum core_refusal {
    CORE_MAY_MOVE = 0,
    CORE_NOT_SUSPECTED,
    CORE_NOT_AUTOMATIC,
    CORE_NO_RECORD,
    CORE_DOUBTS_ITSELF, /* this gateway's loop lagged, or most units fell silent together */
    CORE_COOLING_DOWN,
    CORE_DRAINED,           /* where it would go is being worked on */
    CORE_NO_STANDBY,        /* no other broker is in sync */
    CORE_STANDBY_RESTARTED, /* it is not the run that was in sync */
    CORE_STANDBY_UNWELL,    /* or not heard of, or not for long enough */
    CORE_STANDBY_OBJECTS,   /* its agent still sees the primary */
    CORE_NO_HEADROOM,
    CORE_FROZEN, /* too many units were moved in a short time, or are about to be; the last that stands before a vote */
    CORE_STORE_AWAY,
    CORE_NO_MAJORITY,
    CORE_NO_OTHER_SITE,
    CORE_UNDECIDED, /* a proposal of ours is under way */
    CORE_REFUSALS,
};

struct core_gateway {
    uint64_t id, datacenter;
};

struct core_unit_facts {
    uint64_t id, datacenter, standby;    /* standby: a unit, or 0 */
    uint64_t brokers[CORE_BROKERS_MOST]; /* the first stands in the unit, the others with its standby */
    unsigned broker_count;
    double capacity_rps; /* 0: not declared */
};

/* How far a planned switch has come. */
enum core_plan {
    CORE_PLAN_NONE = 0, /* none is under way */
    CORE_PLAN_HELD,     /* the primary may still take writes of who does not know of it */
    CORE_PLAN_FENCED,   /* it takes none any more */
    CORE_PLAN_LEVEL,    /* and the target holds all that it held then */
    CORE_PLAN_LOST,     /* the target is not in sync any more */
};

struct core_member {
    uint64_t broker, run_id;
};

/* Of the unit's record in the store, what matters here. */
struct core_record {
    uint64_t unit, epoch; /* epoch 0: there is none */
    uint64_t primary;
    uint64_t consumer;                             /* unit; 0: itself */
    struct core_member members[CORE_BROKERS_MOST]; /* in sync, the primary included */
    unsigned member_count;
    uint64_t target, target_consumer; /* of a planned switch; target_consumer 0: the unit itself */
    bool hold;                        /* one is under way */
    bool drained;                     /* the unit's home is being worked on */
    uint64_t moved_ago_us;            /* since its last automatic failover; UINT64_MAX: there was none */
};

struct core_ballot {
    uint64_t gateway;
    enum core_reason reason;
    bool abstains;
};

/* A change of a unit's record, and the votes that it rests on, the proposer's own included. */
struct core_proposal {
    uint64_t unit, from_epoch;
    enum core_matter matter;
    enum core_plan
        plan;         /* CORE_PLAN_NONE: it rests on votes; LEVEL: the switch that was planned; else it is given up */
    uint64_t held_us; /* for how long, of a planned one */
    uint64_t primary, run_id;                       /* the same as before where only the consumer changes */
    uint64_t consumer;                              /* 0: the unit itself */
    struct core_ballot ballots[CORE_GATEWAYS_MOST]; /* of each registered gateway that was heard */
    unsigned ballot_count, needed;
};

/* What a gateway tells the others of a unit. */
struct core_vote {
    uint64_t gateway, unit;
    uint64_t epoch;                         /* of the record that it judges by; 0: it has none */
    enum core_reason reasons[CORE_MATTERS]; /* CORE_FINE: it does not vote against it */
    bool abstains;
    bool standby_healthy;
};

/* "silent", "no majority": words for people. */
const char *core_reason_name(enum core_reason reason);
const char *core_refusal_name(enum core_refusal refusal);
const char *core_plan_name(enum core_plan plan);

#endif
