/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pulse_peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define SELF "127.0.0.1:5001"

struct world {
    char folder[64], cache[96];
    struct store *store, *other; /* a store registers one process */
};

static void enroll(struct store *store, const char *name, const char *pulse, uint64_t incarnation)
{
    struct store_member member = {.role = "gateway", .alive = true, .pid = (long)getpid(), .incarnation = incarnation};
    struct error err = {ERROR_NONE, ""};
    snprintf(member.name, sizeof(member.name), "%s", name);
    snprintf(member.pulse, sizeof(member.pulse), "%s", pulse);
    if (store_register(store, &member, &err) != 0)
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct world *world = mem_calloc(1, sizeof(*world));
    struct error err;
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-peers-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->cache, sizeof(world->cache), "%s/rules.cache", world->folder);
    world->store = store_open(world->folder, &err);
    world->other = store_open(world->folder, &err);
    enroll(world->store, "gw1", SELF, 7);
    enroll(world->other, "gw2", "127.0.0.1:5002", 7);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];
    store_close(&world->store);
    store_close(&world->other);
    snprintf(command, sizeof(command), "rm -r '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static void the_others_are_told_and_not_oneself(void **state)
{
    struct world *world = *state;
    struct pulse_peers peers;
    pulse_peers_init(&peers, NULL);
    assert_true(pulse_peers_follow(&peers, world->store, SELF));
    assert_int_equal(peers.count, 1);
    assert_string_equal(peers.items[0].member.name, "gw2");
    assert_false(pulse_peers_follow(&peers, world->store, SELF));
    assert_false(pulse_peers_follow(&peers, NULL, SELF));
    assert_int_equal(peers.count, 1);
    pulse_peers_free(&peers);
}

static void who_restarts_while_the_store_is_away_knows_who_there_was(void **state)
{
    struct world *world = *state;
    struct pulse_peers before, after;
    pulse_peers_init(&before, world->cache);
    assert_true(pulse_peers_follow(&before, world->store, SELF));
    pulse_peers_init(&after, world->cache);
    assert_false(pulse_peers_follow(&after, NULL, SELF)); /* the disk is not waited for where somebody fails over */
    pulse_peers_save(&before);
    assert_true(pulse_peers_follow(&after, NULL, SELF));
    assert_int_equal(after.count, 1);
    assert_memory_equal(&after.items[0], &before.items[0], sizeof(struct pulse_peer));
    assert_false(pulse_peers_follow(&after, world->store, SELF));
    pulse_peers_free(&before);
    pulse_peers_free(&after);
}

static void without_a_file_nobody_is_known(void **state)
{
    struct world *world = *state;
    struct pulse_peers peers;
    pulse_peers_init(&peers, world->cache);
    assert_false(pulse_peers_follow(&peers, NULL, SELF));
    assert_int_equal(peers.count, 0);
    pulse_peers_free(&peers);
}

/* The name of a host leads elsewhere by then. */
static void who_was_started_anew_is_looked_up_again(void **state)
{
    struct world *world = *state;
    struct pulse_peers peers;
    pulse_peers_init(&peers, NULL);
    assert_true(pulse_peers_follow(&peers, world->store, SELF));
    struct address there = peers.items[0].address, elsewhere = {.len = 0};
    peers.items[0].address = elsewhere;
    assert_false(pulse_peers_follow(&peers, world->store, SELF));
    assert_memory_equal(&peers.items[0].address, &elsewhere, sizeof(elsewhere));
    enroll(world->other, "gw2", "127.0.0.1:5002", 8);
    assert_true(pulse_peers_follow(&peers, world->store, SELF));
    assert_memory_equal(&peers.items[0].address, &there, sizeof(there));
    pulse_peers_free(&peers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_others_are_told_and_not_oneself, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_restarts_while_the_store_is_away_knows_who_there_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_file_nobody_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_was_started_anew_is_looked_up_again, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
