/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/loop_time.h"

#include <sys/time.h>

#include "common/clock.h"

uint64_t loop_time_step(struct loop_time *time, uint64_t monotonic_us, uint64_t wall_us)
{
    int64_t ahead_us = (int64_t)(wall_us - monotonic_us), limit_us = (int64_t)(monotonic_us - time->monotonic_us) / 10;
    int64_t behind_us = ahead_us - time->ahead_us;
    if (time->monotonic_us == 0)
        time->ahead_us = ahead_us;
    else if (behind_us > limit_us)
        time->ahead_us += limit_us;
    else
        time->ahead_us += behind_us < -limit_us ? -limit_us : behind_us;
    time->monotonic_us = monotonic_us;
    return monotonic_us + (uint64_t)time->ahead_us;
}

static _Thread_local struct loop_time here;

/* Takes the place of the C library's, for all that is linked to this program. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    uint64_t us = loop_time_step(&here, clock_monotonic_us(), clock_wall_us());
    (void)zone;
    *now = (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return 0;
}

bool loop_time_rules(void)
{
    return here.monotonic_us != 0;
}
