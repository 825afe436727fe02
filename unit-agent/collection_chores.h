/* SPDX-License-Identifier: Apache-2.0
 *
 * What one agent of the core unit does for the collections that are written there: beats, by which copies know how old
 * they are; digests, by which they are compared; old changes leave the log; the origin's own values are held against
 * their checks and sums, and changes are pushed to the app that wants them. It has a connection of its own to the
 * unit's primary. Two agents that both believe to be the one do no harm. Owned by the duty; in other units it has
 * nothing to do.
 */
#ifndef AGENT_COLLECTION_CHORES_H
#define AGENT_COLLECTION_CHORES_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/broker_record.h"
#include "common/store.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

struct collection_chores;

struct collection_chores_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the brokers'; NULL: none */
    struct agent_stats *stats;
    bool (*is_keeper)(void *arg);                     /* asked before each act: whether this agent is the one */
    const struct broker_record *(*record)(void *arg); /* of the unit, in force */
    void *arg;
};

struct collection_chores *collection_chores_create(sd_event *loop, const struct collection_chores_config *config);
void collection_chores_destroy(struct collection_chores **chores);

/* PRIMARY: the unit's, empty where the agent is not to serve it. */
void collection_chores_adopt(struct collection_chores *chores, const struct table *table, struct str primary);
/* Where the units' copies are, by STORE. */
void collection_chores_sync(struct collection_chores *chores, struct store *store);

/* Begins nothing more. */
void collection_chores_stop(struct collection_chores *chores);

#endif
