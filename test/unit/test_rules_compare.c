/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"
#include "test/unit/rules_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define NODES "brokers: [\"redis://r:1\"], nodes: {blue: [\"http://n:1\"]}"
#define HEAD                                                                                                           \
    "version: 1\n"                                                                                                     \
    "identity: {sources: [\"header:X-User-Id\"]}\n"
#define ROUTES                                                                                                         \
    "routes:\n"                                                                                                        \
    "  - {match: {path: \"/a\"}, zone: A}\n"                                                                           \
    "  - {match: {path: \"/q\", methods: [POST, PUT]}, zone: A, action: queue, topic: t}\n"

static const char base[] = HEAD "sharding: {hash: modulo, slots: 10}\n"
                                "units:\n"
                                "  R1: {kind: A, datacenter: x, slots: [\"0-4\"], " NODES "}\n"
                                "  R2: {kind: A, datacenter: x, slots: [\"5-9\"], " NODES "}\n" ROUTES;

/* Compares two texts; USERS weigh 1, 2, 3 ... requests. */
static void compare(const char *before, const char *after, const char *const *users, size_t user_count,
                    struct rules_diff *diff)
{
    struct table *old = load(before), *new = load(after);
    struct rules_sample samples[16];
    assert_true(user_count <= 16);
    for (size_t i = 0; i < user_count; i++)
        samples[i] = (struct rules_sample){str_of(users[i]), i + 1};
    rules_compare(old, new, samples, user_count, samples, user_count, diff);
    table_unref(&old);
    table_unref(&new);
}

static void assert_near(double actual, double expected)
{
    if (actual < expected - 1e-9 || actual > expected + 1e-9)
        fail_msg("%f, not %f", actual, expected);
}

static void the_same_rules_differ_in_nothing(void **state)
{
    (void)state;
    struct rules_diff diff;
    compare(base, base, (const char *const[]){"1", "x"}, 2, &diff);
    assert_false(diff.resharded);
    assert_int_equal(diff.move_count, 0);
    assert_int_equal(diff.gain_count, 0);
    assert_int_equal(diff.text.len, 0);
    assert_near(diff.slot_share, 0);
    assert_near(diff.user_share, 0);
    assert_near(diff.request_share, 0);
    rules_diff_free(&diff);
}

/* The new file names the units in another order: what counts is their names. */
static void slots_that_move_come_in_runs_with_shares(void **state)
{
    (void)state;
    static const char after[] = HEAD "sharding: {hash: modulo, slots: 10}\n"
                                     "units:\n"
                                     "  R3: {kind: A, datacenter: x, slots: [\"3-4\", \"9\"], " NODES "}\n"
                                     "  R2: {kind: A, datacenter: x, slots: [\"2\", \"5-8\"], " NODES "}\n"
                                     "  R1: {kind: A, datacenter: x, slots: [\"0-1\"], " NODES "}\n" ROUTES;
    struct rules_diff diff;
    /* weights 1 to 4: users 2 and 13 move, with 1 and 4 of 10 requests */
    compare(base, after, (const char *const[]){"2", "0", "7", "13"}, 4, &diff);
    assert_int_equal(diff.move_count, 3);
    assert_int_equal(diff.moves[0].slot_first, 2);
    assert_int_equal(diff.moves[0].slot_last, 2);
    assert_int_equal(diff.moves[1].slot_first, 3);
    assert_int_equal(diff.moves[1].slot_last, 4);
    assert_int_equal(diff.moves[1].from, 0);
    assert_int_equal(diff.moves[1].to, 0);
    assert_int_equal(diff.moves[2].slot_first, 9);
    assert_int_equal(diff.moves[2].from, 1);
    assert_near(diff.slot_share, 0.4);
    assert_near(diff.user_share, 0.5);
    assert_near(diff.request_share, 0.5);
    assert_int_equal(diff.gain_count, 2);
    assert_int_equal(diff.gains[0].unit, 0);
    assert_near(diff.gains[0].slot_gain, 0.3);
    assert_near(diff.gains[0].user_gain, 0.25);
    assert_near(diff.gains[0].request_gain, 0.4);
    assert_int_equal(diff.gains[1].unit, 1);
    assert_near(diff.gains[1].slot_gain, 0.1);
    assert_near(diff.gains[1].request_gain, 0.1);
    assert_string_equal(diff.text.base, "unit R3: added\n");
    rules_diff_free(&diff);
}

