/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "unit-agent/delivery.h"
#include "unit-agent/retry.h"

static void the_backoff_doubles_to_its_bound_give_or_take_a_fifth(void **state)
{
    (void)state;
    static const int64_t expected[] = {10, 20, 40, 80, 160, 320, 640, 1000, 1000};
    for (uint32_t fails = 1; fails <= 9; fails++)
        for (uint64_t random = 0; random < 1000; random += 7) {
            int64_t wait_ms = delivery_backoff_ms(10, 1000, fails, random);
            int64_t middle = expected[fails - 1];
            assert_in_range(wait_ms, middle - middle / 5, middle + middle / 5);
        }
    assert_int_equal(delivery_backoff_ms(1, 1000, 1, 12345), 1);
    assert_in_range(delivery_backoff_ms(10, 1000, UINT32_MAX, 5), 800, 1200);
}

static void the_ladder_is_climbed_step_by_step_and_its_last_step_goes_on(void **state)
{
    (void)state;
    static const int64_t ladder_ms[] = {10000, 30000, 60000};
    static const int64_t expected[] = {10000, 30000, 60000, 60000, 60000};
    struct retry retry = {0};
    retry_adopt(&retry, &(struct table_retry){.attempts = 16, .ladder_ms = ladder_ms, .ladder_count = 3});
    for (uint32_t attempts = 1; attempts <= 5; attempts++) {
        int64_t least = INT64_MAX, most = 0;
        for (uint64_t random = 1; random < 1000000000000; random = random * 5 + 3) {
            int64_t wait_ms = retry_wait_ms(&retry, attempts, random);
            assert_in_range(wait_ms, expected[attempts - 1] * 4 / 5, expected[attempts - 1] * 6 / 5);
            least = wait_ms < least ? wait_ms : least;
            most = wait_ms > most ? wait_ms : most;
        }
        assert_true(most > least); /* users that failed together do not come back together */
    }
    assert_in_range(retry_wait_ms(&retry, UINT32_MAX, 7), 48000, 72000);
    retry_free(&retry);
}

static void the_rules_say_what_is_dead_and_without_rules_nothing_dies(void **state)
{
    (void)state;
    static const int64_t ladder_ms[] = {1};
    static const uint16_t statuses[] = {400, 422};
    struct retry retry = {0};
    retry_preset(&retry);
    assert_false(retry_is_dead(&retry, 400));
    assert_int_equal(retry.attempts, UINT32_MAX);
    retry_adopt(&retry, &(struct table_retry){3, ladder_ms, 1, statuses, 2});
    assert_true(retry_is_dead(&retry, 400) && retry_is_dead(&retry, 422));
    assert_false(retry_is_dead(&retry, 0) || retry_is_dead(&retry, 404));
    retry_adopt(&retry, &(struct table_retry){.attempts = 3, .ladder_ms = ladder_ms, .ladder_count = 1});
    assert_false(retry_is_dead(&retry, 400));
    retry_free(&retry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_backoff_doubles_to_its_bound_give_or_take_a_fifth),
        cmocka_unit_test(the_ladder_is_climbed_step_by_step_and_its_last_step_goes_on),
        cmocka_unit_test(the_rules_say_what_is_dead_and_without_rules_nothing_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
