/* SPDX-License-Identifier: Apache-2.0
 *
 * What the core knows: plain structs, all of them within struct core. Read by its parts and by who shows the state to
 * people; changed by core_step() alone.
 */
#ifndef ROUTER_CORE_STATE_H
#define ROUTER_CORE_STATE_H

#include "router/core_words.h"

/* Complaints of the last while: 64 steps of time, the newest in bit 0. */
struct core_history {
    uint64_t bits, step; /* step: number of the newest */
};

struct core_broker {
    uint64_t id;
    uint64_t run_id, epoch;                         /* as the last pulse said */
    uint64_t pulse_us;                              /* when that came */
    uint64_t heard_us;                              /* when it last answered its agent, as far as pulses say, */
    uint64_t led_us;                                /* and as a primary */
    uint64_t ok_us, error_us, reset_us, refused_us; /* what our own connections met last */
    uint64_t missed_us;                             /* when it last owed us an answer */
    uint64_t failing_us;                            /* since when nothing but errors */
    uint64_t wary_us;                               /* when it last came back from a silence as long as the gap */
    unsigned wary;                                  /* how many times the gap grew for that, then */
    uint64_t condemned_us, gone_us;                 /* its agent's last bad word */
    struct core_history sick;
    bool healthy, primary, sees_primary; /* as the last pulse said */
};

/* A vote that was heard; worth something for a short while only. */
struct core_heard_vote {
    uint64_t at_us, epoch;
    uint8_t reasons[CORE_MATTERS];
    bool abstains, standby_healthy;
};

struct core_unit {
    struct core_unit_facts facts;
    struct core_record record;
    struct core_broker brokers[CORE_BROKERS_MOST];
    uint64_t since_us; /* the record in force, or the unit, is known here since; nothing before counts against it */
    uint64_t agent_us; /* when one of its own agents, able to deliver, was heard of last */
    uint64_t led_us;   /* its primary leads since, as far as it was seen here; 0: since ever */
    int64_t moved_us;  /* its last automatic failover, perhaps before the clock began; INT64_MIN: none */
    double load_rps;
    enum core_reason suspicion[CORE_MATTERS]; /* what is seen here */
    uint64_t suspected_us, cleared_us;        /* since when anything is, and since when nothing */
    struct core_vote vote;                    /* what is told to the peers */
    uint64_t ballots_us;                      /* since when it does, without a pause */
    uint64_t rests_us;                        /* until then it does not: others had their turn to come */
    uint64_t ballot_us;                       /* when this gateway last voted against it */
    uint64_t proposed_us;                     /* since when a proposal of ours is undecided; 0: there is none */
    bool proposal_ended;                      /* and now the record must tell what came of it */
    uint64_t asked_us;
    enum core_plan plan;
    uint64_t held_us;          /* since when a planned switch is known here */
    uint64_t fence_offset;     /* of the primary, when it was first heard to be fenced */
    enum core_refusal refusal; /* why it is not moved */
    bool alarmed;
    struct core_heard_vote heard[CORE_GATEWAYS_MOST]; /* in the order of core.gateways */
};

struct core {
    struct table_failover policy;
    uint64_t self;
    struct core_gateway gateways[CORE_GATEWAYS_MOST];
    unsigned gateway_count;
    uint64_t unit_ids[CORE_UNITS_MOST]; /* side by side, to be found fast */
    struct core_unit units[CORE_UNITS_MOST];
    unsigned unit_count;
    uint64_t now_us, ticked_us;
    uint64_t doubts_us; /* until then this gateway does not trust what it sees; UINT64_MAX: until it found the store */
    uint64_t frozen_us; /* until then no unit is moved */
    uint32_t waived;    /* simulator only: bit of each enum core_refusal whose rule is taken out */
    bool store_up;
};

/* The unit, gateway (its index; gateway_count: none) or broker of that id; NULL where there is none. */
struct core_unit *core_find_unit(const struct core *core, uint64_t id);
unsigned core_find_gateway(const struct core *core, uint64_t id);
struct core_broker *core_find_broker(const struct core_unit *unit, uint64_t id);

#endif
