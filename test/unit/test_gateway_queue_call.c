/* SPDX-License-Identifier: Apache-2.0
 *
 * The calls by which messages go to the brokers: which keys, which words in which order, and which requests count as
 * the same one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/queue_call.h"

static const struct table_topic topic = {
    .name = {"payments", 8}, .partitions = 4, .idempotency_window_ms = 300000, .max_backlog = 7};
static const struct queue_target target = {.unit = {"RZ01", 4}, .topic = &topic, .partition = 3};

struct request {
    const char *user, *key, *method, *path, *body;
};

/* The texts of CALL live in POOL. */
static void make_call(struct queue_call *call, h2o_mem_pool_t *pool, struct request request)
{
    struct publish_options options = {.idempotency_key = str_of(request.key)};
    for (int i = 0; i < ENVELOPE_FIELDS; i++)
        call->envelope.fields[i] = STR_LIT("");
    call->envelope.fields[ENVELOPE_ID] = STR_LIT("ID");
    call->envelope.fields[ENVELOPE_USER] = str_of(request.user);
    call->envelope.fields[ENVELOPE_METHOD] = str_of(request.method ? request.method : "POST");
    call->envelope.fields[ENVELOPE_PATH] = str_of(request.path ? request.path : "/pay/1");
    call->envelope.fields[ENVELOPE_BODY] = str_of(request.body ? request.body : "{}");
    queue_call_init(call, pool, &target, &options);
}

static void assert_str(struct str text, const char *wanted)
{
    assert_int_equal(text.len, strlen(wanted));
    assert_memory_equal(text.base, wanted, text.len);
}

static void a_call_has_its_words_in_the_order_of_the_function(void **state)
{
    static const char text[] =
        "*21\r\n$5\r\nFCALL\r\n$12\r\nldc1_enqueue\r\n$1\r\n3\r\n$28\r\nldc:{RZ01/payments/3}:stream\r\n"
        "$27\r\nldc:{RZ01/payments/3}:state\r\n$16\r\nldc:{RZ01}:epoch\r\n$1\r\n5\r\n$1\r\n7\r\n"
        "$6\r\n300000\r\n$0\r\n\r\n$2\r\nID\r\n$4\r\n1001\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"
        "$4\r\nPOST\r\n$6\r\n/pay/1\r\n$0\r\n\r\n$2\r\n{}\r\n$0\r\n\r\n";
    h2o_mem_pool_t pool;
    struct queue_call call;
    struct buf wire = {NULL, 0, 0};
    (void)state;
    h2o_mem_init_pool(&pool);
    make_call(&call, &pool, (struct request){.user = "1001"});
    size_t len = queue_call_format(&call, 5, &wire);
    assert_int_equal(len, wire.len);
    assert_string_equal(wire.base, text);
    buf_free(&wire);
    h2o_mem_clear_pool(&pool);
}

/* What a call that was made by epoch 5 becomes by epoch 12345. */
static void assert_again(const struct queue_call *call, bool replay, const char *function)
{
    struct buf made = {NULL, 0, 0}, now = {NULL, 0, 0}, again = {NULL, 0, 0};
    struct queue_call other = *call;
    other.function = str_of(function);
    queue_call_format(call, 5, &made);
    queue_call_format(&other, 12345, &now);
    size_t len = queue_call_format_again(buf_str(&made), replay, 12345, &again);
    assert_int_equal(len, again.len);
    assert_string_equal(again.base, now.base);
    buf_free(&made);
    buf_free(&now);
    buf_free(&again);
}

static void a_call_is_made_again_for_another_epoch_and_as_a_replay(void **state)
{
    h2o_mem_pool_t pool;
    struct queue_call call;
    (void)state;
    h2o_mem_init_pool(&pool);
    make_call(&call, &pool, (struct request){.user = "1001", .key = "k", .body = "$3\r\n*9\r\n"});
    assert_again(&call, false, "ldc1_enqueue");
    assert_again(&call, true, "ldc1_replay");
    queue_call_init_end(&call, &pool, STR_LIT("ldc1_tx_end"), STR_LIT("RZ01.payments.3.01a1fe413906bcfef01b4375"),
                        STR_LIT("commit"));
    assert_again(&call, true, "ldc1_tx_end");
    h2o_mem_clear_pool(&pool);
}

static void make_collection_call(struct queue_call *call, h2o_mem_pool_t *pool, const char *function, unsigned words)
{
    queue_call_init_collection(call, pool, str_of(function), STR_LIT("CORE"), STR_LIT("rates"));
    for (unsigned i = 0; i < words; i++)
        queue_call_add_word(call, i == 0 ? STR_LIT("$3\r\nkey") : STR_LIT("word"));
}

