/* SPDX-License-Identifier: Apache-2.0 */
#include "router/ramp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct ramp_policy strict = {
    .step_count = 3, .dwell_us = 30000000, .min_requests = 20, .abort_errors = 0.02, .abort_latency = 1.5};

static enum ramp_reason why;

static enum ramp_verdict decide(struct ramp_sight sight)
{
    enum ramp_verdict verdict = ramp_decide(&strict, &sight, &why);
    assert_int_equal(why != RAMP_STEP_HELD, verdict == RAMP_ABORT);
    return verdict;
}

/* A colour that does well in the middle of its first step. */
static struct ramp_sight sound(void)
{
    return (struct ramp_sight){.elapsed_us = 15000000,
                               .answered = 300,
                               .own = {.requests = 100, .timed = 100, .latency_us = 2000},
                               .other = {.requests = 1900, .timed = 1900, .latency_us = 2000}};
}

static void a_step_holds_until_its_time_is_over(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.elapsed_us = strict.dwell_us - 1;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.elapsed_us = strict.dwell_us;
    assert_int_equal(decide(sight), RAMP_ADVANCE);
    sight.step = 1;
    assert_int_equal(decide(sight), RAMP_ADVANCE);
    sight.step = 2;
    assert_int_equal(decide(sight), RAMP_FINISH);
}

static void a_step_that_nobody_used_proves_nothing(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.elapsed_us = 10 * strict.dwell_us;
    sight.answered = 19;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.answered = 20;
    assert_int_equal(decide(sight), RAMP_ADVANCE);
}

static void failures_above_the_limit_abort_at_once(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.elapsed_us = 0;
    sight.own.failed = 2; /* of 100: as much as is allowed */
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.own.failed = 3;
    assert_int_equal(decide(sight), RAMP_ABORT);
    assert_int_equal(why, RAMP_FAILURES);
}

static void one_failure_among_the_first_few_is_no_rate_and_two_are(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.own = (struct ramp_figures){.requests = 1, .failed = 1};
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.own = (struct ramp_figures){.requests = 2, .failed = 2};
    assert_int_equal(decide(sight), RAMP_ABORT);
}

static void min_requests_are_the_least_that_a_rate_is_taken_of(void **state)
{
    (void)state;
    struct ramp_policy patient = strict;
    struct ramp_sight sight = sound();
    patient.min_requests = 1000;
    sight.own = (struct ramp_figures){.requests = 30, .failed = 20};
    assert_int_equal(ramp_decide(&patient, &sight, &why), RAMP_WAIT);
    sight.own = (struct ramp_figures){.requests = 31, .failed = 21};
    assert_int_equal(ramp_decide(&patient, &sight, &why), RAMP_ABORT);
}

static void what_fails_no_more_than_the_other_color_is_not_to_blame(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.own.failed = 10;
    sight.other.failed = 190;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.other.failed = 180;
    assert_int_equal(decide(sight), RAMP_ABORT);
}

static void a_slower_color_is_given_back_where_both_have_enough_requests(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.other.latency_us = 20000;
    sight.own.latency_us = 30000;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.own.latency_us = 30001;
    assert_int_equal(decide(sight), RAMP_ABORT);
    assert_int_equal(why, RAMP_LATENCY);
    sight.own.timed = RAMP_LATENCY_LEAST - 1;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.own.timed = RAMP_LATENCY_LEAST;
    sight.other.timed = RAMP_LATENCY_LEAST - 1;
    assert_int_equal(decide(sight), RAMP_WAIT);
}

static void a_few_milliseconds_are_noise_whatever_the_factor(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.other.latency_us = 300;
    sight.own.latency_us = 300 + RAMP_LATENCY_SLACK_US;
    assert_int_equal(decide(sight), RAMP_WAIT);
    sight.own.latency_us++;
    assert_int_equal(decide(sight), RAMP_ABORT);
}

static void conditions_that_are_not_set_do_not_count(void **state)
{
    (void)state;
    struct ramp_policy blind = {.step_count = 1};
    struct ramp_sight sight = sound();
    sight.own = (struct ramp_figures){.requests = 100, .failed = 100, .latency_us = 9000000};
    assert_int_equal(ramp_decide(&blind, &sight, &why), RAMP_FINISH);
    sight.away = true;
    assert_int_equal(ramp_decide(&blind, &sight, &why), RAMP_ABORT);
    assert_int_equal(why, RAMP_NODES_AWAY);
}

static void bad_figures_win_over_a_step_that_is_over(void **state)
{
    (void)state;
    struct ramp_sight sight = sound();
    sight.elapsed_us = 2 * strict.dwell_us;
    sight.step = 2;
    sight.own.failed = 50;
    assert_int_equal(decide(sight), RAMP_ABORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_holds_until_its_time_is_over),
        cmocka_unit_test(a_step_that_nobody_used_proves_nothing),
        cmocka_unit_test(failures_above_the_limit_abort_at_once),
        cmocka_unit_test(one_failure_among_the_first_few_is_no_rate_and_two_are),
        cmocka_unit_test(min_requests_are_the_least_that_a_rate_is_taken_of),
        cmocka_unit_test(what_fails_no_more_than_the_other_color_is_not_to_blame),
        cmocka_unit_test(a_slower_color_is_given_back_where_both_have_enough_requests),
        cmocka_unit_test(a_few_milliseconds_are_noise_whatever_the_factor),
        cmocka_unit_test(conditions_that_are_not_set_do_not_count),
        cmocka_unit_test(bad_figures_win_over_a_step_that_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
