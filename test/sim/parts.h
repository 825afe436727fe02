/* SPDX-License-Identifier: Apache-2.0
 *
 * What a simulated deployment is made of: records, brokers, clients' messages, units, agents, gateways. All of it is
 * owned by struct world; each part is changed by its own file alone, but for brokers, which agents order about.
 */
#ifndef SIM_PARTS_H
#define SIM_PARTS_H

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
    MUTANT_FENCE,         /* a planned switch does not wait for the primary's stamp, */
    MUTANT_LEVEL,         /* nor for what the target holds, */
    MUTANT_GIVE_UP,       /* and is never given up */
    MUTANTS,
};

struct sim_record {
    uint64_t epoch; /* 0: there is none */
    uint64_t runs[REPLICAS];
    uint64_t moved_us; /* last automatic failover; 0: none */
    bool hold, drained;
    uint8_t target, target_consumer;        /* of a planned switch, while it holds */
    uint8_t primary, in_sync, consumer, by; /* in_sync: bits of brokers; by: the gateway that moved the
                                               unit by a vote, or NONE */
};

struct broker {
    uint64_t run, epoch, frozen_us, down_us;
    uint64_t sick_us, well_us; /* from then to then it answers, and can do no work */
    uint64_t data[WORDS], snapshot[WORDS];
    uint64_t acked_us[REPLICAS]; /* when that replica acknowledged last */
    uint64_t offset;             /* of replication */
    uint64_t link;               /* generation of the connection to the primary */
    uint8_t source;              /* whom it is told to follow, or NONE */
    bool up, primary, linked;    /* linked: of a replica, the connection stands */
};

/* A client's message, as its gateway keeps it. */
struct sent {
    uint64_t epoch, run; /* of the record by which it was sent last */
    uint16_t tries;
    uint8_t gateway, primary, in_sync;
    bool local; /* it is acknowledged without waiting for replicas */
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
    uint64_t local[WORDS]; /* acknowledged by a primary alone, of a set of several: a failover may lose them */
    uint64_t failed_epoch; /* of the last record that may have */
    uint16_t messages;
    uint8_t writer[EPOCHS_MOST];    /* broker that took a write of that epoch, + 1 */
    uint64_t moved_us, switched_us; /* its last automatic failover, and the last of its primary */
    double capacity, load;
    uint64_t served_us[GATEWAYS_MOST]; /* last acknowledged write */
};

struct agent {
    uint64_t frozen_us;
    uint64_t deaf_us; /* until then nobody tells it of records */
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
    uint64_t deaf_us;  /* until then nobody tells it of records */
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

#endif
