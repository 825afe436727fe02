/* SPDX-License-Identifier: Apache-2.0
 *
 * The idle connections of one worker, by node: the one that was used last is taken first, so that the others can go.
 * A pool owns what is idle in it; what is taken belongs to its holder until it is put back.
 */
#ifndef GATEWAY_POOL_H
#define GATEWAY_POOL_H

#include "gateway/config.h"
#include "gateway/upstream.h"

struct pool;

/* CONFIG and TIMERS are borrowed. */
struct pool *pool_create(const struct gateway_config *config, struct timers *timers);
void pool_destroy(struct pool **pool);

/* NULL: none is idle. */
struct upstream *pool_take(struct pool *pool, struct node *node, const struct upstream_events *events, void *holder);
/* Closes it instead where the pool has enough of that node. */
void pool_put(struct pool *pool, struct upstream *upstream);

/* A connection to NODE failed now. */
void pool_note_refusal(struct pool *pool, struct node *node, uint64_t now_ms);
/* Where every node is taken out: the one that this worker has not tried for longest, if that is a probe interval ago.
 * Nodes that their unit's agent reports as ill are left alone. NULL: none. */
struct node *pool_last_resort(struct pool *pool, struct node *const *nodes, uint32_t count, uint64_t now_ms);

#endif
