/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue's connections on libh2o's loop, against real brokers: what a turn sends leaves at once, what is large
 * leaves in pieces, and lines come and go with the rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "common/clock.h"
#include "gateway/broker_h2o.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"
#include "rules/rules.h"
#include "test/unit/redis_fixture.h"

static h2o_loop_t *loop;

/* Runs the loop until CONDITION, ten seconds at most; FLUSH ends each turn, as the worker's does. */
#define RUN_UNTIL(condition, flush)                                                                                    \
    do {                                                                                                               \
        uint64_t end_us = clock_monotonic_us() + 60000000;                                                             \
        while (!(condition) && clock_monotonic_us() < end_us) {                                                        \
            h2o_evloop_run(loop, 10);                                                                                  \
            flush;                                                                                                     \
        }                                                                                                              \
        assert_true(condition);                                                                                        \
    } while (0)

/* --- the adapter ------------------------------------------------------------------------------------------------- */

struct fixture {
    struct redis_fixture redis;
    struct broker_h2o adapter;
    struct broker_loop broker_loop;
    struct broker *broker;
    int replies, unknown;
    struct buf last;
};

static void on_reply(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    fixture->replies++;
    fixture->unknown += reply == NULL;
    fixture->last.len = 0;
    if (reply != NULL && reply->str != NULL)
        buf_append(&fixture->last, reply->str, reply->len);
}

static bool send_words(struct fixture *fixture, int argc, const char *const *argv)
{
    return broker_command(fixture->broker, on_reply, fixture, argc, argv, NULL);
}

#define UNTIL(fixture, condition) RUN_UNTIL(condition, broker_h2o_flush(&(fixture)->adapter))

static void setup(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    redis_fixture_start(&fixture->redis, "yes");
    broker_h2o_init(&fixture->adapter, loop);
    fixture->broker_loop = broker_h2o_loop(&fixture->adapter);
    struct broker_config config = {.url = fixture->redis.url, .command_timeout_ms = 8000, .must_be_durable = true};
    fixture->broker = broker_create(&fixture->broker_loop, &config, NULL, NULL);
    UNTIL(fixture, broker_state(fixture->broker) == BROKER_READY);
}

static void teardown(struct fixture *fixture)
{
    broker_destroy(&fixture->broker);
    timers_dispose(&fixture->adapter.timers);
    buf_free(&fixture->last);
    redis_fixture_end(&fixture->redis);
}

/* How many reads the broker has made, as it says. */
static unsigned long reads_of(struct fixture *fixture)
{
    static const char name[] = "total_reads_processed:";
    const char *argv[] = {"INFO", "stats"};
    int before = fixture->replies;
    assert_true(send_words(fixture, 2, argv));
    UNTIL(fixture, fixture->replies == before + 1);
    const char *at = strstr(fixture->last.base, name);
    assert_non_null(at);
    return strtoul(at + strlen(name), NULL, 10);
}

static void what_one_turn_sends_leaves_in_one_write(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *argv[] = {"SET", "key", "value"};
    setup(&fixture);
    unsigned long before = reads_of(&fixture);
    int replies = fixture.replies;
    for (int i = 0; i < 200; i++)
        assert_true(send_words(&fixture, 3, argv));
    UNTIL(&fixture, fixture.replies == replies + 200);
    assert_int_equal(reads_of(&fixture) - before, 2); /* the commands, and this question */
    teardown(&fixture);
}

static void what_is_larger_than_the_sockets_leaves_in_pieces(void **state)
{
    (void)state;
    struct fixture fixture;
    size_t size = 24u << 20;
    char *value = malloc(size + 1);
    setup(&fixture);
    memset(value, 'v', size);
    value[size] = '\0';
    const char *set[] = {"SET", "key", value}, *get[] = {"GET", "key"};
    kill(fixture.redis.pid, SIGSTOP); /* so that the sockets fill */
    assert_true(send_words(&fixture, 3, set));
    assert_true(send_words(&fixture, 2, get));
    for (int i = 0; i < 5; i++) {
        h2o_evloop_run(loop, 1);
        broker_h2o_flush(&fixture.adapter);
    }
    assert_int_equal(fixture.replies, 0);
    kill(fixture.redis.pid, SIGCONT);
    UNTIL(&fixture, fixture.replies == 2);
    assert_int_equal(fixture.last.len, size);
    assert_memory_equal(fixture.last.base, value, size);
    free(value);
    teardown(&fixture);
}

static void a_broker_that_dies_under_a_pipeline_is_found_again(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *argv[] = {"PING"};
    setup(&fixture);
    kill(fixture.redis.pid, SIGSTOP);
    for (int i = 0; i < 1000; i++)
        assert_true(send_words(&fixture, 1, argv));
    broker_h2o_flush(&fixture.adapter);
    redis_fixture_kill(&fixture.redis);
    UNTIL(&fixture, fixture.replies == 1000);
    assert_int_equal(fixture.unknown, 1000);
    redis_fixture_start(&fixture.redis, "yes");
    UNTIL(&fixture, broker_state(fixture.broker) == BROKER_READY);
    assert_true(send_words(&fixture, 1, argv));
    UNTIL(&fixture, fixture.replies == 1001);
    assert_int_equal(fixture.unknown, 1000);
    teardown(&fixture);
}

static void what_is_unsent_at_the_end_is_unknown(void **state)
{
    (void)state;
    struct fixture fixture;
    const char *argv[] = {"PING"};
    setup(&fixture);
    for (int i = 0; i < 10; i++)
        assert_true(send_words(&fixture, 1, argv));
    broker_destroy(&fixture.broker);
    assert_int_equal(fixture.unknown, 10);
    broker_h2o_flush(&fixture.adapter);
    teardown(&fixture);
}

