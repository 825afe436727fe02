/* SPDX-License-Identifier: Apache-2.0
 *
 * Which node of a unit takes a request. Pure: no clock, no I/O.
 */
#ifndef GATEWAY_BALANCE_H
#define GATEWAY_BALANCE_H

#include "gateway/view.h"

/* The nodes that one request has failed at. */
#define BALANCE_TRIED_MAX 8
struct balance_tried {
    const struct node *nodes[BALANCE_TRIED_MAX];
    unsigned count;
};

/* The one with fewer requests in flight of two that RANDOM picks among the COUNT NODES which are usable and not in
 * TRIED ("power of two choices", Mitzenmacher 1996). NULL: there is none, or TRIED is full. */
struct node *balance_choose(struct node *const *nodes, uint32_t count, const struct balance_tried *tried,
                            uint64_t random);

/* NODE was tried, and is not to be chosen again. */
void balance_note(struct balance_tried *tried, const struct node *node);

#endif