static void without_a_sample_shares_are_unknown(void **state)
{
    (void)state;
    static const char after[] = HEAD "sharding: {hash: modulo, slots: 10}\n"
                                     "units:\n"
                                     "  R2: {kind: A, datacenter: x, slots: [\"0-9\"], " NODES "}\n" ROUTES;
    struct rules_diff diff;
    compare(base, after, NULL, 0, &diff);
    assert_near(diff.slot_share, 0.5);
    assert_near(diff.user_share, -1);
    assert_near(diff.request_share, -1);
    assert_int_equal(diff.gain_count, 1);
    assert_near(diff.gains[0].slot_gain, 0.5);
    assert_near(diff.gains[0].user_gain, -1);
    assert_string_equal(diff.text.base, "unit R1: gone\n");
    rules_diff_free(&diff);
}

static void overrides_move_users_but_no_slots(void **state)
{
    (void)state;
    struct rules_diff diff;
    struct buf after = {NULL, 0, 0}, again = {NULL, 0, 0};
    buf_printf(&after, "%soverrides: [{users: [\"1\", \"7\"], unit: R2}, {prefix: \"9\", unit: R1}]\n", base);
    compare(base, after.base, (const char *const[]){"1", "7", "91", "2"}, 4, &diff);
    assert_int_equal(diff.move_count, 0);
    assert_near(diff.slot_share, 0);
    assert_near(diff.user_share, 0.25); /* 7 is in R2 either way, 91 hashes to R1 */
    assert_near(diff.request_share, 0.1);
    assert_string_equal(diff.text.base, "overrides of users: 2 added, 0 gone, 0 lead elsewhere\n"
                                        "overrides of prefixes: 1 added, 0 gone, 0 lead elsewhere\n");
    rules_diff_free(&diff);
    buf_printf(&again, "%soverrides: [{users: [\"1\"], unit: R1}, {prefix: \"9\", unit: R1}]\n", base);
    compare(after.base, again.base, NULL, 0, &diff);
    assert_string_equal(diff.text.base, "overrides of users: 0 added, 1 gone, 1 lead elsewhere\n");
    rules_diff_free(&diff);
    buf_free(&after);
    buf_free(&again);
}

static void another_hash_is_compared_by_probing(void **state)
{
    (void)state;
    static const char after[] = HEAD "sharding: {hash: xxh3, slots: 100}\n"
                                     "units:\n"
                                     "  R1: {kind: A, datacenter: x, slots: [\"0-49\"], " NODES "}\n"
                                     "  R2: {kind: A, datacenter: x, slots: [\"50-99\"], " NODES "}\n" ROUTES;
    struct rules_diff diff;
    compare(base, after, (const char *const[]){"1"}, 1, &diff);
    assert_true(diff.resharded);
    assert_int_equal(diff.move_count, 0);
    assert_true(diff.slot_share > 0.45 && diff.slot_share < 0.55);
    assert_int_equal(diff.gain_count, 2);
    assert_near(diff.gains[0].slot_gain + diff.gains[1].slot_gain, diff.slot_share);
    assert_string_equal(diff.text.base, "rules: hash modulo, 10 slots -> xxh3, 100 slots\n");
    rules_diff_free(&diff);
}

