/* SPDX-License-Identifier: Apache-2.0 */
#include "test/sim/queue.h"

#include <stdlib.h>

#include "common/str.h"

#define POOL_MOST 16384

struct node {
    uint64_t at_us, order;
    uint32_t slot;
};

struct sim_queue {
    struct node heap[POOL_MOST];
    size_t count;
    uint32_t spare[POOL_MOST];
    size_t spare_count;
    uint32_t taken; /* slot + 1 of the event that the caller looks at */
    struct sim_event pool[POOL_MOST];
};

struct sim_queue *queue_create(void)
{
    struct sim_queue *queue = mem_calloc(1, sizeof(*queue));
    queue_clear(queue);
    return queue;
}

void queue_destroy(struct sim_queue **queue)
{
    free(*queue);
    *queue = NULL;
}

void queue_clear(struct sim_queue *queue)
{
    queue->count = 0;
    queue->taken = 0;
    queue->spare_count = POOL_MOST;
    for (uint32_t i = 0; i < POOL_MOST; i++)
        queue->spare[i] = POOL_MOST - 1 - i;
}

static bool before(const struct node *a, const struct node *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

struct sim_event *queue_put(struct sim_queue *queue, uint64_t at_us, uint64_t order)
{
    if (queue->spare_count == 0)
        abort();
    struct node node = {at_us, order, queue->spare[--queue->spare_count]};
    size_t i = queue->count++;
    for (; i > 0 && before(&node, &queue->heap[(i - 1) / 2]); i = (i - 1) / 2)
        queue->heap[i] = queue->heap[(i - 1) / 2];
    queue->heap[i] = node;
    struct sim_event *event = &queue->pool[node.slot];
    memset(event, 0, sizeof(*event));
    event->at_us = at_us;
    event->order = order;
    return event;
}

static void sink(struct sim_queue *queue, struct node node)
{
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= queue->count)
            break;
        if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child]))
            child++;
        if (before(&node, &queue->heap[child]))
            break;
        queue->heap[i] = queue->heap[child];
        i = child;
    }
    queue->heap[i] = node;
}

struct sim_event *queue_take(struct sim_queue *queue)
{
    if (queue->taken != 0)
        queue->spare[queue->spare_count++] = queue->taken - 1;
    queue->taken = 0;
    if (queue->count == 0)
        return NULL;
    uint32_t slot = queue->heap[0].slot;
    struct node last = queue->heap[--queue->count];
    if (queue->count > 0)
        sink(queue, last);
    queue->taken = slot + 1;
    return &queue->pool[slot];
}
