/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/failover.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"

#define PATIENCE_US 30000000ULL
#define NAMES       3000 /* more than a port can tell apart */
#define BATCH       100

/* A gateway's watch, and an agent that is a socket. */
struct world {
    char folder[64];
    struct store *store, *agents; /* a store registers one process */
    struct gateway gateway;
    struct failover *failover;
    struct pulse_key *key;
    struct address to;
    struct pulse pulse; /* as it was sent last */
    int fd;
};

static char any_port[] = "127.0.0.1:0";

/* The agent starts: it registers, and all that was known of it before is gone. */
static void start_agent(struct world *world, uint64_t incarnation)
{
    struct store_member member = {.name = "agent-RZ01",
                                  .role = "agent",
                                  .unit = "RZ01",
                                  .pulse = "127.0.0.1:9",
                                  .incarnation = incarnation,
                                  .pid = (long)getpid()};
    struct error err = {ERROR_NONE, ""};
    world->pulse = (struct pulse){
        .kind = PULSE_AGENT, .by_agent = true, .name = "agent-RZ01", .place = "RZ01", .incarnation = incarnation};
    if (store_register(world->agents, &member, &err) != 0)
        fail_msg("%s", err.text);
    failover_follow(world->failover, NULL, world->store, true);
}

static void send_pulse(struct world *world)
{
    uint8_t bytes[PULSE_MOST];
    world->pulse.seq++;
    size_t len = pulse_encode(world->key, &world->pulse, bytes);
    assert_int_equal(sendto(world->fd, bytes, len, 0, (struct sockaddr *)&world->to.storage, world->to.len), len);
}

/* Whether it is heard, sending as agents do, within PATIENCE_US. */
static bool is_heard(struct world *world)
{
    const struct pulse_stats *stats = failover_pulse_stats(world->failover);
    uint64_t before = stat_get(&stats->pulses_heard_total), until_us = clock_monotonic_us() + PATIENCE_US;
    while (stat_get(&stats->pulses_heard_total) == before && clock_monotonic_us() < until_us) {
        send_pulse(world);
        poll(NULL, 0, PULSE_PERIOD_US / 1000);
    }
    return stat_get(&stats->pulses_heard_total) > before;
}

static int set_up(void **state)
{
    struct world *world = mem_calloc(1, sizeof(*world));
    struct store_member self = {.role = "gateway"};
    struct error err = {ERROR_NONE, ""};
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-pulses-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    world->store = store_open(world->folder, &err);
    world->agents = store_open(world->folder, &err);
    snprintf(world->gateway.name, sizeof(world->gateway.name), "gw1");
    world->gateway.config.store.location = world->folder;
    world->gateway.config.pulse.listen = any_port;
    world->failover = failover_create(&world->gateway, NULL, &err);
    if (world->failover == NULL || failover_start(world->failover, world->store, &err) != 0)
        fail_msg("%s", err.text);
    failover_introduce(world->failover, &self);
    assert_int_equal(address_resolve(self.pulse, &world->to, &err), 0);
    world->key = pulse_key_create(STR_LIT(""));
    world->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(world->fd >= 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];
    failover_stop(world->failover);
    failover_destroy(&world->failover);
    pulse_key_destroy(&world->key);
    close(world->fd);
    store_close(&world->store);
    store_close(&world->agents);
    snprintf(command, sizeof(command), "rm -r '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static void who_was_started_anew_is_heard(void **state)
{
    struct world *world = *state;
    start_agent(world, 100);
    assert_true(is_heard(world));
    start_agent(world, 200);
    assert_true(is_heard(world));
}

/* At once, so that it was not silent for long: its old pulses may be on their way yet. */
static void who_was_started_anew_with_an_earlier_clock_is_heard_after_a_while(void **state)
{
    struct world *world = *state;
    start_agent(world, 200);
    assert_true(is_heard(world));
    start_agent(world, 100);
    assert_true(is_heard(world));
}

/* As after many restarts under names that are made up anew each time. */
static void a_new_name_is_heard_after_any_number_of_others(void **state)
{
    struct world *world = *state;
    start_agent(world, 100);
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(world->pulse.name, sizeof(world->pulse.name), "former-%u", i);
        send_pulse(world);
        if (i % BATCH == BATCH - 1)
            poll(NULL, 0, PULSE_PERIOD_US / 1000); /* a socket holds so many */
    }
    snprintf(world->pulse.name, sizeof(world->pulse.name), "agent-RZ02");
    snprintf(world->pulse.place, sizeof(world->pulse.place), "RZ02");
    uint64_t until_us = clock_monotonic_us() + PATIENCE_US; /* what was sent before may still be counted as heard */
    while (failover_hands(world->failover, STR_LIT("RZ02")).agents == 0 && clock_monotonic_us() < until_us)
        assert_true(is_heard(world));
    assert_int_equal(failover_hands(world->failover, STR_LIT("RZ02")).agents, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_was_started_anew_is_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_was_started_anew_with_an_earlier_clock_is_heard_after_a_while, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_new_name_is_heard_after_any_number_of_others, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
