/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/timers.h"

#include <stdlib.h>

#include "common/str.h"

/* Delays come from the configuration and the rules, so there are few; lists that a reload has left empty are taken
 * again for another delay rather than unlinked, for libh2o may be walking over them. Not those without a delay: what
 * joins such a list while it is walked over is due at once, again and again. */
static h2o_timeout_t *list_for(struct timers *timers, uint64_t delay_ms)
{
    h2o_timeout_t *empty = NULL;
    for (size_t i = 0; i < timers->count; i++) {
        if (timers->lists[i]->timeout == delay_ms)
            return timers->lists[i];
        if (timers->lists[i]->timeout > 0 && h2o_linklist_is_empty(&timers->lists[i]->_entries))
            empty = timers->lists[i];
    }
    if (empty != NULL && timers->count >= 8) {
        empty->timeout = delay_ms;
        return empty;
    }
    h2o_timeout_t *list = mem_alloc(sizeof(*list));
    h2o_timeout_init(timers->loop, list, delay_ms);
    timers->lists = mem_realloc(timers->lists, (timers->count + 1) * sizeof(list));
    timers->lists[timers->count++] = list;
    return list;
}

void timers_arm(struct timers *timers, h2o_timeout_entry_t *entry, uint64_t delay_ms)
{
    timers_disarm(entry);
    h2o_timeout_link(timers->loop, list_for(timers, delay_ms), entry);
}

void timers_disarm(h2o_timeout_entry_t *entry)
{
    if (h2o_timeout_is_linked(entry))
        h2o_timeout_unlink(entry);
}

void timers_dispose(struct timers *timers)
{
    for (size_t i = 0; i < timers->count; i++) {
        h2o_timeout_dispose(timers->loop, timers->lists[i]);
        free(timers->lists[i]);
    }
    free(timers->lists);
    timers->lists = NULL;
    timers->count = 0;
}
