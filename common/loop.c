/* SPDX-License-Identifier: Apache-2.0 */
#include "common/loop.h"

#include <time.h>

#include "common/invariant.h"

#define ACCURACY_US 1000

static sd_event_source *at_rest(sd_event_source *source)
{
    INVARIANT(sd_event_source_set_enabled(source, SD_EVENT_OFF) >= 0);
    return source;
}

sd_event_source *loop_later(sd_event *loop, sd_event_handler_t run, void *arg)
{
    sd_event_source *source = NULL;
    INVARIANT(sd_event_add_defer(loop, &source, run, arg) >= 0);
    return at_rest(source);
}

sd_event_source *loop_timer(sd_event *loop, sd_event_time_handler_t run, void *arg)
{
    sd_event_source *source = NULL;
    INVARIANT(sd_event_add_time(loop, &source, CLOCK_MONOTONIC, 0, ACCURACY_US, run, arg) >= 0);
    return at_rest(source);
}

/* A loop that has ended takes nothing more, while what is destroyed behind it may still ask. */
void loop_wake(sd_event_source *source)
{
    (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int loop_wake_in(sd_event_source *source, uint64_t us)
{
    (void)sd_event_source_set_time_relative(source, us);
    loop_wake(source);
    return 0;
}
