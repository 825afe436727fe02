/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers of one worker, by their delay: libh2o keeps a list for each delay, ordered because all in it wait equally
 * long. Owned by one thread; entries belong to whoever links them.
 */
#ifndef GATEWAY_TIMERS_H
#define GATEWAY_TIMERS_H

#include <h2o.h>

struct timers {
    h2o_loop_t *loop;
    h2o_timeout_t **lists;
    size_t count;
};

/* Links ENTRY, unlinking it first where it is linked: entry->cb runs DELAY_MS from now. */
void timers_arm(struct timers *timers, h2o_timeout_entry_t *entry, uint64_t delay_ms);
void timers_disarm(h2o_timeout_entry_t *entry);

/* No entry may be linked any more. */
void timers_dispose(struct timers *timers);

#endif
