/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/broker.h"
#include "common/clock.h"
#include "redis_fixture.h"
#include "unit-agent/inbox.h"

#define PATIENCE_US 60000000ULL
#define STREAM_0    "ldc:{RZ01/payments/0}:stream"
#define CURSOR_0    "ldc:{RZ01/payments/0}:cursor:default"

/* The inbox on a real broker; the deliverer is a list of what was handed out. */
static struct redis_fixture redis;
static redisContext *client; /* the test's own */
static sd_event *loop;
static struct inbox *inbox;
static struct agent_config config;
static struct agent_stats stats;
static struct message *out[4096];
static size_t out_count, withdrawn;
static bool listeners; /* the subscription is a broadcast */

static void on_ready(void *arg, struct message *message)
{
    (void)arg;
    out[out_count++] = message;
}

static void on_withdraw(void *arg, struct message *message)
{
    (void)arg;
    size_t i = 0;
    while (out[i] != message)
        i++;
    out[i] = out[--out_count];
    withdrawn++;
}

static void on_changed(void *arg)
{
    (void)arg;
}

static void adopt(const char *url, uint32_t partitions)
{
    struct str broker = str_of(url);
    struct table_subscription subscription = {.name = STR_LIT("default"), .broadcast = listeners};
    struct table_topic topic = {
        .name = STR_LIT("payments"), .partitions = partitions, .subscriptions = &subscription, .subscription_count = 1};
    struct table_unit unit = {.name = STR_LIT("RZ01"), .brokers = &broker, .broker_count = 1};
    inbox_adopt(inbox, &(struct table){.topics = &topic, .topic_count = 1, .units = &unit, .unit_count = 1}, &unit);
}

static void inbox_start(void)
{
    out_count = withdrawn = 0;
    inbox = inbox_create(loop, &(struct inbox_config){.options = &config,
                                                      .stats = &stats,
                                                      .hooks = {on_ready, on_withdraw, NULL},
                                                      .name = STR_LIT("agent-1"),
                                                      .confirmed = on_changed,
                                                      .changed = on_changed});
    adopt(redis.url, 2);
}

/* REDIS: the arguments as redisCommand takes them. */
#define COMMAND(...) freeReplyObject(redisCommand(client, __VA_ARGS__))

static int setup(void **state)
{
    (void)state;
    static const char *const given[] = {"unit=RZ01", "delivery.window=16", "broker.timeout=500ms", NULL};
    struct diag_list diags = {.file = "test"};
    config = (struct agent_config){0};
    assert_int_equal(agent_config_load(NULL, given, &config, &diags), 0);
    redis_fixture_start(&redis, "yes");
    client = redisConnect("127.0.0.1", (int)redis.port);
    assert_true(sd_event_new(&loop) >= 0);
    memset(&stats, 0, sizeof(stats));
    inbox_start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    inbox_destroy(&inbox);
    loop = sd_event_unref(loop);
    redisFree(client);
    redis_fixture_end(&redis);
    options_free(agent_options, agent_option_count, &config);
    return 0;
}

#define RUN_UNTIL(condition)                                                                                           \
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; !(condition);) {                                      \
        if (clock_monotonic_us() >= until_us)                                                                          \
            fail_msg("waited in vain for %s", #condition);                                                             \
        assert_true(sd_event_run(loop, 5000) >= 0);                                                                    \
    }

static void turns(int count)
{
    for (int i = 0; i < count; i++)
        assert_true(sd_event_run(loop, 2000) >= 0);
}

static void produce(const char *stream, const char *user)
{
    COMMAND("XADD %s * id i user %s slot 1 epoch 1 in_us 1 color blue method POST path /pay headers %s body %s", stream,
            user, "a: b", "body");
}

static void acknowledge(size_t i)
{
    struct message *message = out[i];
    out[i] = out[--out_count];
    partition_acknowledge(message->partition, message);
    inbox_record(inbox, message->partition);
}

static const struct partition *first(void)
{
    return inbox_partitions(inbox)->items[0];
}

static bool linked(void)
{
    return first()->linked && inbox_partitions(inbox)->items[1]->linked;
}

/* A field of the cursor of partition 0 into a buffer of its own. */
static const char *recorded(const char *field)
{
    static char text[4096];
    redisReply *reply = redisCommand(client, "HGET %s %s", CURSOR_0, field);
    snprintf(text, sizeof(text), "%s", reply->type == REDIS_REPLY_STRING ? reply->str : "(nil)");
    freeReplyObject(reply);
    return text;
}

static long long length_of_stream(void)
{
    redisReply *reply = redisCommand(client, "XLEN %s", STREAM_0);
    long long length = reply->integer;
    freeReplyObject(reply);
    return length;
}

/* --- cases ------------------------------------------------------------------------------------------------------- */

static void messages_are_handed_out_and_recorded(void **state)
{
    (void)state;
    produce(STREAM_0, "a");
    produce(STREAM_0, "a");
    produce("ldc:{RZ01/payments/1}:stream", "b");
    RUN_UNTIL(out_count == 2);
    turns(10);
    assert_int_equal(out_count, 2); /* the second of `a` waits */
    acknowledge(0);
    RUN_UNTIL(out_count == 2);
    acknowledge(0);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "2");
    assert_string_equal(recorded("done"), "");
    assert_null(inbox_broker_fault(inbox));
}

