/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "unit-agent/keeper.h"

#define DOCUMENT "brokers/RZ01"

/* A keeper without brokers, and the store that it reads. */
struct world {
    char folder[64];
    struct store *store;
    struct document_cache *documents;
    sd_event *loop;
    struct agent_config options;
    struct agent_stats stats;
    struct keeper *keeper;
};

static void on_changed(void *arg)
{
    (void)arg;
}

static int set_up(void **state)
{
    static const char *const given[] = {"unit=RZ01", NULL};
    struct world *world = mem_calloc(1, sizeof(*world));
    struct diag_list diags = {.file = "test"};
    struct error err;
    assert_int_equal(agent_config_load(NULL, given, &world->options, &diags), 0);
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-keeper-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world->store = store_open(world->folder, &err);
    assert_non_null(world->store);
    world->documents = document_cache_beside(NULL);
    assert_true(sd_event_new(&world->loop) >= 0);
    world->keeper = keeper_create(world->loop, &(struct keeper_config){.options = &world->options,
                                                                       .name = "agent-1",
                                                                       .stats = &world->stats,
                                                                       .documents = world->documents,
                                                                       .changed = on_changed});
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];
    keeper_destroy(&world->keeper);
    sd_event_unref(world->loop);
    document_cache_destroy(&world->documents);
    store_close(&world->store);
    options_free(agent_options, agent_option_count, &world->options);
    snprintf(command, sizeof(command), "rm -r '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static struct broker_record record_of(const char *primary, uint64_t version)
{
    struct broker_record record = {.version = version, .member_count = 1};
    snprintf(record.primary, sizeof(record.primary), "%s", primary);
    snprintf(record.members[0].url, sizeof(record.members[0].url), "%s", primary);
    broker_record_sign(&record, "test", "the test wants it", 1);
    return record;
}

static void put(struct world *world, const char *primary, uint64_t version)
{
    struct broker_record record = record_of(primary, version);
    struct buf text = {0};
    struct error err = {ERROR_NONE, ""};
    broker_record_format(&record, &text);
    if (store_document_put(world->store, DOCUMENT, version - 1, buf_str(&text), &version, &err) != 0)
        fail_msg("%s", err.text);
    buf_free(&text);
}

static void expect(const struct world *world, const char *primary, uint64_t version)
{
    const struct broker_record *record = keeper_record(world->keeper);
    assert_string_equal(record->primary, primary);
    assert_int_equal(record->version, version);
}

static void a_store_that_is_behind_what_was_heard_takes_nothing_back(void **state)
{
    struct world *world = *state;
    struct broker_record heard = record_of("redis://two", 2);
    put(world, "redis://one", 1);
    keeper_sync(world->keeper, world->store);
    expect(world, "redis://one", 1);
    keeper_heard(world->keeper, &heard);
    expect(world, "redis://two", 2);
    keeper_sync(world->keeper, world->store);
    expect(world, "redis://two", 2);
    put(world, "redis://two", 2);
    put(world, "redis://three", 3);
    keeper_sync(world->keeper, world->store);
    expect(world, "redis://three", 3);
}

static void what_was_heard_before_the_first_look_stays(void **state)
{
    struct world *world = *state;
    struct broker_record heard = record_of("redis://two", 2);
    put(world, "redis://one", 1);
    keeper_heard(world->keeper, &heard);
    keeper_sync(world->keeper, world->store);
    expect(world, "redis://two", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_that_is_behind_what_was_heard_takes_nothing_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_heard_before_the_first_look_stays, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
