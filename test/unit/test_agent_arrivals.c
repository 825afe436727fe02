/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/arrivals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/arrival_record.h"
#include "common/file.h"
#include "rules/rules.h"

#define NODES "nodes: {blue: [\"http://n:1\"]}"
#define RULES(a, b)                                                                                                    \
    "version: 1\n"                                                                                                     \
    "identity: {sources: [\"header:X-User-Id\"]}\n"                                                                    \
    "topics: {payments: {partitions: 1}}\n"                                                                            \
    "routes: [{match: {path: \"/a\"}, zone: A, action: queue, topic: payments}]\n"                                     \
    "sharding: {hash: modulo, slots: 10}\n"                                                                            \
    "units:\n"                                                                                                         \
    "  RZ01: {kind: A, datacenter: x, slots: [" a "], brokers: [\"redis://127.0.0.1:1\"], " NODES "}\n"                \
    "  RZ02: {kind: A, datacenter: x, slots: [" b "], brokers: [\"redis://127.0.0.1:2\"], " NODES "}\n"
#define BEFORE   RULES("\"0-4\"", "\"5-9\"")
#define AFTER    RULES("\"0-3\"", "\"4-9\"")
#define OF_OLD   "7" /* users by their slots: one who was here before, */
#define HAS_COME "4" /* and one who came from RZ01 */

/* An agent of RZ02, to which slot 4 of RZ01 has gone. */
struct world {
    char folder[64];
    struct store *store;
    struct store_record before, after;
    struct table *table;
    struct agent_config options;
    char cache[96];
    struct document_cache *documents;
    sd_event *loop;
    struct arrivals *arrivals;
};

static void ignore(void *arg)
{
    (void)arg;
}

static bool is_keeper(void *arg)
{
    (void)arg;
    return true;
}

static void put_rules(struct world *world, uint64_t epoch, const char *text, struct store_record *now)
{
    struct error err = {ERROR_NONE, ""};
    if (store_put_rules(world->store, epoch, str_of(text), 0, "test", "", now, &err) != 0)
        fail_msg("%s", err.text);
}

static void put_arrival(struct world *world)
{
    struct arrival_record record = {0};
    struct arrival arrival = {.unit = "RZ01", .epoch = world->before.rules_epoch, .version = world->before.version};
    struct buf text = {NULL, 0, 0};
    uint64_t version;
    struct error err = {ERROR_NONE, ""};
    assert_true(arrival_record_add(&record, &arrival));
    arrival_record_format(&record, &text);
    if (store_document_put(world->store, "arrivals/RZ02", 0, buf_str(&text), &version, &err) != 0)
        fail_msg("%s", err.text);
    buf_free(&text);
}

static void create(struct world *world)
{
    world->documents = document_cache_create(world->cache);
    world->arrivals = arrivals_create(world->loop, &(struct arrivals_config){.options = &world->options,
                                                                             .documents = world->documents,
                                                                             .is_keeper = is_keeper,
                                                                             .changed = ignore,
                                                                             .waited = ignore,
                                                                             .behind = ignore});
}

static void destroy(struct world *world)
{
    arrivals_destroy(&world->arrivals);
    document_cache_destroy(&world->documents);
}

static int set_up(void **state)
{
    struct world *world = mem_calloc(1, sizeof(*world));
    struct diag_list diags = {.file = "rules"};
    struct error err;
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-arrivals-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world->store = store_open(world->folder, &err);
    assert_non_null(world->store);
    put_rules(world, 0, BEFORE, &world->before);
    put_arrival(world);
    put_rules(world, world->before.rules_epoch, AFTER, &world->after);
    world->table = rules_load(str_of(AFTER), world->after.rules_epoch, &diags);
    diag_free(&diags);
    assert_non_null(world->table);
    snprintf(world->cache, sizeof(world->cache), "%s.cache", world->folder);
    world->options = (struct agent_config){.unit = "RZ02"};
    assert_true(sd_event_new(&world->loop) >= 0);
    create(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[192];
    destroy(world);
    sd_event_unref(world->loop);
    table_unref(&world->table);
    store_close(&world->store);
    snprintf(command, sizeof(command), "rm -rf '%s' '%s'.*", world->folder, world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

/* Whether a message of USER that the rules in force routed may go on. */
static bool admits(struct world *world, const char *user)
{
    char epoch[24];
    struct partition partition = {.topic = "payments", .subscription = "default"};
    struct message message = {.partition = &partition};
    snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)world->after.rules_epoch);
    message.envelope.fields[ENVELOPE_USER] = str_of(user);
    message.envelope.fields[ENVELOPE_EPOCH] = str_of(epoch);
    return arrivals_admit(world->arrivals, &partition, &message);
}

static size_t expected(struct world *world)
{
    json_t *list = arrivals_report(world->arrivals);
    size_t count = json_array_size(list);
    json_decref(list);
    return count;
}

static void who_came_waits_for_the_unit_that_he_left(void **state)
{
    struct world *world = *state;
    arrivals_sync(world->arrivals, world->store, world->table);
    assert_int_equal(expected(world), 1);
    assert_true(admits(world, OF_OLD));
    assert_false(admits(world, HAS_COME));
}

/* A store may tell of the move, and not of the rules before it: its leader was lost in between. */
static void nobody_goes_on_before_the_store_told_who_came(void **state)
{
    struct world *world = *state;
    char path[128], away[128];
    snprintf(path, sizeof(path), "%s/rules/0000000001.yaml", world->folder);
    snprintf(away, sizeof(away), "%s/away", world->folder);
    assert_int_equal(rename(path, away), 0);
    arrivals_sync(world->arrivals, world->store, world->table);
    arrivals_sync(world->arrivals, world->store, world->table);
    assert_false(admits(world, HAS_COME));
    assert_int_equal(rename(away, path), 0);
    arrivals_sync(world->arrivals, world->store, world->table);
    assert_int_equal(expected(world), 1);
    assert_true(admits(world, OF_OLD));
    assert_false(admits(world, HAS_COME));
}

/* The folder of the store away, and something else in its place. */
static void take_store_away(struct world *world)
{
    char away[96];
    struct error err;
    snprintf(away, sizeof(away), "%s.away", world->folder);
    assert_int_equal(rename(world->folder, away), 0);
    assert_int_equal(file_replace(world->folder, STR_LIT("in the way"), 0600, &err), 0);
}

static void start_anew(struct world *world)
{
    destroy(world);
    create(world);
    arrivals_sync(world->arrivals, world->store, world->table);
}

static void who_starts_while_the_store_is_away_knows_who_came(void **state)
{
    struct world *world = *state;
    arrivals_sync(world->arrivals, world->store, world->table);
    take_store_away(world);
    start_anew(world);
    assert_int_equal(expected(world), 1);
    assert_true(admits(world, OF_OLD));
    assert_false(admits(world, HAS_COME));
}

static void who_knew_of_nobody_waits_for_nobody(void **state)
{
    struct world *world = *state;
    take_store_away(world);
    start_anew(world);
    assert_int_equal(expected(world), 0);
    assert_true(admits(world, HAS_COME));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_came_waits_for_the_unit_that_he_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_goes_on_before_the_store_told_who_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_starts_while_the_store_is_away_knows_who_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_knew_of_nobody_waits_for_nobody, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
