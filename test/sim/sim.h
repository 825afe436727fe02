/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment in one process: gateways with real cores (router/core.h), and models of agents, brokers, a store and the
 * network between them, driven by one seeded source of chance. The same seed gives the same run, to the last event.
 *
 * Each part acts only on what reached it by message; the checks alone (check.c) see everything. Times are microseconds
 * of the world; every gateway and agent has a clock of its own that differs from it.
 */
#ifndef SIM_H
#define SIM_H

#include "router/core.h"

#define SITES         3
#define GATEWAYS_MOST 5
#define UNITS_MOST    5
#define REPLICAS      3 /* brokers of a unit: at home, with its standby, and one that no rule names */
#define MEMBERS       2
#define MESSAGES_MOST 3072 /* of a unit */
#define WORDS         (MESSAGES_MOST / 64)
#define EPOCHS_MOST   512
#define PLACES_MOST   (GATEWAYS_MOST + UNITS_MOST + 1)
#define NONE          255

/* Rules that can be taken out, to see that some seed notices: those of the core (by enum core_refusal) apart. */
enum mutant {
    MUTANT_NONE = 0,
    MUTANT_BROKER_EPOCH,  /* brokers take writes of any epoch */
    MUTANT_THIRD_REPLICA, /* any replica counts for WAIT */
    MUTANT_FENCED_BOOT,   /* a broker starts as what it was */
    MUTANT_WARDEN_RUN,    /* promoted whatever run it is */
    MUTANT_PRE_STAMP,     /* expand without stopping the writers of the old epoch */
    MUTANT_STALE_DEMOTE,  /* repointed by an old record */
    MUTANT_CAS,           /* the store takes proposals from any epoch */
    MUTANTS,
};

struct sim_record {
    uint64_t epoch; /* 0: there is none */
    uint64_t runs[REPLICAS];
    uint64_t moved_us;                      /* last automatic failover; 0: none */
    uint8_t primary, in_sync, consumer, by; /* in_sync: bits of brokers; by: the gateway that proposed it, or NONE */
};

struct broker {
    uint64_t run, epoch, frozen_us, down_us;
    uint64_t sick_us, well_us; /* from then to then it answers, and can do no work */
    uint64_t data[WORDS], snapshot[WORDS];
    uint64_t acked_us[REPLICAS]; /* when that replica acknowledged last */
    uint64_t link;               /* generation of the connection to the primary */
    uint8_t source;              /* whom it is told to follow, or NONE */
    bool up, primary, linked;    /* linked: of a replica, the connection stands */
};

/* A client's message, as its gateway keeps it. */
struct sent {
    uint64_t epoch, run; /* of the record by which it was sent last */
    uint16_t tries;
    uint8_t gateway, primary, in_sync;
    bool waiting, acknowledged;
};

/* A write that waits for replicas. */
struct wait {
    uint64_t run;
    uint16_t attempt;
    uint8_t gateway, need, holders; /* holders: bits of replicas that have it */
    bool waiting;
};

struct unit {
    uint8_t site, standby; /* standby: unit, or NONE */
    struct broker brokers[REPLICAS];
    struct wait waits[MESSAGES_MOST];
    struct sent sent[MESSAGES_MOST];
    uint64_t acknowledged[WORDS];
    uint16_t messages;
    uint8_t writer[EPOCHS_MOST];    /* broker that took a write of that epoch, + 1 */
    uint64_t moved_us, switched_us; /* its last automatic failover, and the last of its primary */
    double capacity, load;
    uint64_t served_us[GATEWAYS_MOST]; /* last acknowledged write */
};

struct agent {
    uint64_t frozen_us;
    struct sim_record records[UNITS_MOST];
    struct sim_record disk[UNITS_MOST];         /* older ones, with which it begins anew */
    uint64_t answered_us[UNITS_MOST][REPLICAS]; /* last answer to a probe */
    uint64_t sees_us[UNITS_MOST];               /* last answer of the recorded primary, as one and under its run, */
    uint64_t steady_us[UNITS_MOST];             /* and since when they come without a gap */
    uint64_t stamped_us[UNITS_MOST];            /* pre-stamped for expand */
    uint64_t asked_us[UNITS_MOST];              /* compare-and-set under way */
    uint64_t worked_us, doubts_us;              /* its last turn; until then it may have missed answers */
    uint64_t run;                               /* of this process: what an earlier one planned is void */
    bool up;
};

struct gateway {
    struct core core;
    uint64_t frozen_us, clock_us, drift_ppm;
    uint64_t due_us;   /* of its tick */
    uint64_t froze_us; /* when it was stopped last */
    uint64_t run;
    uint64_t said_us[UNITS_MOST][CORE_MATTERS], said_epoch[UNITS_MOST][CORE_MATTERS]; /* its last vote against */
    uint64_t proposing[UNITS_MOST];      /* number of the proposal under way, */
    uint64_t proposing_from[UNITS_MOST]; /* and the epoch that it starts from */
    struct sim_record records[UNITS_MOST];
    uint64_t proposals; /* made so far */
    uint64_t store_us;  /* when the store answered last */
    uint32_t alarms;    /* bits of units */
    uint8_t site;
    bool up, store_up;
};