static void a_new_life_goes_on_behind_what_is_recorded(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        produce(STREAM_0, (const char *const[]){"a", "b", "c", "d", "e"}[i]);
    RUN_UNTIL(out_count == 5);
    acknowledge(3);
    acknowledge(1);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    inbox_destroy(&inbox);
    inbox_start();
    RUN_UNTIL(linked() && out_count == 2);
    turns(10);
    assert_int_equal(out_count, 2);
    acknowledge(1);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "5");
    assert_string_equal(recorded("done"), "");
}

static void no_more_is_read_than_the_window_holds(void **state)
{
    (void)state;
    char user[16];
    for (int i = 0; i < 100; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        produce(STREAM_0, user);
    }
    RUN_UNTIL(first()->undone >= 8);
    turns(60);
    assert_in_range(first()->undone, 8, 17);
    size_t done = 0;
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; done < 100;) {
        assert_true(clock_monotonic_us() < until_us);
        for (; out_count > 0; done++)
            acknowledge(0);
        turns(1);
    }
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "100");
}

static void large_messages_stop_the_reading_at_the_memory_limit(void **state)
{
    (void)state;
    config.delivery.window = 1000;
    config.delivery.window_bytes = 256 * 1024;
    char *body = malloc(32 * 1024 + 1);
    memset(body, 'b', 32 * 1024);
    body[32 * 1024] = '\0';
    RUN_UNTIL(linked());
    for (int i = 0; i < 40; i++)
        COMMAND("XADD %s * id i user %d slot 1 epoch 1 in_us 1 color blue method POST path /pay headers %s body %s",
                STREAM_0, i, "a: b", body);
    RUN_UNTIL(first()->bytes > 0);
    turns(60);
    assert_in_range(first()->bytes, 1, 2 * 1024 * 1024); /* the size was a guess at first */
    assert_true(first()->undone < 40);
    size_t done = 0, most = 0;
    bool learnt = false;
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; done < 40;) {
        assert_true(clock_monotonic_us() < until_us);
        for (; out_count > 0; done++)
            acknowledge(0);
        turns(1);
        learnt |= first()->bytes < 256 * 1024;
        most = learnt && first()->bytes > most ? first()->bytes : most;
    }
    assert_in_range(most, 0, 512 * 1024);
    free(body);
}

static void what_is_no_message_is_passed_over(void **state)
{
    (void)state;
    COMMAND("XADD %s * foo bar", STREAM_0);
    COMMAND("XADD %s * id i user %s slot 1 epoch 1 in_us 1 color blue method POST path /pay headers %s body b",
            STREAM_0, "x\r\ny", "a: b");
    produce(STREAM_0, "a");
    RUN_UNTIL(out_count == 1);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "3");
    assert_int_equal(stat_get(&stats.agent_messages_malformed_total), 2);
}

static void a_broker_without_memory_still_records(void **state)
{
    (void)state;
    produce(STREAM_0, "a");
    RUN_UNTIL(out_count == 1);
    COMMAND("CONFIG SET maxmemory 1");
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "1");
}

