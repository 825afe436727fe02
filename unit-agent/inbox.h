/* SPDX-License-Identifier: Apache-2.0
 *
 * All that comes in: the partitions of the unit, and the reader and the ledger that tie them to the unit's primary
 * broker. Partitions are only ever added: what stands in the unit's streams is delivered whatever later rules say.
 * Owned by the agent.
 */
#ifndef AGENT_INBOX_H
#define AGENT_INBOX_H

#include "common/broker_record.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"
#include "unit-agent/partition.h"

struct inbox;

struct inbox_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the broker's; NULL: none */
    struct str name;                    /* the agent's; zero-terminated */
    struct agent_stats *stats;
    struct partition_hooks hooks;
    const struct observer *observer;                  /* of all partitions; NULL: none */
    const struct partition_guard *guard;              /* the same */
    struct nodes *(*nodes)(void *arg);                /* an empty set, for a subscription that has nodes of its own */
    const struct broker_record *(*record)(void *arg); /* who is in sync; asked where the unit has several brokers */
    void (*changed)(void *arg);                       /* the broker came or went */
    void (*confirmed)(void *arg);                     /* inbox_may_deliver is true again */
    void *arg;
};

struct inbox *inbox_create(sd_event *loop, const struct inbox_config *config);
void inbox_destroy(struct inbox **inbox);

/* The topics that there are, and where the broker is. Another broker means that everything is read anew from its
 * cursors. */
void inbox_adopt(struct inbox *inbox, const struct table *table, const struct table_unit *unit);

/* PARTITION has acknowledgements to record. */
void inbox_record(struct inbox *inbox, struct partition *partition);
/* The guard may admit what it did not before; users whom it does not let wait elsewhere. */
void inbox_look_again(struct inbox *inbox);
void inbox_park_barred(struct inbox *inbox);
/* To be called at an interval: surveys, trims. */
void inbox_tick(struct inbox *inbox);
/* Reads no more, and gives everything back as soon as what is in flight is finished. */
void inbox_stop(struct inbox *inbox);
/* Everything that was acknowledged is recorded. */
bool inbox_idle(const struct inbox *inbox);
/* Everything is given back. */
bool inbox_returned(const struct inbox *inbox);
/* Last of all: tells the other agents. DONE is called once they can know. */
void inbox_leave(struct inbox *inbox, void (*done)(void *arg), void *arg);

/* Whether an attempt may be begun at this moment: the broker has heard from this agent, and nobody else can own what it
 * holds. */
bool inbox_may_deliver(const struct inbox *inbox);
/* Of the unit's agents, this is the one that does what only one may do: see roster.h. */
bool inbox_is_keeper(const struct inbox *inbox);
/* Of the unit's agents, this is the one that should own what HASH stands for. */
bool inbox_chooses(const struct inbox *inbox, uint64_t hash);
/* "AGENT/INCARNATION", as the broker's functions want it. */
const char *inbox_owner(const struct inbox *inbox);

const struct partition_list *inbox_partitions(const struct inbox *inbox);
const char *inbox_broker_url(const struct inbox *inbox); /* NULL: the rules name none yet */
/* NULL while the broker serves; else why not. */
const char *inbox_broker_fault(const struct inbox *inbox);
/* Whether the broker is fenced, as far as it said: no agent's beat gets through. */
bool inbox_sees_fenced(const struct inbox *inbox);
/* NULL while this agent may own partitions; else why not: the broker does not serve, or hears another of this name. */
const char *inbox_fault(const struct inbox *inbox);

#endif
