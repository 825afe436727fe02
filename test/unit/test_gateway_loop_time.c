/* SPDX-License-Identifier: Apache-2.0 */
#include <h2o.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/time.h>

#include <cmocka.h>

#include "common/clock.h"
#include "gateway/loop_time.h"

#define START_US UINT64_C(1000000)
#define WALL_US  UINT64_C(1800000000000000)
#define HOUR_US  UINT64_C(3600000000)

static void follows_a_clock_that_is_corrected_slowly(void **state)
{
    (void)state;
    struct loop_time time = {0};
    assert_int_equal(loop_time_step(&time, START_US, WALL_US), WALL_US);
    assert_int_equal(loop_time_step(&time, START_US + 1000000, WALL_US + 1000500), WALL_US + 1000500);
    assert_int_equal(loop_time_step(&time, START_US + 2000000, WALL_US + 1999900), WALL_US + 1999900);
}

static void nothing_runs_out_when_the_clock_is_set_ahead(void **state)
{
    (void)state;
    struct loop_time time = {0};
    loop_time_step(&time, START_US, WALL_US);
    assert_int_equal(loop_time_step(&time, START_US + 1000, WALL_US + HOUR_US), WALL_US + 1100);
}

static void time_goes_on_when_the_clock_is_set_back(void **state)
{
    (void)state;
    struct loop_time time = {0};
    loop_time_step(&time, START_US, WALL_US);
    assert_int_equal(loop_time_step(&time, START_US + 1000, WALL_US - HOUR_US), WALL_US + 900);
    assert_int_equal(loop_time_step(&time, START_US + 1000, WALL_US - HOUR_US), WALL_US + 900);
}

static void it_arrives_at_the_clock_that_was_set(void **state)
{
    (void)state;
    struct loop_time time = {0};
    loop_time_step(&time, START_US, WALL_US);
    loop_time_step(&time, START_US + 10 * HOUR_US, WALL_US + 11 * HOUR_US);
    assert_int_equal(loop_time_step(&time, START_US + 10 * HOUR_US + 10, WALL_US + 11 * HOUR_US + 10),
                     WALL_US + 11 * HOUR_US + 10);
}

static void the_loops_of_libh2o_take_it(void **state)
{
    (void)state;
    h2o_loop_t *loop = h2o_evloop_create();
    assert_true(loop_time_rules());
    assert_in_range(h2o_now(loop), clock_wall_us() / 1000 - 60000, clock_wall_us() / 1000 + 60000);
    h2o_evloop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_clock_that_is_corrected_slowly),
        cmocka_unit_test(nothing_runs_out_when_the_clock_is_set_ahead),
        cmocka_unit_test(time_goes_on_when_the_clock_is_set_back),
        cmocka_unit_test(it_arrives_at_the_clock_that_was_set),
        cmocka_unit_test(the_loops_of_libh2o_take_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
