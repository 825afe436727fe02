/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/failover.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/clock.h"
#include "rules/rules.h"

#define UNITS       150 /* more than there are proposals in one step of the core */
#define PATIENCE_US 60000000ULL

struct world {
    char folder[64];
    struct store *store;
    struct gateway gateway;
    struct view *view;
    struct failover *failover;
};

static struct view *make_view(struct registry *registry)
{
    struct buf text = {NULL, 0, 0};
    struct diag_list diags = {.file = "rules"};
    struct error err;
    buf_printf(&text,
               "version: 1\nidentity: {sources: [\"header:X\"]}\nsharding: {hash: modulo, slots: %d}\n"
               "routes: [{match: {path: \"/a\"}, zone: A, action: queue, topic: t}]\n"
               "topics: {t: {partitions: 1}}\nunits:\n",
               UNITS);
    for (int i = 0; i < UNITS; i++)
        buf_printf(&text,
                   "  U%d: {kind: A, datacenter: x, slots: [\"%d\"], brokers: [\"redis://127.0.0.1:%d\"], "
                   "nodes: {blue: [\"http://127.0.0.1:%d\"]}}\n",
                   i, i, i + 1, i + 5000);
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    if (table == NULL)
        fail_msg("%s", diags.items[0].message);
    struct view *view = view_create(registry, table, &err);
    assert_non_null(view);
    diag_free(&diags);
    buf_free(&text);
    return view;
}

/* A planned switch is under way, to a broker that is not in sync any more. */
static void hold(struct world *world, uint32_t index)
{
    struct unit *unit = world->view->units[index].unit;
    struct broker_member own = {.run_id = "run"};
    struct broker_record record = {.hold = true, .target = "redis://127.0.0.1:9999"};
    snprintf(own.url, sizeof(own.url), "redis://127.0.0.1:%u", index + 1);
    broker_record_lead(&record, &own);
    char name[96];
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    broker_record_format(&record, &text);
    broker_record_name(name, sizeof(name), str_of(unit->name));
    if (store_document_put(world->store, name, 0, buf_str(&text), &record.version, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(unit_set_record(unit, &record));
    buf_free(&text);
}

static char any_port[] = "127.0.0.1:0";

static int set_up(void **state)
{
    struct world *world = mem_calloc(1, sizeof(*world));
    struct error err = {ERROR_NONE, ""};
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-failover-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world->store = store_open(world->folder, &err);
    assert_non_null(world->store);
    snprintf(world->gateway.name, sizeof(world->gateway.name), "gw1");
    world->gateway.config.store.location = world->folder;
    world->gateway.config.pulse.listen = any_port;
    world->gateway.registry = registry_create();
    world->view = make_view(world->gateway.registry);
    for (uint32_t i = 0; i < UNITS; i++)
        hold(world, i);
    world->failover = failover_create(&world->gateway, NULL, &err);
    if (world->failover == NULL)
        fail_msg("%s", err.text);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];
    failover_stop(world->failover);
    failover_destroy(&world->failover);
    view_unref(&world->view);
    registry_destroy(&world->gateway.registry);
    store_close(&world->store);
    snprintf(command, sizeof(command), "rm -r '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static int count_held(const struct world *world)
{
    int held = 0;
    for (int i = 0; i < UNITS; i++) {
        struct broker_record record;
        unit_record(world->view->units[i].unit, &record);
        held += record.hold;
    }
    return held;
}

/* Where an operator drains a datacentre and nobody gets level, all switches end in the same moment. */
static void no_switch_that_is_given_up_with_many_others_is_forgotten(void **state)
{
    struct world *world = *state;
    struct error err = {ERROR_NONE, ""};
    uint64_t until_us = clock_monotonic_us() + PATIENCE_US;
    failover_follow(world->failover, world->view, world->store, true);
    if (failover_start(world->failover, world->store, &err) != 0)
        fail_msg("%s", err.text);
    while (count_held(world) > 0 && clock_monotonic_us() < until_us)
        poll(NULL, 0, 5);
    assert_int_equal(count_held(world), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_switch_that_is_given_up_with_many_others_is_forgotten, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
