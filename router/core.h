/* SPDX-License-Identifier: Apache-2.0
 *
 * The core of failover: what one gateway concludes from all that it hears. Events in, actions out; no clock, no I/O, no
 * memory of its own making, so that a simulator can run thousands of deployments in seconds and every log replays.
 *
 * Who owns what: the caller owns struct core (zeroed, then CORE_CONFIG before all else), feeds it from one thread, and
 * does what the actions say. Units, brokers (URLs), gateways, datacentres and runs are 64-bit hashes of their names, as
 * in pulses; 0 means none. Times are microseconds of one monotonic clock, and never run backwards.
 *
 * How a unit fails over: the primary is suspected here (core_evidence.h) -> this gateway votes, unless it has reason to
 * doubt itself -> a majority of the registered gateways agrees (core_votes.h) -> no rule objects (core_rules.h) ->
 * CORE_PROPOSE. Several gateways may propose; the store's compare-and-set takes one.
 */
#ifndef ROUTER_CORE_H
#define ROUTER_CORE_H

#include "router/core_state.h"

enum core_event_kind {
    CORE_TICK = 0, /* each CORE_TICK_US; judges everything anew */
    CORE_CONFIG,   /* new rules, or other gateways; what was heard of units that stay is kept */
    CORE_RECORD,   /* a unit's record was read, or pushed by someone; older ones are passed over */
    CORE_BROKER,   /* a pulse told of a broker */
    CORE_AGENT,    /* a pulse of an agent came */
    CORE_PEER,     /* a pulse of another gateway told its vote on a unit */
    CORE_LINE,     /* what this gateway's own connections to a broker meet */
    CORE_LOAD,     /* how much a unit carries */
    CORE_PROPOSED, /* how a proposal ended */
    CORE_STORE,    /* the store answers, or does not */
};

struct core_config {
    struct table_failover policy;
    uint64_t self;                       /* this gateway */
    const struct core_gateway *gateways; /* all that are registered, this one included; at most CORE_GATEWAYS_MOST */
    unsigned gateway_count;
    const struct core_unit_facts *units; /* at most CORE_UNITS_MOST */
    unsigned unit_count;
};

struct core_broker_seen {
    uint64_t unit, broker, run_id; /* run_id 0: not known */
    uint64_t epoch;                /* that it is stamped with */
    uint64_t offset;               /* of replication */
    uint64_t age_us;               /* since it answered its agent last; UINT64_MAX: never */
    bool healthy;                  /* it answers and can do its work; says nothing about its role */
    bool primary;                  /* its role */
    bool sees_primary; /* a replica's agent has an answer of the unit's primary to probes of its own, of late */
    bool gone;         /* it refuses connections, or its process ended */
};

struct core_agent_seen {
    uint64_t unit; /* its own */
    bool consumes; /* it can deliver: some node of the unit's app is up */
};

enum core_line_kind {
    CORE_LINE_OK = 0, /* the broker did what it was asked */
    CORE_LINE_ALIVE, /* it says that it leads, in the run of the record; whether it does what it is asked is not said */
    CORE_LINE_MISSED,  /* asked whether it leads, for nobody said so, it has not answered at once; or there is no way to
                          ask it. Told again and again, by who would have seen the answer */
    CORE_LINE_ERROR,   /* it failed to, or not in time */
    CORE_LINE_RESET,   /* a connection that stood was ended by the other side */
    CORE_LINE_REFUSED, /* a new one was refused */
};

enum core_result {
    CORE_WON = 0, /* CORE_RECORD with the new record follows, or came already */
    CORE_LOST,    /* somebody else was first; CORE_RECORD follows */
    CORE_UNKNOWN, /* no answer: it may yet happen */
};

struct core_event {
    enum core_event_kind kind;
    uint64_t now_us;
    union {
        uint64_t lag_us;                  /* CORE_TICK: how late this loop runs */
        const struct core_config *config; /* borrowed for the call */
        struct core_record record;
        struct core_broker_seen broker;
        struct core_agent_seen agent;
        struct core_vote peer;
        struct {
            uint64_t unit, broker;
            enum core_line_kind kind;
        } line;
        struct {
            uint64_t unit;
            double rps; /* of the whole deployment, as far as it is known here */
        } load;
        struct {
            uint64_t unit;
            enum core_result result;
        } proposed;
        bool store_up;
    };
};

enum core_action_kind {
    CORE_PROPOSE = 0, /* compare-and-set of the unit's record, from `from_epoch`; then CORE_PROPOSED */
    CORE_VOTE,        /* this gateway's vote on the unit changed: tell the peers now, not at the next pulse */
    CORE_ASK,   /* somebody may know a newer record of the unit: read the store, or ask the peers where it is away;
                   then CORE_RECORD, also where nothing changed */
    CORE_ALARM, /* the unit needs an operator: `refusal` says what stands in the way */
    CORE_CALM,  /* that is over */
};

struct core_action {
    enum core_action_kind kind;
    uint64_t unit;
    enum core_refusal refusal;     /* CORE_ALARM */
    struct core_proposal proposal; /* CORE_PROPOSE */
};

#define CORE_ACTIONS_MOST 64 /* of one step; what finds no room comes with the next tick */

struct core_actions {
    struct core_action items[CORE_ACTIONS_MOST];
    unsigned count;
};

/* Takes EVENT in, and fills ACTIONS (which it empties first). */
void core_step(struct core *core, const struct core_event *event, struct core_actions *actions);

#endif
