/* SPDX-License-Identifier: Apache-2.0
 *
 * What C packs and sums, and what the functions in a broker make of it: both must see the same bytes in the same way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/broker_event.h"
#include "common/clock.h"
#include "common/collection_value.h"
#include "common/protocol.h"
#include "test/unit/redis_fixture.h"
#include "test/unit/run_until.h"

#define COUNT  300
#define BUCKET 5

struct fixture {
    sd_event *loop;
    struct broker_loop broker_loop;
    struct redis_fixture redis;
    struct broker *broker;
    int replies;
    uint64_t last_version, sum, said; /* of what was read: the sum that the entries make, and the kept one */
    int values;
};

static struct str text_of(const redisReply *reply)
{
    return (struct str){reply->str, reply->len};
}

static void on_put(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    fixture->last_version = (uint64_t)reply->element[0]->integer;
    fixture->replies++;
}

static void look_at(struct fixture *fixture, struct str key, struct str packed)
{
    struct collection_value value;
    assert_true(collection_unpack(packed, &value));
    assert_true(collection_is_sound(key, &value));
    assert_in_range(value.version, 1, COUNT);
    assert_true(value.us > UINT64_C(1600000000000000));
    fixture->sum = collection_sum_add(fixture->sum, collection_share(&value));
    fixture->values++;
}

static void on_bucket(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    assert_non_null(reply);
    assert_int_equal(reply->elements, 3);
    assert_int_equal(reply->element[0]->integer, COUNT);
    fixture->said = (uint64_t)reply->element[1]->integer;
    const redisReply *entries = reply->element[2];
    for (size_t i = 0; i + 1 < entries->elements; i += 2)
        look_at(fixture, text_of(entries->element[i]), text_of(entries->element[i + 1]));
    fixture->replies++;
}

static void on_log(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    assert_non_null(reply);
    assert_int_equal(reply->elements, 1);
    const redisReply *fields = reply->element[0]->element[1], *sums = fields->element[fields->elements - 1];
    assert_int_equal(sums->len, COLLECTION_SUMS_SIZE);
    assert_true(collection_digest_sum(sums->str, BUCKET) == fixture->said);
    assert_true(collection_digest_sum(sums->str, BUCKET + 1) == 0);
    fixture->replies++;
}

static void on_reply(void *arg, const redisReply *reply)
{
    struct fixture *fixture = arg;
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    fixture->replies++;
}

static void send_words(struct fixture *fixture, broker_reply_fn done, const struct str *words, int count)
{
    struct buf wire = {NULL, 0, 0};
    broker_put_count(&wire, (size_t)count);
    for (int i = 0; i < count; i++)
        broker_put_word(&wire, words[i]);
    assert_true(broker_command_made(fixture->broker, 5000, done, fixture, buf_str(&wire)));
    buf_free(&wire);
}

static void call(struct fixture *fixture, broker_reply_fn done, const char *name, const struct str *args, int count)
{
    char at[PROTOCOL_KEY_MAX];
    struct str words[16] = {
        STR_LIT("FCALL"), str_of(name), STR_LIT("1"), {at, collection_key(at, STR_LIT("CORE"), STR_LIT("rates"), "")}};
    for (int i = 0; i < count; i++)
        words[4 + i] = args[i];
    send_words(fixture, done, words, 4 + count);
}

static void put(struct fixture *fixture, int number)
{
    char key[16];
    struct buf packed = {NULL, 0, 0};
    struct str name = {key, (size_t)snprintf(key, sizeof(key), "key-%d", number % (COUNT - 50))};
    collection_pack(name, STR_LIT("text/plain"), (struct str){key, (size_t)number % 7}, &packed);
    const struct str args[] = {STR_LIT("0"), name, STR_LIT("5"), STR_LIT(""), buf_str(&packed), STR_LIT("")};
    call(fixture, on_put, "ldc1_c_put", args, 6);
    buf_free(&packed);
}

static void read_and_compare(struct fixture *fixture)
{
    static const struct str bucket[] = {STR_LIT("5")};
    fixture->sum = fixture->said = 0;
    fixture->values = 0;
    call(fixture, on_bucket, "ldc1_c_bucket", bucket, 1);
    RUN_UNTIL(fixture, fixture->values == COUNT - 50);
    assert_true(fixture->said != 0);
    assert_true(fixture->sum == fixture->said);
}

static void setup(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    assert_true(sd_event_new(&fixture->loop) >= 0);
    fixture->broker_loop = broker_loop_of_event(fixture->loop);
    redis_fixture_start(&fixture->redis, "no");
    const struct broker_config config = {.url = fixture->redis.url, .command_timeout_ms = 5000, .functions = true};
    fixture->broker = broker_create(&fixture->broker_loop, &config, NULL, NULL);
    RUN_UNTIL(fixture, broker_state(fixture->broker) == BROKER_READY);
}

static void sums_kept_by_the_broker_are_those_that_c_makes(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture);
    for (int i = 0; i < COUNT; i++)
        put(&fixture, i);
    RUN_UNTIL(&fixture, fixture.replies == COUNT);
    assert_int_equal(fixture.last_version, COUNT);
    read_and_compare(&fixture);
    static const struct str epoch[] = {STR_LIT("0"), STR_LIT("5")};
    call(&fixture, on_reply, "ldc1_c_resum", epoch, 2);
    read_and_compare(&fixture);
    char log[PROTOCOL_KEY_MAX];
    const struct str last[] = {
        STR_LIT("XREVRANGE"), {log, collection_key(log, STR_LIT("CORE"), STR_LIT("rates"), "log")},
        STR_LIT("+"),         STR_LIT("-"),
        STR_LIT("COUNT"),     STR_LIT("1")};
    int before = fixture.replies;
    call(&fixture, on_reply, "ldc1_c_digest", epoch, 1);
    send_words(&fixture, on_log, last, 6);
    RUN_UNTIL(&fixture, fixture.replies == before + 2);
    broker_destroy(&fixture.broker);
    sd_event_unref(fixture.loop);
    redis_fixture_end(&fixture.redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_kept_by_the_broker_are_those_that_c_makes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
