/* SPDX-License-Identifier: Apache-2.0
 *
 * Pause and throttle: stands between the partitions, which say whose turn it is, and the delivery. Each subscription of
 * a topic has a valve; one that is closed, or that has let its rate through, keeps messages until it opens. Owned by
 * the agent.
 */
#ifndef AGENT_VALVE_H
#define AGENT_VALVE_H

#include "unit-agent/partition.h"

struct valves;

/* DOWNSTREAM: who delivers. */
struct valves *valves_create(sd_event *loop, struct partition_hooks downstream);
void valves_destroy(struct valves **valves); /* after the partitions, which take back their messages */

/* The hooks for struct partition_hooks; ARG is the valves. */
void valves_ready(void *valves, struct message *message);
void valves_withdraw(void *valves, struct message *message);

/* What RATE means beside messages a second. */
#define VALVE_OPEN   UINT32_MAX
#define VALVE_CLOSED 0

/* What the broker's control hash says, as COUNT pairs of "TOPIC/SUBSCRIPTION" and "paused" or a rate. Valves that it
 * does not name are open. */
void valves_adopt(struct valves *valves, const struct str *names, const struct str *settings, size_t count);

#endif
