/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/pool.h"

#include <stdlib.h>

#include "common/str.h"

struct slot {
    struct upstream *newest;
    int64_t count;
    uint64_t refused_at_ms;
};

struct pool {
    const struct gateway_config *config;
    struct timers *timers;
    struct slot *slots; /* by node->id */
    uint32_t slot_count;
};

struct pool *pool_create(const struct gateway_config *config, struct timers *timers)
{
    struct pool *pool = mem_calloc(1, sizeof(*pool));
    pool->config = config;
    pool->timers = timers;
    return pool;
}

static struct slot *slot_of(struct pool *pool, const struct node *node)
{
    if (node->id >= pool->slot_count) {
        uint32_t count = node->id + 16;
        pool->slots = mem_realloc(pool->slots, count * sizeof(struct slot));
        memset(pool->slots + pool->slot_count, 0, (count - pool->slot_count) * sizeof(struct slot));
        pool->slot_count = count;
    }
    return &pool->slots[node->id];
}

static void unlink_idle(struct pool *pool, struct upstream *upstream)
{
    struct slot *slot = slot_of(pool, upstream->node);
    if (upstream->newer != NULL)
        upstream->newer->older = upstream->older;
    else
        slot->newest = upstream->older;
    if (upstream->older != NULL)
        upstream->older->newer = upstream->newer;
    upstream->newer = upstream->older = NULL;
    slot->count--;
}

/* An idle connection has nothing to say: bytes now would be read as the answer to a request that is yet to come. The
 * loop serves it before the requests of the same turn, so that a connection that a node has closed is rarely taken. */
static void drop_idle(struct upstream *upstream)
{
    unlink_idle(upstream->holder, upstream);
    upstream_close(&upstream);
}

static const struct upstream_events idle_events = {.readable = drop_idle, .expired = drop_idle};

void pool_destroy(struct pool **pool)
{
    if (*pool == NULL)
        return;
    for (uint32_t i = 0; i < (*pool)->slot_count; i++)
        while ((*pool)->slots[i].newest != NULL)
            drop_idle((*pool)->slots[i].newest);
    free((*pool)->slots);
    free(*pool);
    *pool = NULL;
}

struct upstream *pool_take(struct pool *pool, struct node *node, const struct upstream_events *events, void *holder)
{
    struct upstream *upstream = slot_of(pool, node)->newest;
    if (upstream == NULL)
        return NULL;
    unlink_idle(pool, upstream);
    upstream->events = events;
    upstream->holder = holder;
    upstream->reused = true;
    return upstream;
}

void pool_put(struct pool *pool, struct upstream *upstream)
{
    struct slot *slot = slot_of(pool, upstream->node);
    if (slot->count >= pool->config->proxy.idle_each_node) {
        upstream_close(&upstream);
        return;
    }
    upstream->events = &idle_events;
    upstream->holder = pool;
    upstream->older = slot->newest;
    if (slot->newest != NULL)
        slot->newest->newer = upstream;
    slot->newest = upstream;
    slot->count++;
    upstream_wait(upstream, (uint64_t)pool->config->proxy.idle_timeout);
}

void pool_note_refusal(struct pool *pool, struct node *node, uint64_t now_ms)
{
    slot_of(pool, node)->refused_at_ms = now_ms;
}

struct node *pool_last_resort(struct pool *pool, struct node *const *nodes, uint32_t count, uint64_t now_ms)
{
    struct node *oldest = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (atomic_load_explicit(&nodes[i]->reported, memory_order_relaxed))
            continue;
        if (oldest == NULL || slot_of(pool, nodes[i])->refused_at_ms < slot_of(pool, oldest)->refused_at_ms)
            oldest = nodes[i];
    }
    if (oldest == NULL)
        return NULL;
    struct slot *slot = slot_of(pool, oldest);
    if (now_ms < slot->refused_at_ms + (uint64_t)pool->config->proxy.probe_interval)
        return NULL;
    slot->refused_at_ms = now_ms;
    return oldest;
}
