/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/balance.h"

static bool eligible(const struct node *node, const struct balance_tried *tried)
{
    for (unsigned i = 0; i < tried->count; i++)
        if (tried->nodes[i] == node)
            return false;
    return node_usable(node);
}

/* The RANK-th eligible node. */
static struct node *pick(struct node *const *nodes, uint32_t count, const struct balance_tried *tried, uint32_t rank)
{
    for (uint32_t i = 0; i < count; i++)
        if (eligible(nodes[i], tried) && rank-- == 0)
            return nodes[i];
    return NULL;
}

struct node *balance_choose(struct node *const *nodes, uint32_t count, const struct balance_tried *tried,
                            uint64_t random)
{
    uint32_t usable = 0;
    if (tried->count == BALANCE_TRIED_MAX)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        usable += eligible(nodes[i], tried);
    if (usable == 0)
        return NULL;
    uint32_t first = (uint32_t)random % usable;
    struct node *one = pick(nodes, count, tried, first);
    if (usable == 1)
        return one;
    struct node *other = pick(nodes, count, tried, (first + 1 + (uint32_t)(random >> 32) % (usable - 1)) % usable);
    /* Another thread may take a node out meanwhile. */
    if (one == NULL || other == NULL)
        return one != NULL ? one : other;
    return atomic_load_explicit(&other->in_flight, memory_order_relaxed) <
                   atomic_load_explicit(&one->in_flight, memory_order_relaxed)
               ? other
               : one;
}

void balance_note(struct balance_tried *tried, const struct node *node)
{
    if (tried->count < BALANCE_TRIED_MAX)
        tried->nodes[tried->count++] = node;
}
