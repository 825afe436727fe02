/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection of the keeper's to one broker, and the looks that it takes over it. Owned by the keeper.
 */
#ifndef AGENT_KEEPER_PROBE_H
#define AGENT_KEEPER_PROBE_H

#include "common/broker.h"
#include "unit-agent/keeper_look.h"

struct keeper_probe;

/* LOOK is complete, and borrowed for the call. A look that fails is not told of. */
typedef void (*keeper_look_fn)(void *arg, unsigned index, const struct keeper_look *look);

/* INDEX is handed to LOOKED as it is. */
struct keeper_probe *keeper_probe_create(const struct broker_loop *loop, const struct broker_config *broker,
                                         struct str unit, unsigned index, keeper_look_fn looked, void *arg);
void keeper_probe_destroy(struct keeper_probe **probe);

/* Begins a look unless one is under way. */
void keeper_probe_look(struct keeper_probe *probe);

struct broker *keeper_probe_broker(struct keeper_probe *probe);

#endif