static void users_that_fit_only_one_hash_move(void **state)
{
    (void)state;
    static const char after[] = HEAD "sharding: {hash: modulo, slots: 10, non_numeric: xxh3}\n"
                                     "units:\n"
                                     "  R1: {kind: A, datacenter: x, slots: [\"0-4\"], " NODES "}\n"
                                     "  R2: {kind: A, datacenter: x, slots: [\"5-9\"], " NODES "}\n" ROUTES;
    struct rules_diff diff;
    compare(base, after, (const char *const[]){"anna", "5"}, 2, &diff);
    assert_near(diff.user_share, 0.5);
    assert_near(diff.slot_share, 0);
    rules_diff_free(&diff);
    compare(after, base, (const char *const[]){"anna", "5"}, 2, &diff);
    assert_near(diff.user_share, 0.5);
    assert_int_equal(diff.gain_count, 0);
    rules_diff_free(&diff);
}

static void all_other_differences_have_a_line(void **state)
{
    (void)state;
    static const char before[] =
        HEAD "sharding: {hash: modulo, slots: 4}\n"
             "units:\n"
             "  R1: {kind: A, datacenter: x, slots: [\"0-3\"], brokers: [\"redis://r:1\"], nodes: {blue: "
             "[\"http://n:1\"]}}\n"
             "  B1: {kind: B, datacenter: x, slots: [\"0-3\"], nodes: {blue: [\"http://n:2\"]}}\n"
             "  B2: {kind: B, datacenter: x, slots: [], nodes: {blue: [\"http://n:3\"]}}\n"
             "topics: {t: {partitions: 8}}\n"
             "routes:\n"
             "  - {match: {path: \"/a\"}, zone: A}\n"
             "  - {match: {path: \"/b\"}, zone: B}\n"
             "  - {match: {path: \"/gone\"}, zone: A}\n"
             "  - {match: {path: \"/q\", methods: [POST, PUT]}, zone: A, action: queue, topic: t}\n";
    static const char after[] =
        "version: 1\n"
        "identity: {sources: [\"header:X-User-Id\", \"jwt:sub\"], on_missing: local,\n"
        "           jwt: {algorithm: ES256, key_file: /k, issuer: i}}\n"
        "sharding: {hash: modulo, slots: 4}\n"
        "units:\n"
        "  R1: {kind: A, datacenter: y, slots: [\"0-3\"], standby: R2, brokers: [\"redis://r:1\", \"redis://r:2\"],\n"
        "       nodes: {blue: [\"http://n:1\"], green: [\"http://n:9\"]}, weights: {blue: 90, green: 10}, "
        "max_in_flight: 5,\n"
        "       capacity_rps: 70, agents: [\"http://a:1\"]}\n"
        "  R2: {kind: A, datacenter: x, brokers: [\"redis://r:3\"], nodes: {blue: [\"http://n:4\"]}}\n"
        "  B1: {kind: B, datacenter: x, slots: [\"0-2\"], nodes: {blue: [\"http://n:2\"]}}\n"
        "  B2: {kind: B, datacenter: x, slots: [\"3\"], nodes: {blue: [\"http://n:3\"]}}\n"
        "topics: {t: {partitions: 16, retention: 1m, idempotency_window: 1h, max_backlog: 9,\n"
        "  subscriptions: {default: {filter: [\"a: 1\", \"b: 2\"]}, audit: {mode: broadcast, nodes: "
        "[\"http://n:7\"]}},\n"
        "  retry: {attempts: 2, ladder: [1s], dead_statuses: []}}}\n"
        "routes:\n"
        "  - {match: {path: \"/q\", methods: [PUT, POST]}, zone: A, action: queue, topic: t, timeout: 2s,\n"
        "     participants: [\"json:/a\"], max_body: 1KiB, durability: local}\n"
        "  - {match: {path: \"/b\"}, zone: A, retries: 0}\n"
        "  - {match: {path: \"/new\"}, zone: A}\n"
        "  - {match: {path: \"/a\"}, zone: A}\n";
    struct rules_diff diff;
    compare(before, after, NULL, 0, &diff);
    assert_string_equal(diff.text.base, "rules: sources header:X-User-Id -> header:X-User-Id jwt:sub\n"
                                        "rules: on_missing reject -> local\n"
                                        "rules: jwt none -> ES256 key_file /k issuer \"i\" audience \"\" leeway 60s\n"
                                        "unit R1: datacenter x -> y\n"
                                        "unit R1: standby none -> R2\n"
                                        "unit R1: brokers redis://r:1 -> redis://r:1 redis://r:2\n"
                                        "unit R1: agents none -> http://a:1\n"
                                        "unit R1: green nodes none -> http://n:9\n"
                                        "unit R1: weights blue 100, green 0 -> blue 90, green 10\n"
                                        "unit R1: max_in_flight none -> 5\n"
                                        "unit R1: capacity_rps none -> 70\n"
                                        "unit R2: added\n"
                                        "topic t: partitions 8 -> 16\n"
                                        "topic t: retention 300000ms -> 60000ms\n"
                                        "topic t: idempotency_window 300000ms -> 3600000ms\n"
                                        "topic t: max_backlog none -> 9\n"
                                        "topic t: subscriptions default shared -> default shared where a: 1, b: 2; "
                                        "audit broadcast to http://n:7\n"
                                        "topic t: attempts 16 -> 2\n"
                                        "topic t: ladder 10000ms 30000ms 60000ms 120000ms 300000ms 600000ms 1200000ms "
                                        "1800000ms 3600000ms 7200000ms -> 1000ms\n"
                                        "topic t: dead_statuses 400 410 415 422 -> none\n"
                                        "route /b: zone B -> A\n"
                                        "route /b: retries 1 -> 0\n"
                                        "route /gone: gone\n"
                                        "route POST PUT /q: durability auto -> local\n"
                                        "route POST PUT /q: participants none -> json:/a\n"
                                        "route POST PUT /q: timeout none -> 2000ms\n"
                                        "route POST PUT /q: max_body none -> 1024\n"
                                        "route /new: added\n"
                                        "routes: their order changed\n"
                                        "zone B: 1 of 4 slots move\n");
    rules_diff_free(&diff);
}

