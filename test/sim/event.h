/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to the parts, each at its time: messages between them, timers, faults. Plain values.
 */
#ifndef SIM_EVENT_H
#define SIM_EVENT_H

#include "test/sim/parts.h"

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
    SIM_OPERATOR, /* an operator asks a gateway to move a unit */
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
    uint64_t run, epoch, offset, age_us;
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
            uint64_t link, epoch, run, offset;
            uint16_t message;
            uint8_t replica;
        } copy;
        uint64_t run; /* TICK, CLIENTS, AGENT */
    };
};

#endif