static void what_the_broker_did_not_confirm_is_written_again_when_it_is_back(void **state)
{
    (void)state;
    produce(STREAM_0, "a");
    produce(STREAM_0, "a");
    RUN_UNTIL(out_count == 1);
    redis_fixture_kill(&redis);
    acknowledge(0);
    RUN_UNTIL(inbox_broker_fault(inbox) != NULL);
    turns(10);
    assert_int_equal(out_count, 0); /* nothing is confirmed, so the user waits */
    redis_fixture_start(&redis, "yes");
    RUN_UNTIL(out_count == 1);
    redisReconnect(client);
    assert_string_equal(recorded("passed"), "1");
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("passed"), "2");
    assert_int_equal(withdrawn, 0);
}

static void a_broker_that_lost_its_stream_is_believed(void **state)
{
    (void)state;
    produce(STREAM_0, "a");
    produce(STREAM_0, "b");
    RUN_UNTIL(out_count == 2);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    COMMAND("FLUSHALL");
    COMMAND("CLIENT KILL TYPE normal SKIPME yes");
    RUN_UNTIL(withdrawn == 1);
    RUN_UNTIL(linked());
    assert_int_equal(stat_get(&stats.agent_stream_regressions_total), 1);
    COMMAND("XADD %s 5-5 id i user c slot 1 epoch 1 in_us 1 color blue method POST path /pay headers %s body b",
            STREAM_0, "a: b");
    RUN_UNTIL(out_count == 1); /* though its id is far below what was read before */
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_string_equal(recorded("watermark"), "5-5");
}

static void another_primary_is_read_from_its_own_cursors(void **state)
{
    (void)state;
    struct redis_fixture other = {0};
    produce(STREAM_0, "a");
    RUN_UNTIL(out_count == 1);
    redis_fixture_start(&other, "yes");
    redisContext *there = redisConnect("127.0.0.1", (int)other.port);
    freeReplyObject(redisCommand(there,
                                 "XADD %s * id i user z slot 1 epoch 1 in_us 1 color blue method POST path /pay "
                                 "headers %s body b",
                                 STREAM_0, "a: b"));
    adopt(other.url, 2);
    assert_int_equal(withdrawn, 1);
    RUN_UNTIL(out_count == 1);
    assert_true(str_equal(out[0]->envelope.fields[ENVELOPE_USER], STR_LIT("z")));
    assert_string_equal(inbox_broker_url(inbox), other.url);
    redisFree(there);
    inbox_destroy(&inbox);
    redis_fixture_end(&other);
}

static int owned_on(redisContext *broker)
{
    int owned = 0;
    for (int i = 0; i < 16; i++) {
        redisReply *reply = redisCommand(broker, "HGET ldc:{RZ01/payments/%d}:state owner", i);
        owned += reply->type == REDIS_REPLY_STRING && strcmp(reply->str, inbox_owner(inbox)) == 0;
        freeReplyObject(reply);
    }
    return owned;
}

/* It took over before it was told that we had given them back. */
static void what_another_primary_still_calls_ours_is_given_back_to_whom_it_belongs(void **state)
{
    (void)state;
    struct redis_fixture other = {0};
    adopt(redis.url, 16);
    RUN_UNTIL(owned_on(client) == 16);
    redis_fixture_start(&other, "yes");
    redisContext *there = redisConnect("127.0.0.1", (int)other.port);
    freeReplyObject(redisCommand(there, "HSET ldc:{RZ01}:agents agent-2 %s", "9999999999999 incarnation-2"));
    for (int i = 0; i < 16; i++)
        freeReplyObject(
            redisCommand(there, "HSET ldc:{RZ01/payments/%d}:state owner %s lease 1", i, inbox_owner(inbox)));
    adopt(other.url, 16);
    RUN_UNTIL(owned_on(there) < 16);
    RUN_UNTIL(inbox_may_deliver(inbox) && owned_on(there) > 0);
    redisFree(there);
    inbox_destroy(&inbox);
    redis_fixture_end(&other);
}

static void a_cursor_that_cannot_be_read_stops_its_partition_alone(void **state)
{
    (void)state;
    inbox_destroy(&inbox);
    COMMAND("HSET %s watermark nonsense", CURSOR_0);
    produce(STREAM_0, "a");
    produce("ldc:{RZ01/payments/1}:stream", "b");
    inbox_start();
    RUN_UNTIL(out_count == 1);
    assert_true(str_equal(out[0]->envelope.fields[ENVELOPE_USER], STR_LIT("b")));
    assert_false(first()->linked);
    COMMAND("DEL %s", CURSOR_0);
    inbox_tick(inbox);
    RUN_UNTIL(out_count == 2);
}