enum sim_kind {
    SIM_TICK = 0, /* gateway */
    SIM_CLIENTS,
    SIM_AGENT,
    SIM_BROKER,
    SIM_PULSE,  /* agent -> gateway */
    SIM_VOTES,  /* gateway -> gateway */
    SIM_PUSH,   /* a record, to a gateway or an agent */
    SIM_PROBE,  /* agent -> broker */
    SIM_PROBED, /* and back */
    SIM_WRITE,  /* gateway -> broker */
    SIM_ANSWER,
    SIM_DEADLINE,
    SIM_RESET,
    SIM_REPLICATE,
    SIM_REPLICATED,
    SIM_ATTACH,
    SIM_CAS, /* anyone -> store */
    SIM_CAS_DONE,
    SIM_READ,
    SIM_READ_DONE,
    SIM_FAULT,
    SIM_MEND,
    SIM_RESTART,
    SIM_HEAL,
};

enum answer {
    ANSWER_OK = 0,
    ANSWER_EPOCH,
    ANSWER_READONLY,
    ANSWER_REFUSED,
    ANSWER_ERROR,
};

struct sim_vote {
    uint64_t epoch;
    uint8_t reasons[CORE_MATTERS];
    bool abstains, standby_healthy;
};

struct sim_seen {
    uint64_t run, epoch, age_us;
    bool healthy, primary, sees_primary, gone, told;
};

struct sim_event {
    uint64_t at_us, order;
    enum sim_kind kind;
    uint8_t from, to; /* places, see world.c */
    uint8_t unit, broker;
    union {
        struct sim_record record; /* PUSH, READ_DONE */
        struct {
            struct sim_record record;
            uint64_t from_epoch, number;
            uint8_t result;
        } cas;
        struct {
            struct sim_seen seen[UNITS_MOST][MEMBERS];
        } pulse;
        struct sim_vote votes[UNITS_MOST];
        struct {
            uint64_t epoch, run;
            uint16_t message, attempt;
            uint8_t need, answer, attached;
        } write;
        struct {
            uint64_t link, epoch, run;
            uint16_t message;
            uint8_t replica;
        } copy;
        uint64_t run; /* TICK, CLIENTS, AGENT */
    };
};

struct world {
    uint64_t seed, chance, now_us, order;
    struct sim_queue *queue;
    struct gateway *gateways; /* GATEWAYS_MOST; kept from seed to seed, for their size */
    struct agent agents[UNITS_MOST];
    struct unit units[UNITS_MOST];
    struct sim_record store[UNITS_MOST];
    uint64_t epoch; /* the store's one counter */
    uint64_t runs;  /* given out */
    struct table_failover policy;
    uint8_t gateway_count, unit_count, store_site;
    uint8_t cut[PLACES_MOST][PLACES_MOST];
    uint32_t loss_ppm, delay_us, jitter_us;
    bool store_away, noise_only, healed, trace;
    uint64_t lost_reply_ppm, chaos_us, end_us;
    enum mutant mutant;
    enum core_refusal waived;
    struct core_actions actions;
    char failure[400];
    uint64_t failovers, acknowledged, events;
};

/* world.c */
uint64_t sim_chance(struct world *world, uint64_t below);
bool sim_happens(struct world *world, uint64_t ppm);
struct sim_event *sim_plan(struct world *world, uint64_t in_us, enum sim_kind kind, uint8_t from, uint8_t to);
/* A datagram, which may be lost; NULL where it is. A message of a connection comes late instead, unless cut off. */
struct sim_event *sim_cast(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to);
struct sim_event *sim_send(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to);
bool sim_reaches(const struct world *world, uint8_t from, uint8_t to);
void sim_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool sim_run(struct world *world, uint64_t seed);

static inline uint8_t place_of_gateway(uint8_t gateway)
{
    return gateway;
}

static inline uint8_t place_of_host(uint8_t unit)
{
    return GATEWAYS_MOST + unit;
}

#define PLACE_STORE (GATEWAYS_MOST + UNITS_MOST)

static inline bool is_gateway(uint8_t place)
{
    return place < GATEWAYS_MOST;
}

/* The unit on whose host broker INDEX of UNIT runs. */
static inline uint8_t host_of(const struct world *world, uint8_t unit, uint8_t index)
{
    return index == 0 || world->units[unit].standby == NONE ? unit : world->units[unit].standby;
}

static inline uint8_t place_of_broker(const struct world *world, uint8_t unit, uint8_t index)
{
    return place_of_host(host_of(world, unit, index));
}

static inline uint64_t broker_id(uint8_t unit, uint8_t index)
{
    return 1000 + unit * 10 + index;
}

static inline uint64_t unit_id(uint8_t unit)
{
    return 100 + unit;
}

static inline uint64_t gateway_id(uint8_t gateway)
{
    return 10 + gateway;
}

/* broker.c */
void broker_start(struct world *world, uint8_t unit, uint8_t index);
void broker_crash(struct world *world, uint8_t unit, uint8_t index);
void broker_event(struct world *world, const struct sim_event *event);
void broker_follow(struct world *world, uint8_t unit, uint8_t index, uint8_t source);
void broker_promote(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch);
void broker_stamp(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch);
void broker_break_links(struct world *world, uint8_t unit);

/* agent.c */
void agent_start(struct world *world, uint8_t unit);
void agent_event(struct world *world, const struct sim_event *event);

/* gateway.c */
void gateway_start(struct world *world, uint8_t gateway);
void gateway_event(struct world *world, const struct sim_event *event);

/* store.c */
void store_event(struct world *world, const struct sim_event *event);

/* fault.c */
void fault_plan(struct world *world);
void fault_event(struct world *world, const struct sim_event *event);

/* check.c */
void check_unit(struct world *world, uint8_t unit);
void check_write(struct world *world, uint8_t unit, uint8_t broker, uint64_t epoch);
void check_proposal(struct world *world, uint8_t gateway, const struct core_proposal *proposal);
void check_record(struct world *world, uint8_t unit, const struct sim_record *before, const struct sim_record *after);
void check_end(struct world *world);

#endif
