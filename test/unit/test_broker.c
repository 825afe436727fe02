/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "common/broker_event.h"
#include "common/clock.h"
#include "common/functions.h"
#include "common/lookup.h"
#include "test/unit/redis_fixture.h"
#include "test/unit/run_until.h"

struct fixture {
    sd_event *loop;
    struct broker_loop broker_loop;
    struct redis_fixture redis;
    struct broker *broker;
    int replies, unknown;
    char last[128];
};

static void on_reply(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    if (reply == NULL)
        fixture->unknown++;
    else
        snprintf(fixture->last, sizeof(fixture->last), "%s", reply->str ? reply->str : "");
    fixture->replies++;
}

static bool send_ping(struct fixture *fixture, const char *text)
{
    const char *argv[] = {"ECHO", text};
    return broker_command(fixture->broker, on_reply, fixture, 2, argv, NULL);
}

static void setup(struct fixture *fixture, const char *appendonly)
{
    memset(fixture, 0, sizeof(*fixture));
    assert_true(sd_event_new(&fixture->loop) >= 0);
    fixture->broker_loop = broker_loop_of_event(fixture->loop);
    redis_fixture_start(&fixture->redis, appendonly);
}

static void teardown(struct fixture *fixture)
{
    broker_destroy(&fixture->broker);
    sd_event_unref(fixture->loop);
    redis_fixture_end(&fixture->redis);
}

static void connect_with(struct fixture *fixture, struct broker_config config)
{
    config.url = fixture->redis.url;
    if (config.command_timeout_ms == 0)
        config.command_timeout_ms = 5000;
    fixture->broker = broker_create(&fixture->broker_loop, &config, NULL, NULL);
}

static void it_connects_and_answers_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true, .must_be_primary = true});
    assert_false(send_ping(&fixture, "early"));
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    assert_string_equal(broker_fault(fixture.broker), "");
    char text[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_true(send_ping(&fixture, text));
    }
    assert_int_equal(broker_in_flight(fixture.broker), 1000);
    RUN_UNTIL(&fixture, fixture.replies == 1000);
    assert_string_equal(fixture.last, "999");
    assert_int_equal(fixture.unknown, 0);
    teardown(&fixture);
}

static void a_broker_without_a_file_is_refused_with_advice(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "no");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, strstr(broker_fault(fixture.broker), "appendonly yes") != NULL);
    assert_int_not_equal(broker_state(fixture.broker), BROKER_READY);
    broker_destroy(&fixture.broker);
    connect_with(&fixture, (struct broker_config){.must_be_durable = false});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    teardown(&fixture);
}

static void a_killed_broker_leaves_every_outcome_unknown_and_is_found_again(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    kill(fixture.redis.pid, SIGSTOP);
    for (int i = 0; i < 10; i++)
        assert_true(send_ping(&fixture, "x"));
    redis_fixture_kill(&fixture.redis);
    RUN_UNTIL(&fixture, fixture.replies == 10);
    assert_int_equal(fixture.unknown, 10);
    assert_false(send_ping(&fixture, "down"));
    redis_fixture_start(&fixture.redis, "yes");
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    assert_true(send_ping(&fixture, "again"));
    RUN_UNTIL(&fixture, fixture.replies == 11);
    assert_string_equal(fixture.last, "again");
    teardown(&fixture);
}

static void a_silent_broker_runs_into_the_deadline(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.command_timeout_ms = 200});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    kill(fixture.redis.pid, SIGSTOP);
    assert_true(send_ping(&fixture, "x"));
    RUN_UNTIL(&fixture, fixture.unknown == 1);
    assert_int_not_equal(broker_state(fixture.broker), BROKER_READY);
    RUN_UNTIL(&fixture, strstr(broker_fault(fixture.broker), "answer") != NULL);
    kill(fixture.redis.pid, SIGCONT);
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    assert_int_equal(fixture.replies, 1);
    teardown(&fixture);
}

static bool send_ping_for(struct fixture *fixture, int64_t deadline_ms)
{
    const char *argv[] = {"ECHO", "x"};
    return broker_command_for(fixture->broker, deadline_ms, on_reply, fixture, 2, argv, NULL);
}

