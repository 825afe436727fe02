/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps an eye on a broker's memory, so that messages are refused while there is still room for all that takes them
 * away again: acknowledgements, timers, parks. What it learns stands in the unit (`memory_percent`), for all threads.
 * Part of a line.
 */
#ifndef GATEWAY_MEMORY_GUARD_H
#define GATEWAY_MEMORY_GUARD_H

#include "common/broker.h"
#include "gateway/view.h"

struct memory_guard {
    const struct broker_loop *loop;
    struct broker *broker;
    struct unit *unit;
    void *timer;
    bool asked; /* and not answered yet */
};

/* Asks BROKER now and then, on LOOP; all three outlive the guard. */
void memory_guard_start(struct memory_guard *guard, const struct broker_loop *loop, struct broker *broker,
                        struct unit *unit);
/* Before BROKER is destroyed; answers that still come are of no use to anyone. */
void memory_guard_stop(struct memory_guard *guard);

#endif