static void a_collection_that_changed_is_shown(void **state)
{
    (void)state;
#define COLLECTIONS                                                                                                    \
    "version: 1\nsharding: {hash: modulo, slots: 4}\n"                                                                 \
    "units:\n  R1: {kind: A, slots: [\"0-3\"]}\n  CORE: {kind: core, brokers: [\"redis://r:1\"]}\n"
    struct rules_diff diff;
    compare(COLLECTIONS "collections: {a: {}, gone: {}}\n",
            COLLECTIONS "collections: {a: {replication: snapshot, interval: 1s, staleness: 3s, when_stale: serve, "
                        "digest: 1s, keep: 2h, feed: 1000, push: \"http://h:1/p\"}, new: {}}\n",
            NULL, 0, &diff);
    assert_string_equal(diff.text.base, "collection a: replication bus -> snapshot\n"
                                        "collection a: interval 600000ms -> 1000ms\n"
                                        "collection a: staleness 2000ms -> 3000ms\n"
                                        "collection a: when_stale core -> serve\n"
                                        "collection a: digest 10000ms -> 1000ms\n"
                                        "collection a: keep 3600000ms -> 7200000ms\n"
                                        "collection a: feed 100000 -> 1000\n"
                                        "collection a: push none -> http://h:1/p\n"
                                        "collection gone: gone\n"
                                        "collection new: added\n");
    rules_diff_free(&diff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_rules_differ_in_nothing),
        cmocka_unit_test(slots_that_move_come_in_runs_with_shares),
        cmocka_unit_test(without_a_sample_shares_are_unknown),
        cmocka_unit_test(overrides_move_users_but_no_slots),
        cmocka_unit_test(another_hash_is_compared_by_probing),
        cmocka_unit_test(users_that_fit_only_one_hash_move),
        cmocka_unit_test(all_other_differences_have_a_line),
        cmocka_unit_test(a_collection_that_changed_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
