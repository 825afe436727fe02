/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit-agent/copy_pace.h"

#define EACH_US 5000 /* between two answers */

static uint64_t now_us;

/* COUNT answers of a broker, each after TOOK_US. */
static void hear(struct copy_pace_side *side, unsigned count, uint64_t took_us)
{
    for (unsigned i = 0; i < count; i++) {
        now_us += EACH_US;
        copy_pace_hear(side, took_us, now_us);
    }
}

static struct copy_pace *begin(void)
{
    static struct copy_pace pace;
    now_us = 1000000000;
    copy_pace_init(&pace);
    return &pace;
}

static void it_begins_with_a_sixteenth_and_comes_to_a_quarter_of_the_time(void **state)
{
    (void)state;
    struct copy_pace *pace = begin();
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 15000);
    hear(&pace->origin, 100, 200);
    hear(&pace->local, 100, 30000); /* far away, but always so */
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 3000);
}

static void either_broker_that_answers_late_makes_it_slow_and_goes_on_being_heard(void **state)
{
    (void)state;
    struct copy_pace *pace = begin();
    hear(&pace->origin, 200, 200);
    hear(&pace->local, 200, 200);
    hear(&pace->local, 30, 3000);
    uint64_t rest_us = copy_pace_rest_us(pace, 1000, false);
    assert_true(rest_us > 3000);
    hear(&pace->local, 200, 3000);
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 15000);
    assert_int_equal(copy_pace_rest_us(pace, 1000, true), 1000);
    hear(&pace->local, 200, 200);
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 3000);
}

static void what_is_usual_is_learnt_anew(void **state)
{
    (void)state;
    struct copy_pace *pace = begin();
    hear(&pace->origin, 200, 200);
    hear(&pace->origin, 122000, 3000); /* a little more than ten minutes */
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 3000);
    now_us += 3600000000;
    hear(&pace->origin, 200, 9000);
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 3000);
}

static void some_answers_that_come_a_little_later_do_no_harm(void **state)
{
    (void)state;
    struct copy_pace *pace = begin();
    hear(&pace->origin, 200, 200);
    for (unsigned i = 0; i < 50; i++) {
        hear(&pace->origin, 1, 1200);
        hear(&pace->origin, 9, 300);
    }
    assert_int_equal(copy_pace_rest_us(pace, 1000, false), 3000);
}

static void a_call_that_was_held_up_is_not_paid_for(void **state)
{
    (void)state;
    struct copy_pace *pace = begin();
    assert_int_equal(copy_pace_rest_us(pace, 5000000, false), 15 * 4000);
}

#define HOUR_US 3600000000u

static uint64_t rest_us(uint64_t busy_us, struct copy_pace_lag lag)
{
    return copy_pace_catch_up_us(begin(), busy_us, 64, &lag);
}

/* 64 of 3,600 changes, which are an hour old: one a second; and of 7,200,000. */
static void who_catches_up_goes_six_times_as_fast_as_was_written_at_least(void **state)
{
    (void)state;
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){3600, HOUR_US, false}), 15000);
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){7200000, HOUR_US, false}), 64 * 500 / 6 - 1000);
    assert_int_equal(rest_us(6000, (struct copy_pace_lag){7200000, HOUR_US, false}), 0);
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){100000, 0, false}), 0);
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){0, HOUR_US, false}), 15000);
}

static void a_new_copy_goes_twice_as_fast(void **state)
{
    (void)state;
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){3600, HOUR_US, true}), 15000);
    assert_int_equal(rest_us(1000, (struct copy_pace_lag){7200000, HOUR_US, true}), 15000);
    assert_int_equal(rest_us(6000, (struct copy_pace_lag){7200000, HOUR_US, true}), 64 * 500 / 2 - 6000);
    assert_int_equal(rest_us(16000, (struct copy_pace_lag){7200000, HOUR_US, true}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_with_a_sixteenth_and_comes_to_a_quarter_of_the_time),
        cmocka_unit_test(either_broker_that_answers_late_makes_it_slow_and_goes_on_being_heard),
        cmocka_unit_test(what_is_usual_is_learnt_anew),
        cmocka_unit_test(some_answers_that_come_a_little_later_do_no_harm),
        cmocka_unit_test(a_call_that_was_held_up_is_not_paid_for),
        cmocka_unit_test(who_catches_up_goes_six_times_as_fast_as_was_written_at_least),
        cmocka_unit_test(a_new_copy_goes_twice_as_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
