/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/clock.h"

static void times_are_read_as_they_are_written(void **state)
{
    (void)state;
    char text[CLOCK_UTC_SIZE];
    for (uint64_t us = 0; us < 250000000000000000ull; us += 86399123456789ull) {
        uint64_t again = 1;
        clock_format_utc(us, text);
        assert_true(clock_parse_utc(str_of(text), &again));
        assert_int_equal(again, us);
    }
}

static void offsets_decimals_and_leap_days_count(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t02:00:00.5+02:00", 500000},
        {"1969-12-31T23:00:01-01:00", 1000000},
        {"2026-11-21T08:34:41.123456789Z", 1795250081123456},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"2016-12-31T23:59:60Z", 1483228800000000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t us = 1;
        assert_true(clock_parse_utc(str_of(cases[i].text), &us));
        assert_int_equal(us, cases[i].us);
    }
}

static void what_is_no_time_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        "now",
        "2026-11-21",
        "2026-11-21T08:34:41",
        "2026-11-21 08:34:41Z",
        "2026-11-21T08:34:41Z ",
        "2026-11-21T08:34:41.Z",
        "2026-13-21T08:34:41Z",
        "2026-00-21T08:34:41Z",
        "2026-02-30T08:34:41Z",
        "2025-02-29T08:34:41Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T08:60:00Z",
        "2026-11-21T08:34:41+2:00",
        "1969-12-31T23:59:59Z",
        "02026-11-21T08:34:41Z",
    };
    uint64_t us;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_false(clock_parse_utc(str_of(cases[i]), &us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_they_are_written),
        cmocka_unit_test(offsets_decimals_and_leap_days_count),
        cmocka_unit_test(what_is_no_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