static void the_nearest_deadline_of_all_decides(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    kill(fixture.redis.pid, SIGSTOP);
    uint64_t began_us = clock_monotonic_us();
    assert_true(send_ping_for(&fixture, 600000));
    assert_true(send_ping_for(&fixture, 300));
    assert_true(send_ping_for(&fixture, 600000));
    RUN_UNTIL(&fixture, fixture.unknown == 3);
    assert_true(clock_monotonic_us() - began_us >= 300000);
    kill(fixture.redis.pid, SIGCONT);
    teardown(&fixture);
}

static void a_long_deadline_outlives_the_configured_one(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.command_timeout_ms = 400});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    const char *argv[] = {"BLPOP", "nothing", "1"};
    assert_true(broker_command_for(fixture.broker, 10000, on_reply, &fixture, 3, argv, NULL));
    RUN_UNTIL(&fixture, fixture.replies == 1);
    assert_int_equal(fixture.unknown, 0);
    teardown(&fixture);
}

static void a_peer_that_never_speaks_is_left_and_dialled_again(void **state)
{
    (void)state;
    struct fixture fixture = {0};
    unsigned port;
    int listener = redis_fixture_bind(&port);
    assert_int_equal(listen(listener, 8), 0);
    assert_true(sd_event_new(&fixture.loop) >= 0);
    fixture.broker_loop = broker_loop_of_event(fixture.loop);
    snprintf(fixture.redis.url, sizeof(fixture.redis.url), "redis://127.0.0.1:%u", port);
    connect_with(&fixture, (struct broker_config){.command_timeout_ms = 100});
    RUN_UNTIL(&fixture, strcmp(broker_fault(fixture.broker), "it does not answer") == 0);
    assert_int_not_equal(broker_state(fixture.broker), BROKER_READY);
    for (int i = 0; i < 2; i++) {
        struct pollfd waiting = {.fd = listener, .events = POLLIN};
        RUN_UNTIL(&fixture, poll(&waiting, 1, 0) == 1);
        close(accept(listener, NULL, NULL));
    }
    broker_destroy(&fixture.broker);
    sd_event_unref(fixture.loop);
    close(listener);
}

struct chain {
    struct fixture *fixture;
    int left;
};

static void go_on(void *arg, const redisReply *reply)
{
    struct chain *chain = arg;
    const char *argv[] = {"PING"};
    assert_non_null(reply);
    if (--chain->left > 0)
        assert_true(broker_command(chain->fixture->broker, go_on, chain, 1, argv, NULL));
}

static void a_reply_may_send_the_next_command(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    struct chain chain = {&fixture, 500};
    const char *argv[] = {"PING"};
    assert_true(broker_command(fixture.broker, go_on, &chain, 1, argv, NULL));
    RUN_UNTIL(&fixture, chain.left == 0);
    assert_int_equal(broker_in_flight(fixture.broker), 0);
    teardown(&fixture);
}

static void a_wrong_password_is_told_without_it(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.user = "gate", .password = "open-sesame"});
    RUN_UNTIL(&fixture, strstr(broker_fault(fixture.broker), "password") != NULL);
    assert_null(strstr(broker_fault(fixture.broker), "sesame"));
    assert_int_not_equal(broker_state(fixture.broker), BROKER_READY);
    teardown(&fixture);
}

static void destroy_when_ready(void *arg, struct broker *broker, enum broker_state state)
{
    struct fixture *fixture = arg;
    if (state == BROKER_READY) {
        assert_true(fixture->broker == broker);
        broker_destroy(&fixture->broker);
    }
}

static void a_change_of_state_may_destroy_its_broker(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    struct broker_config config = {.url = fixture.redis.url, .command_timeout_ms = 5000};
    fixture.broker = broker_create(&fixture.broker_loop, &config, destroy_when_ready, &fixture);
    RUN_UNTIL(&fixture, fixture.broker == NULL);
    teardown(&fixture);
}

static void destroy_from_reply(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    (void)reply;
    fixture->replies++;
    broker_destroy(&fixture->broker);
}

static void a_reply_may_destroy_its_broker(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    const char *argv[] = {"PING"};
    assert_true(broker_command(fixture.broker, destroy_from_reply, &fixture, 1, argv, NULL));
    assert_true(send_ping(&fixture, "behind"));
    RUN_UNTIL(&fixture, fixture.replies == 2);
    assert_int_equal(fixture.unknown, 1);
    assert_null(fixture.broker);
    teardown(&fixture);
}

