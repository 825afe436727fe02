/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests whose fixture has an event loop, as `loop`.
 */
#ifndef TEST_UNIT_RUN_UNTIL_H
#define TEST_UNIT_RUN_UNTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <systemd/sd-event.h>

#include "common/clock.h"

/* Runs the loop until CONDITION, a minute at most: the machine may be busy. */
#define RUN_UNTIL(fixture, condition)                                                                                  \
    do {                                                                                                               \
        uint64_t end_us = clock_monotonic_us() + 60000000;                                                             \
        while (!(condition) && clock_monotonic_us() < end_us)                                                          \
            sd_event_run((fixture)->loop, 10000);                                                                      \
        assert_true(condition);                                                                                        \
    } while (0)

#endif