static void a_call_of_a_collection_has_the_epoch_before_its_words(void **state)
{
    static const char text[] = "*7\r\n$5\r\nFCALL\r\n$10\r\nldc1_c_get\r\n$1\r\n1\r\n$19\r\nldc:{CORE}:c/rates/\r\n"
                               "$1\r\n5\r\n$7\r\n$3\r\nkey\r\n$4\r\nword\r\n";
    h2o_mem_pool_t pool;
    struct queue_call call;
    struct buf wire = {NULL, 0, 0};
    (void)state;
    h2o_mem_init_pool(&pool);
    make_collection_call(&call, &pool, QUEUE_CALL_GET, 2);
    queue_call_format(&call, 5, &wire);
    assert_string_equal(wire.base, text);
    buf_free(&wire);
    h2o_mem_clear_pool(&pool);
}

static void a_write_to_a_collection_looks_for_itself_where_it_may_be_done(void **state)
{
    static const struct {
        const char *function, *replay;
    } calls[] = {
        {QUEUE_CALL_PUT, QUEUE_CALL_REPLAY}, {QUEUE_CALL_REPLAY, QUEUE_CALL_REPLAY}, {QUEUE_CALL_GET, QUEUE_CALL_GET}};
    h2o_mem_pool_t pool;
    struct queue_call call;
    (void)state;
    h2o_mem_init_pool(&pool);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        make_collection_call(&call, &pool, calls[i].function, 6);
        assert_again(&call, false, calls[i].function);
        assert_again(&call, true, calls[i].replay);
    }
    h2o_mem_clear_pool(&pool);
}

static void a_key_is_told_from_its_user_by_the_last_slash(void **state)
{
    h2o_mem_pool_t pool;
    struct queue_call call;
    (void)state;
    h2o_mem_init_pool(&pool);
    make_call(&call, &pool, (struct request){.user = "a/b", .key = "c"});
    assert_int_equal(call.key_count, 4);
    assert_str(call.keys[3], "ldc:{RZ01/payments/3}:idem:a/b/c");
    make_call(&call, &pool, (struct request){.user = "a", .key = "b/c%"});
    assert_str(call.keys[3], "ldc:{RZ01/payments/3}:idem:a/b%2Fc%25");
    make_call(&call, &pool, (struct request){.user = "", .key = "c"});
    assert_str(call.keys[3], "ldc:{RZ01/payments/3}:idem:/c");
    h2o_mem_clear_pool(&pool);
}

static void a_fingerprint_is_of_method_path_and_body_and_where_they_part(void **state)
{
    static const struct request requests[] = {
        {.user = "1", .key = "k", .path = "/a", .body = "bc"},
        {.user = "1", .key = "k", .path = "/ab", .body = "c"},
        {.user = "1", .key = "k", .path = "/a", .body = "bd"},
        {.user = "1", .key = "k", .path = "/a", .body = ""},
        {.user = "1", .key = "k", .method = "PUT", .path = "/a", .body = "bc"},
    };
    enum { COUNT = sizeof(requests) / sizeof(requests[0]), FINGERPRINT = 2 };
    h2o_mem_pool_t pool;
    struct queue_call calls[COUNT], again;
    (void)state;
    h2o_mem_init_pool(&pool);
    for (int i = 0; i < COUNT; i++) {
        make_call(&calls[i], &pool, requests[i]);
        assert_int_equal(calls[i].before[FINGERPRINT].len, 32);
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(calls[i].before[FINGERPRINT].base, calls[j].before[FINGERPRINT].base, 32);
    }
    make_call(&again, &pool, (struct request){.user = "2", .key = "other", .path = "/a", .body = "bc"});
    assert_memory_equal(again.before[FINGERPRINT].base, calls[0].before[FINGERPRINT].base, 32);
    h2o_mem_clear_pool(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_has_its_words_in_the_order_of_the_function),
        cmocka_unit_test(a_call_is_made_again_for_another_epoch_and_as_a_replay),
        cmocka_unit_test(a_call_of_a_collection_has_the_epoch_before_its_words),
        cmocka_unit_test(a_write_to_a_collection_looks_for_itself_where_it_may_be_done),
        cmocka_unit_test(a_key_is_told_from_its_user_by_the_last_slash),
        cmocka_unit_test(a_fingerprint_is_of_method_path_and_body_and_where_they_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