/* --- lines ---------------------------------------------------------------------------------------------------------
 */

static struct view *view_of(struct registry *registry, const char *first, const char *second)
{
    struct diag_list diags = {0};
    struct error err;
    struct buf text = {NULL, 0, 0};
    buf_printf(&text,
               "version: 1\nidentity: {sources: [\"header:X-User-Id\"]}\nsharding: {hash: modulo, slots: 100}\n"
               "units:\n  RZ01: {kind: A, datacenter: d, slots: [\"00-99\"], brokers: [\"%s\"]}\n",
               first);
    if (second != NULL)
        buf_printf(&text, "  CORE: {kind: core, datacenter: d, brokers: [\"%s\"]}\n", second);
    buf_append_str(&text, STR_LIT("routes:\n  - {match: {path: \"/*\"}, zone: A, action: queue, topic: t}\n"));
    struct table *table = rules_load(buf_str(&text), 1, &diags);
    if (table == NULL) {
        struct buf told = {NULL, 0, 0};
        diag_print(&diags, &told);
        fail_msg("%s", told.base);
    }
    struct view *view = view_create(registry, table, &err);
    assert_non_null(view);
    diag_free(&diags);
    buf_free(&text);
    return view;
}

struct stage {
    struct gateway gateway;
    struct worker worker;
    struct registry *registry;
    struct redis_fixture first, second;
    char fault[200];
};

static void open_stage(struct stage *stage)
{
    memset(stage, 0, sizeof(*stage));
    stage->gateway.config.broker.timeout = 5000;
    stage->gateway.config.broker.must_be_durable = true;
    stage->gateway.config.broker.memory_limit = 100;
    stage->gateway.config.broker.commit_connections = 2;
    stage->gateway.config.broker.commit_batch = 64;
    stage->worker.gateway = &stage->gateway;
    stage->worker.h2o.loop = loop;
    stage->worker.queue = queue_create(&stage->worker);
    stage->registry = registry_create();
    redis_fixture_start(&stage->first, "yes");
    redis_fixture_start(&stage->second, "yes");
}

static void close_stage(struct stage *stage)
{
    queue_destroy(&stage->worker.queue);
    registry_destroy(&stage->registry);
    redis_fixture_end(&stage->first);
    redis_fixture_end(&stage->second);
}

static bool ready(struct stage *stage, const struct unit *unit)
{
    return queue_broker_ready(stage->worker.queue, unit, stage->fault, sizeof(stage->fault));
}

static void count_reply(void *arg, const redisReply *reply)
{
    int *stored = arg;
    *stored += reply != NULL && reply->type == REDIS_REPLY_STRING;
}

static void lines_follow_the_rules_and_finish_what_is_on_its_way(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage);
    struct queue *queue = stage.worker.queue;
    struct view *before = view_of(stage.registry, stage.first.url, stage.second.url);
    struct view *after = view_of(stage.registry, stage.second.url, NULL);
    const struct unit *unit = before->units[0].unit, *core = before->units[1].unit;
    assert_false(ready(&stage, unit));
    assert_string_equal(stage.fault, "the rules give the unit no broker");
    queue_adopt(queue, before);
    assert_false(ready(&stage, unit));
    RUN_UNTIL(ready(&stage, unit) && ready(&stage, core), queue_flush(queue));
    struct broker *old = queue_broker(queue, unit);
    queue_adopt(queue, before);
    assert_ptr_equal(queue_broker(queue, unit), old);

    int stored = 0;
    const char *argv[] = {"XADD", "key", "*", "name", "value"};
    kill(stage.first.pid, SIGSTOP);
    assert_true(broker_command(old, count_reply, &stored, 5, argv, NULL));
    queue_flush(queue);
    queue_adopt(queue, after);
    assert_true(queue_broker(queue, unit) != old);
    assert_null(queue_broker(queue, core));
    RUN_UNTIL(ready(&stage, unit), queue_flush(queue));
    assert_int_equal(stored, 0);
    kill(stage.first.pid, SIGCONT);
    RUN_UNTIL(stored == 1, queue_flush(queue));
    assert_false(ready(&stage, core));
    view_unref(&before);
    view_unref(&after);
    close_stage(&stage);
}

static void a_queue_that_ends_calls_back_what_is_on_its_way(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage);
    struct view *view = view_of(stage.registry, stage.first.url, NULL);
    queue_adopt(stage.worker.queue, view);
    RUN_UNTIL(ready(&stage, view->units[0].unit), queue_flush(stage.worker.queue));
    kill(stage.first.pid, SIGSTOP);
    struct fixture counts = {0};
    const char *argv[] = {"PING"};
    for (int i = 0; i < 3; i++)
        assert_true(
            broker_command(queue_broker(stage.worker.queue, view->units[0].unit), on_reply, &counts, 1, argv, NULL));
    queue_destroy(&stage.worker.queue);
    assert_int_equal(counts.unknown, 3);
    view_unref(&view);
    close_stage(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_turn_sends_leaves_in_one_write),
        cmocka_unit_test(what_is_larger_than_the_sockets_leaves_in_pieces),
        cmocka_unit_test(a_broker_that_dies_under_a_pipeline_is_found_again),
        cmocka_unit_test(what_is_unsent_at_the_end_is_unknown),
        cmocka_unit_test(lines_follow_the_rules_and_finish_what_is_on_its_way),
        cmocka_unit_test(a_queue_that_ends_calls_back_what_is_on_its_way),
    };
    loop = h2o_evloop_create();
    signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
