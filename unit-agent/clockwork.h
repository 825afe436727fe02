/* SPDX-License-Identifier: Apache-2.0
 *
 * What one agent of a unit does by the clock, whether anybody asks or not: messages that are due go to their
 * partitions, and senders of prepared messages are asked for their word (checkback.h). It has a connection of its own
 * to the unit's primary broker, which decides by its own clock. Two agents that both believe to be the one do no harm.
 * Owned by the agent.
 */
#ifndef AGENT_CLOCKWORK_H
#define AGENT_CLOCKWORK_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/broker_record.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

struct clockwork;

struct clockwork_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the broker's; NULL: none */
    struct agent_stats *stats;
    bool (*is_keeper)(void *arg);                     /* asked before each act: whether this agent is the one */
    const struct broker_record *(*record)(void *arg); /* in force */
    void *arg;
};

struct clockwork *clockwork_create(sd_event *loop, const struct clockwork_config *config);
void clockwork_destroy(struct clockwork **clockwork);

/* PRIMARY: the broker's URL; empty: there is none. */
void clockwork_adopt(struct clockwork *clockwork, struct str primary);

/* To be called at an interval: counts what waits. */
void clockwork_tick(struct clockwork *clockwork);

/* Begins nothing more. */
void clockwork_stop(struct clockwork *clockwork);

#endif
