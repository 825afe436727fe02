/* SPDX-License-Identifier: Apache-2.0 */
#include "common/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

struct block {
    stat_value first_total, second;
};

static const struct stat_row rows[] = {
    {"first_total", STAT_COUNTER, "The first.", offsetof(struct block, first_total)},
    {"second", STAT_GAUGE, "The second.", offsetof(struct block, second)},
};

static void counters_are_summed_over_threads(void **state)
{
    (void)state;
    struct block a = {0}, b = {0};
    stat_add(&a.first_total, 3);
    stat_add(&b.first_total, 4);
    stat_set(&b.second, 9);
    const void *blocks[] = {&a, &b};
    struct buf out = {NULL, 0, 0};
    stats_print(rows, 2, blocks, 2, "unit=\"RZ01\"", &out);
    assert_string_equal(out.base, "# HELP ldcgate_first_total The first.\n"
                                  "# TYPE ldcgate_first_total counter\n"
                                  "ldcgate_first_total{unit=\"RZ01\"} 7\n"
                                  "# HELP ldcgate_second The second.\n"
                                  "# TYPE ldcgate_second gauge\n"
                                  "ldcgate_second{unit=\"RZ01\"} 9\n");
    buf_free(&out);
}

static uint64_t quantile(const struct stat_histogram *histogram, double q)
{
    return stat_quantile_us(&histogram, 1, q);
}

static void a_single_value_lies_below_its_bound_by_a_quarter_at_most(void **state)
{
    (void)state;
    for (uint64_t us = 0; us < 200000000; us = us * 5 / 4 + 1) {
        struct stat_histogram histogram = {0};
        stat_observe(&histogram, us);
        uint64_t bound = quantile(&histogram, 0.5);
        assert_true(bound > us);
        assert_true(bound <= us + 1 + us / 4);
    }
}

static void quantiles_follow_the_ranks(void **state)
{
    (void)state;
    struct stat_histogram a = {0}, b = {0};
    assert_int_equal(quantile(&a, 0.99), 0);
    for (uint64_t us = 1; us <= 500; us++)
        stat_observe(&a, us);
    for (uint64_t us = 501; us <= 1000; us++)
        stat_observe(&b, us);
    const struct stat_histogram *both[] = {&a, &b};
    assert_in_range(stat_quantile_us(both, 2, 0.5), 500, 502);
    assert_in_range(stat_quantile_us(both, 2, 0.99), 980, 1100);
    assert_int_equal(stat_quantile_us(both, 2, 0), 2);
    assert_true(stat_quantile_us(both, 2, 1) > 1000);
}

static void a_huge_value_falls_into_the_last_bucket(void **state)
{
    (void)state;
    struct stat_histogram histogram = {0};
    stat_observe(&histogram, UINT64_MAX);
    stat_observe(&histogram, (uint64_t)1 << 40);
    assert_int_equal(stat_get(&histogram.buckets[STAT_BUCKETS - 1]), 2);
}

static void buckets_are_printed_cumulated_and_rise(void **state)
{
    (void)state;
    struct stat_histogram histogram = {0};
    const struct stat_histogram *one = &histogram;
    stat_observe(&histogram, 3);
    stat_observe(&histogram, 1500);
    struct buf out = {NULL, 0, 0};
    stats_print_histogram("wait_seconds", "How long.", &one, 1, "color=\"blue\"", &out);
    assert_non_null(strstr(out.base, "# TYPE ldcgate_wait_seconds histogram\n"));
    assert_non_null(strstr(out.base, "ldcgate_wait_seconds_bucket{color=\"blue\",le=\"3e-06\"} 0\n"));
    assert_non_null(strstr(out.base, "ldcgate_wait_seconds_bucket{color=\"blue\",le=\"4e-06\"} 1\n"));
    assert_non_null(strstr(out.base, "ldcgate_wait_seconds_bucket{color=\"blue\",le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(out.base, "ldcgate_wait_seconds_sum{color=\"blue\"} 0.001503\n"));
    assert_non_null(strstr(out.base, "ldcgate_wait_seconds_count{color=\"blue\"} 2\n"));
    double last = -1;
    size_t lines = 0;
    for (char *at = out.base; (at = strstr(at, "le=\"")) != NULL; lines++) {
        at += 4;
        double bound = strtod(at, NULL); /* reads "+Inf" too */
        assert_true(bound > last);
        last = bound;
    }
    assert_int_equal(lines, STAT_BUCKETS);
    buf_free(&out);
}

static void each_metric_has_a_row_in_the_manual(void **state)
{
    (void)state;
    struct buf out = {NULL, 0, 0};
    stats_document(rows, 2, &out);
    assert_string_equal(out.base, "| `ldcgate_first_total` | counter | The first. |\n"
                                  "| `ldcgate_second` | gauge | The second. |\n");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_are_summed_over_threads),
        cmocka_unit_test(a_single_value_lies_below_its_bound_by_a_quarter_at_most),
        cmocka_unit_test(quantiles_follow_the_ranks),
        cmocka_unit_test(a_huge_value_falls_into_the_last_bucket),
        cmocka_unit_test(buckets_are_printed_cumulated_and_rise),
        cmocka_unit_test(each_metric_has_a_row_in_the_manual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
