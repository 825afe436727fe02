/* SPDX-License-Identifier: Apache-2.0
 *
 * What an agent does for one unit: it delivers the unit's messages, moves its timers and transactions, keeps its broker
 * record. Every agent has the duty of its own unit; where the record names this agent's unit as the consumer of another
 * one, whose agents are gone, it has a guest's duty beside it, and delivers to its own unit's nodes. Owned by the
 * agent.
 *
 * Lifecycle: create -> adopt, whenever rules or the record may have changed -> destroy. In between it serves or rests:
 * a duty that rests follows the record alone. One that is to rest first finishes what is in flight.
 */
#ifndef AGENT_DUTY_H
#define AGENT_DUTY_H

#include "unit-agent/arrivals.h"
#include "unit-agent/clockwork.h"
#include "unit-agent/collection_chores.h"
#include "unit-agent/copies.h"
#include "unit-agent/delivery.h"
#include "unit-agent/inbox.h"
#include "unit-agent/keeper.h"
#include "unit-agent/nodes.h"
#include "unit-agent/operations.h"
#include "unit-agent/outbox.h"
#include "unit-agent/replies.h"
#include "unit-agent/traces.h"

struct agent;

struct duty {
    struct duty *next; /* of the guests' */
    struct agent *agent;
    char unit[64];
    struct agent_config options; /* the agent's, with this unit; all texts are the agent's */
    struct agent_stats stats;
    struct nodes *nodes;
    struct delivery *delivery;
    struct valves *valves;
    struct operations *operations;
    struct outbox *outbox;
    struct replies *replies;
    struct traces *traces;
    struct observer observer;
    struct clockwork *clockwork;
    struct collection_chores *chores;
    struct arrivals *arrivals;
    struct partition_guard guard; /* these */
    struct inbox *inbox;
    struct copies *copies;
    struct keeper *keeper;
    struct str brokers[BROKER_MEMBERS_MOST]; /* the primary first */
    bool serves;
    sd_event_source *review, *ending, *end;
    uint64_t end_by_us; /* monotonic; 0: not ending */
    uint64_t lapsed_us; /* when nobody takes its agent for one that lives any more, if it beats no more */
    bool clean;         /* it ended in time */
    void (*ended)(struct duty *duty);
};

struct duty *duty_create(struct agent *agent, const char *unit);
void duty_destroy(struct duty **duty);

/* After the agent's options changed. */
void duty_configure(struct duty *duty);

/* TABLE is in force. Serves, or begins to rest, as the record says. */
void duty_adopt(struct duty *duty, const struct table *table);
/* Looks for a newer record in STORE, or takes RECORD where that is newer; serves or rests as it says. */
void duty_sync(struct duty *duty, struct store *store);
void duty_heard(struct duty *duty, const struct broker_record *record);
/* The record of any unit, which came by another way than from the store. */
void duty_overheard(struct duty *duty, const char *unit, const struct broker_record *record);

/* To be called at an interval. */
void duty_tick(struct duty *duty);

/* Begins nothing more, finishes what is in flight, gives everything back; then ENDED is called, once. */
void duty_end(struct duty *duty, void (*ended)(struct duty *duty));

/* Brings the gauges of `stats` up to date. */
void duty_refresh(struct duty *duty);

/* NULL while it can do what it is to do; else why not. */
const char *duty_fault(const struct duty *duty);

#endif
