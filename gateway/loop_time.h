/* SPDX-License-Identifier: Apache-2.0
 *
 * The time that libh2o's loops live by. It asks for the time of day, and counts all its time-outs in it: a wall clock
 * that is set an hour ahead would end every connection and every request at once, one that is set back would let
 * nothing run out for an hour. So the program's gettimeofday(), which nothing but libh2o calls, is a steady one: it
 * goes as the monotonic clock does, and follows a wall clock that was set by a tenth of the time that passes. Only the
 * Date field of answers is wrong for so long. The clocks of common/clock.h are not concerned.
 */
#ifndef GATEWAY_LOOP_TIME_H
#define GATEWAY_LOOP_TIME_H

#include <stdbool.h>
#include <stdint.h>

struct loop_time {
    uint64_t monotonic_us; /* when it was last asked; 0: never */
    int64_t ahead_us;      /* of the monotonic clock */
};

/* The steady time of day, in microseconds since 1970, when the two clocks say so; never falls. */
uint64_t loop_time_step(struct loop_time *time, uint64_t monotonic_us, uint64_t wall_us);

/* Whether the loop that this thread has made asked for the time here, and not the C library. */
bool loop_time_rules(void);

#endif
