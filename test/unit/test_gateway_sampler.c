/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/clock.h"

#define MINUTE 60000000ull

static void observe(struct sampler *sampler, unsigned user, uint64_t now_us)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%u", user);
    sampler_observe(sampler, (struct str){text, (size_t)len}, now_us);
}

static struct traffic seen(const struct sampler *sampler, uint64_t now_us)
{
    struct traffic traffic = {0};
    sampler_collect(sampler, now_us, &traffic);
    traffic_finish(&traffic, 1024);
    return traffic;
}

static const struct traffic_user *find(const struct traffic_user *users, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (users[i].len == strlen(text) && memcmp(users[i].text, text, users[i].len) == 0)
            return &users[i];
    return NULL;
}

static uint64_t total(const struct traffic_user *users, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += users[i].requests;
    return sum;
}

static void few_users_are_known_exactly(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    for (unsigned i = 0; i < 600; i++)
        observe(sampler, i % 3 == 0 ? 7 : i % 100, MINUTE);
    struct traffic traffic = seen(sampler, MINUTE);
    assert_int_equal(traffic.requests, 600);
    assert_int_equal(traffic.user_count, 100);
    assert_int_equal(traffic_distinct(&traffic), traffic.user_count);
    assert_int_equal(total(traffic.users, traffic.user_count), 600);
    assert_int_equal(total(traffic.sample, traffic.sample_count), 600);
    const struct traffic_user *seven = find(traffic.users, traffic.user_count, "7");
    assert_non_null(seven);
    assert_int_equal(seven->requests, 204);
    assert_int_equal(find(traffic.sample, traffic.sample_count, "7")->requests, 204);
    traffic_free(&traffic);
    sampler_destroy(&sampler);
}

static void many_users_are_sampled_evenly_and_counted_about(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    for (unsigned round = 0; round < 3; round++)
        for (unsigned user = 0; user < 100000; user++)
            observe(sampler, user, MINUTE);
    struct traffic traffic = seen(sampler, MINUTE);
    assert_in_range(traffic.user_count, SAMPLER_USERS / 2 - 60, 1024);
    assert_in_range(traffic_distinct(&traffic), 87000, 113000);
    unsigned low = 0;
    for (size_t i = 0; i < traffic.user_count; i++) {
        assert_int_equal(traffic.users[i].requests, 3);
        assert_true(i == 0 || traffic.users[i - 1].hash < traffic.users[i].hash);
        low += strtoul(traffic.users[i].text, NULL, 10) < 50000;
    }
    assert_true(fabs((double)low / (double)traffic.user_count - 0.5) < 0.08);
    assert_int_equal(traffic.requests, 300000);
    assert_int_equal(total(traffic.sample, traffic.sample_count), 300000);
    traffic_free(&traffic);
    sampler_destroy(&sampler);
}

static void a_heavy_user_weighs_what_it_asks(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    for (unsigned i = 0; i < 400000; i++)
        observe(sampler, i % 4 == 0 ? 0 : 1 + i % 9000, MINUTE);
    struct traffic traffic = seen(sampler, MINUTE);
    double share = (double)find(traffic.sample, traffic.sample_count, "0")->requests / (double)traffic.requests;
    assert_true(share > 0.20 && share < 0.30);
    traffic_free(&traffic);
    sampler_destroy(&sampler);
}

static void what_is_older_than_the_window_is_forgotten(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    uint64_t pane = SAMPLER_PANE_US;
    observe(sampler, 1, 10 * pane);
    observe(sampler, 2, 12 * pane);
    struct traffic traffic = seen(sampler, 13 * pane + pane / 2);
    assert_int_equal(traffic.user_count, 2);
    traffic_free(&traffic);
    traffic = seen(sampler, 14 * pane);
    assert_int_equal(traffic.user_count, 1);
    assert_non_null(find(traffic.users, 1, "2"));
    assert_int_equal(traffic.requests, 1);
    traffic_free(&traffic);
    observe(sampler, 3, 14 * pane); /* the pane that held user 1 */
    traffic = seen(sampler, 14 * pane);
    assert_int_equal(traffic.user_count, 2);
    assert_null(find(traffic.users, 2, "1"));
    traffic_free(&traffic);
    traffic = seen(sampler, 40 * pane);
    assert_int_equal(traffic.user_count, 0);
    assert_int_equal(traffic_distinct(&traffic), 0);
    traffic_free(&traffic);
    sampler_destroy(&sampler);
}

static void samplers_of_several_workers_join(void **state)
{
    (void)state;
    struct sampler *samplers[2] = {sampler_create(), sampler_create()};
    for (unsigned i = 0; i < 40000; i++)
        observe(samplers[i % 2], i / 2 % 10000, MINUTE);
    for (unsigned i = 0; i < 100; i++)
        observe(samplers[0], 20000 + i, 3 * MINUTE);
    struct traffic traffic = {0};
    for (int i = 0; i < 2; i++) {
        struct traffic part = {0};
        sampler_collect(samplers[i], 3 * MINUTE, &part);
        traffic_merge(&traffic, &part);
        traffic_free(&part);
    }
    traffic_finish(&traffic, 1024);
    assert_int_equal(traffic.requests, 40100);
    assert_in_range(traffic_distinct(&traffic), 8700, 11500);
    for (size_t i = 0; i < traffic.user_count; i++) {
        assert_true(traffic.users[i].hash <= traffic.bound);
        if (strtoul(traffic.users[i].text, NULL, 10) < 10000)
            assert_int_equal(traffic.users[i].requests, 4);
        else
            assert_int_equal(traffic.users[i].requests, 1);
    }
    traffic_free(&traffic);
    for (int i = 0; i < 2; i++)
        sampler_destroy(&samplers[i]);
}

static void long_users_are_cut_but_told_apart(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    char text[200];
    memset(text, 'x', sizeof(text));
    sampler_observe(sampler, (struct str){text, 199}, MINUTE);
    sampler_observe(sampler, (struct str){text, 200}, MINUTE);
    sampler_observe(sampler, (struct str){text, 0}, MINUTE);
    struct traffic traffic = seen(sampler, MINUTE);
    assert_int_equal(traffic.user_count, 3);
    size_t bytes = 0;
    for (size_t i = 0; i < 3; i++)
        bytes += traffic.users[i].len;
    assert_int_equal(bytes, 2 * SAMPLER_USER_MAX);
    traffic_free(&traffic);
    sampler_destroy(&sampler);
}

/* A bound with room for slow machines and sanitizers; the figure itself is printed. */
static void observing_costs_little(void **state)
{
    (void)state;
    struct sampler *sampler = sampler_create();
    static char users[1 << 16][12];
    for (unsigned i = 0; i < 1 << 16; i++)
        snprintf(users[i], sizeof(users[i]), "%010u", i);
    const unsigned rounds = 1 << 21;
    uint64_t begin = clock_monotonic_us();
    for (unsigned i = 0; i < rounds; i++)
        sampler_observe(sampler, (struct str){users[(i * 40503u) & 0xffff], 10}, MINUTE);
    double each_ns = (double)(clock_monotonic_us() - begin) * 1000 / rounds;
    print_message("one observation: %.1f ns\n", each_ns);
    assert_true(each_ns < 2000);
    sampler_destroy(&sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_users_are_known_exactly),
        cmocka_unit_test(many_users_are_sampled_evenly_and_counted_about),
        cmocka_unit_test(a_heavy_user_weighs_what_it_asks),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(samplers_of_several_workers_join),
        cmocka_unit_test(long_users_are_cut_but_told_apart),
        cmocka_unit_test(observing_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
