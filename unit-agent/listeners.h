/* SPDX-License-Identifier: Apache-2.0
 *
 * Who listens to the unit's broadcasts. Each agent has cursors of its own there, and nothing that a cursor has not
 * passed is trimmed; so each says at an interval that it is still there (the hash ldc:{UNIT}:listeners,
 * "TOPIC/SUBSCRIPTION@AGENT"
 * -> when), silent ones are counted, and the unit's keeper removes the cursors of those that are silent for too long.
 * Owned by the inbox.
 */
#ifndef AGENT_LISTENERS_H
#define AGENT_LISTENERS_H

#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"
#include "unit-agent/partition.h"
#include "unit-agent/roster.h"

struct listeners {
    const struct agent_config *options;
    struct agent_stats *stats;
    struct str unit, name; /* of the agent */
    const struct subscription *const *subscriptions;
    const struct partition_list *partitions;
    struct roster *roster; /* NULL: no broker is known */
};

/* To be called at an interval. */
void listeners_tick(struct listeners *listeners);

#endif
