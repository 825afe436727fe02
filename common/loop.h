/* SPDX-License-Identifier: Apache-2.0
 *
 * Work on an sd-event loop that rests until it is wanted. The source is the caller's, to be let go with
 * sd_event_source_disable_unref(); ARG is borrowed for as long.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <stdint.h>
#include <systemd/sd-event.h>

/* RUN on a later turn of the loop, once for each loop_wake(). */
sd_event_source *loop_later(sd_event *loop, sd_event_handler_t run, void *arg);

/* RUN once for each loop_wake_in(), to the millisecond; or as sd_event_source_set_time() and loop_wake() say. */
sd_event_source *loop_timer(sd_event *loop, sd_event_time_handler_t run, void *arg);

/* Again before it has run: nothing changes. */
void loop_wake(sd_event_source *source);

/* In place of what was said before. Returns 0, as a timer's own handler does that wants to run again. */
int loop_wake_in(sd_event_source *source, uint64_t us);

#endif