static void a_replica_is_refused_where_the_primary_is_wanted(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.must_be_primary = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    const char *argv[] = {"REPLICAOF", "127.0.0.1", "1"};
    assert_true(broker_command(fixture.broker, on_reply, &fixture, 3, argv, NULL));
    RUN_UNTIL(&fixture, fixture.replies == 1);
    const char *set[] = {"SET", "k", "v"};
    assert_true(broker_command(fixture.broker, on_reply, &fixture, 3, set, NULL));
    RUN_UNTIL(&fixture, strstr(broker_fault(fixture.broker), "replica") != NULL);
    assert_int_not_equal(broker_state(fixture.broker), BROKER_READY);
    teardown(&fixture);
}

static void nobody_there_is_a_fault_with_a_reason(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    redis_fixture_kill(&fixture.redis);
    connect_with(&fixture, (struct broker_config){.must_be_durable = true});
    RUN_UNTIL(&fixture, strstr(broker_fault(fixture.broker), "refused") != NULL);
    teardown(&fixture);
}

static void it_brings_our_functions_along(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, "yes");
    for (int round = 0; round < 2; round++) { /* the second finds them there */
        connect_with(&fixture, (struct broker_config){.must_be_primary = true, .functions = true});
        RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
        assert_int_equal(strlen(broker_run_id(fixture.broker)), 40);
        const char *argv[] = {"FCALL_RO", "ldc1_version", "0"};
        assert_true(broker_command(fixture.broker, on_reply, &fixture, 3, argv, NULL));
        RUN_UNTIL(&fixture, fixture.replies == round + 1);
        assert_false(functions_outdated(str_of(fixture.last)));
        broker_destroy(&fixture.broker);
    }
    teardown(&fixture);
}

static void on_looked_up(void *arg, enum lookup_verdict verdict, const json_t *document)
{
    (void)verdict, (void)document;
    (*(int *)arg)++;
}

/* One that answers what no broker of ours answers is READY until all is answered that it was sent. */
static void a_broker_that_must_be_greeted_anew_is_asked_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    int looked_up = 0;
    setup(&fixture, "yes");
    connect_with(&fixture, (struct broker_config){.functions = true});
    RUN_UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    const char *strange[] = {"FCALL", "nosuch", "0"}, *block[] = {"BLPOP", "nothing", "1"};
    assert_true(broker_command(fixture.broker, on_reply, &fixture, 3, strange, NULL));
    assert_true(broker_command(fixture.broker, on_reply, &fixture, 3, block, NULL));
    RUN_UNTIL(&fixture, fixture.replies == 1);
    assert_int_equal(broker_state(fixture.broker), BROKER_READY);
    struct lookup_subscription subscription = {STR_LIT("default"), false};
    assert_null(lookup_start(fixture.broker, STR_LIT("RZ01.payments.0.019b00000000700080000001"), &subscription, 1,
                             on_looked_up, &looked_up));
    assert_int_equal(looked_up, 0);
    teardown(&fixture);
}

static void an_older_library_gives_way_and_a_newer_one_stays(void **state)
{
    (void)state;
    assert_true(functions_outdated(STR_LIT("0 0123456789abcdef")));
    assert_true(functions_outdated(STR_LIT("1 0123456789abcdef")));
    assert_false(functions_outdated(STR_LIT("1000 0123456789abcdef")));
    assert_true(functions_outdated(STR_LIT("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_brings_our_functions_along),
        cmocka_unit_test(an_older_library_gives_way_and_a_newer_one_stays),
        cmocka_unit_test(a_broker_that_must_be_greeted_anew_is_asked_nothing),
        cmocka_unit_test(it_connects_and_answers_in_order),
        cmocka_unit_test(a_broker_without_a_file_is_refused_with_advice),
        cmocka_unit_test(a_killed_broker_leaves_every_outcome_unknown_and_is_found_again),
        cmocka_unit_test(a_silent_broker_runs_into_the_deadline),
        cmocka_unit_test(the_nearest_deadline_of_all_decides),
        cmocka_unit_test(a_long_deadline_outlives_the_configured_one),
        cmocka_unit_test(a_peer_that_never_speaks_is_left_and_dialled_again),
        cmocka_unit_test(a_reply_may_send_the_next_command),
        cmocka_unit_test(a_wrong_password_is_told_without_it),
        cmocka_unit_test(a_change_of_state_may_destroy_its_broker),
        cmocka_unit_test(a_reply_may_destroy_its_broker),
        cmocka_unit_test(a_replica_is_refused_where_the_primary_is_wanted),
        cmocka_unit_test(nobody_there_is_a_fault_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