static void partitions_are_added_while_it_runs_and_never_taken_away(void **state)
{
    (void)state;
    RUN_UNTIL(linked());
    produce("ldc:{RZ01/payments/3}:stream", "a");
    adopt(redis.url, 4);
    RUN_UNTIL(out_count == 1);
    adopt(redis.url, 1);
    produce("ldc:{RZ01/payments/3}:stream", "b");
    RUN_UNTIL(out_count == 2);
    assert_int_equal(inbox_partitions(inbox)->count, 4);
}

static void streams_that_the_rules_no_longer_name_are_found(void **state)
{
    (void)state;
    inbox_destroy(&inbox);
    produce("ldc:{RZ01/payments/9}:stream", "a");
    produce("ldc:{RZ01/bygone/0}:stream", "b");
    produce("ldc:{RZ02/payments/0}:stream", "c");
    produce("ldc:{RZ01/payments/x}:stream", "d");
    COMMAND("SET %s text", "ldc:{RZ01/text/0}:stream");
    for (int i = 0; i < 3000; i++) /* more than one answer of SCAN holds */
        COMMAND("SET key%d x", i);
    inbox_start();
    RUN_UNTIL(out_count == 2);
    turns(20);
    assert_int_equal(out_count, 2);
    acknowledge(1);
    acknowledge(0);
    RUN_UNTIL(inbox_idle(inbox));
    assert_int_equal(inbox_partitions(inbox)->count, 4);
}

static void what_is_done_and_old_is_trimmed_and_the_rest_is_not(void **state)
{
    (void)state;
    char user[16];
    config.delivery.window = 2000;
    for (int i = 0; i < 1000; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        produce(STREAM_0, user);
    }
    RUN_UNTIL(out_count == 1000);
    for (size_t i = 1000; i-- > 0;)
        if (i != 500)
            acknowledge(i);
    RUN_UNTIL(inbox_idle(inbox));
    inbox_tick(inbox);
    RUN_UNTIL(stat_get(&stats.agent_entries_trimmed_total) >= 400);
    turns(20);
    assert_in_range(length_of_stream(), 500, 600); /* whole nodes of 100 entries go, and nothing behind the watermark */
    assert_int_equal(partition_pending(first()), 1);
}

static void lag_counts_what_was_not_read_too(void **state)
{
    (void)state;
    char user[16];
    for (int i = 0; i < 100; i++) {
        snprintf(user, sizeof(user), "u%d", i);
        produce(STREAM_0, user);
    }
    RUN_UNTIL(out_count >= 8);
    acknowledge(0);
    inbox_tick(inbox);
    RUN_UNTIL(partition_pending(first()) == 99);
}

/* Whoever listens to all links in each partition at once, and asks anew when half of the answers are there. */
static void another_primary_is_adopted_while_many_partitions_are_linked(void **state)
{
    (void)state;
    inbox_destroy(&inbox);
    stat_set(&stats.agent_broker_up, 0);
    listeners = true;
    inbox_start();
    adopt(redis.url, 300);
    RUN_UNTIL(stat_get(&stats.agent_broker_up) == 1); /* told by what has just sent all questions */
    adopt("redis://127.0.0.1:1", 300);
    adopt(redis.url, 300);
    RUN_UNTIL(linked());
    listeners = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_are_handed_out_and_recorded),
        TEST(a_new_life_goes_on_behind_what_is_recorded),
        TEST(no_more_is_read_than_the_window_holds),
        TEST(large_messages_stop_the_reading_at_the_memory_limit),
        TEST(what_is_no_message_is_passed_over),
        TEST(a_broker_without_memory_still_records),
        TEST(what_the_broker_did_not_confirm_is_written_again_when_it_is_back),
        TEST(a_broker_that_lost_its_stream_is_believed),
        TEST(another_primary_is_read_from_its_own_cursors),
        TEST(another_primary_is_adopted_while_many_partitions_are_linked),
        TEST(what_another_primary_still_calls_ours_is_given_back_to_whom_it_belongs),
        TEST(a_cursor_that_cannot_be_read_stops_its_partition_alone),
        TEST(partitions_are_added_while_it_runs_and_never_taken_away),
        TEST(streams_that_the_rules_no_longer_name_are_found),
        TEST(what_is_done_and_old_is_trimmed_and_the_rest_is_not),
        TEST(lag_counts_what_was_not_read_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
