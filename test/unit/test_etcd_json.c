/* SPDX-License-Identifier: Apache-2.0 */
#include "common/etcd_json.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void base64_is_standard_and_padded(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"\xff\xfe", "//4="}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        struct buf text = {NULL, 0, 0}, bytes = {NULL, 0, 0};
        etcd_base64(str_of(pairs[i][0]), &text);
        assert_true(str_equal(buf_str(&text), str_of(pairs[i][1])));
        assert_true(etcd_base64_decode(buf_str(&text), &bytes));
        assert_true(str_equal(buf_str(&bytes), str_of(pairs[i][0])));
        buf_free(&text);
        buf_free(&bytes);
    }
    static const char *const wrong[] = {"Zg=", "Z", "Z-8="};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct buf bytes = {NULL, 0, 0};
        assert_false(etcd_base64_decode(str_of(wrong[i]), &bytes));
        buf_free(&bytes);
    }
}

static void a_transaction_says_what_it_compares(void **state)
{
    (void)state;
    struct buf body = {NULL, 0, 0};
    etcd_txn_format(&(struct etcd_txn){.compares = {{"a", 12}, {"b", 0}},
                                       .compare_count = 2,
                                       .puts = {{"a", STR_LIT("1"), 0}, {"b", STR_LIT(""), 77}},
                                       .put_count = 2,
                                       .reads = {"a"},
                                       .read_count = 1},
                    &body);
    assert_string_equal(
        body.base, "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"12\"},"
                   "{\"key\":\"Yg==\",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"0\"}],"
                   "\"success\":[{\"request_put\":{\"key\":\"YQ==\",\"value\":\"MQ==\"}},"
                   "{\"request_put\":{\"key\":\"Yg==\",\"value\":\"\",\"lease\":\"77\"}}],"
                   "\"failure\":[{\"request_range\":{\"key\":\"YQ==\"}}]}");
    buf_free(&body);
}

static void a_transaction_that_compares_nothing_stops_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        struct buf body = {NULL, 0, 0};
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        etcd_txn_format(&(struct etcd_txn){.puts = {{"a", STR_LIT("1"), 0}}, .put_count = 1}, &body);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void ranges_end_behind_all_that_begin_so(void **state)
{
    (void)state;
    struct buf body = {NULL, 0, 0};
    etcd_range_format(&(struct etcd_range){.key = "/x/", .below = true, .newest = true, .most = 5}, &body);
    assert_string_equal(body.base, "{\"key\":\"L3gv\",\"range_end\":\"L3gw\",\"limit\":\"5\","
                                   "\"sort_order\":\"DESCEND\",\"sort_target\":\"KEY\"}");
    body.len = 0;
    etcd_watch_format("/x/", 8, &body);
    assert_string_equal(body.base,
                        "{\"create_request\":{\"key\":\"L3gv\",\"range_end\":\"L3gw\",\"start_revision\":\"8\"}}");
    buf_free(&body);
}

static struct etcd_answer parse(const char *text)
{
    struct etcd_answer answer;
    struct error err = {ERROR_NONE, ""};
    if (etcd_answer_parse(str_of(text), &answer, &err) == -1)
        fail_msg("%s", err.text);
    return answer;
}

static void what_is_left_out_is_false_or_zero(void **state)
{
    (void)state;
    struct etcd_answer answer =
        parse("{\"header\":{\"revision\":\"9007199254740993\"},\"responses\":[{\"response_range\":"
              "{\"header\":{},\"kvs\":[{\"key\":\"YQ==\",\"mod_revision\":\"5\",\"value\":\"MQ==\"}]}},"
              "{\"response_range\":{\"header\":{}}}]}");
    assert_false(answer.succeeded);
    assert_int_equal(answer.revision, 9007199254740993);
    assert_int_equal(answer.count, 1);
    assert_int_equal(etcd_answer_find(&answer, "a")->mod_revision, 5);
    assert_string_equal(etcd_answer_find(&answer, "a")->value.base, "1");
    assert_null(etcd_answer_find(&answer, "b"));
    etcd_answer_free(&answer);
    answer = parse("{\"header\":{\"revision\":\"2\"},\"succeeded\":true}");
    assert_true(answer.succeeded);
    etcd_answer_free(&answer);
    answer = parse("{\"result\":{\"header\":{},\"ID\":\"7587\"}}"); /* an expired lease */
    assert_int_equal(answer.lease, 7587);
    assert_int_equal(answer.ttl_s, 0);
    etcd_answer_free(&answer);
}

static void events_and_ends_of_a_watch_are_understood(void **state)
{
    (void)state;
    struct etcd_answer answer = parse(
        "{\"result\":{\"header\":{\"revision\":\"7\"},\"events\":[{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"6\","
        "\"value\":\"MQ==\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":\"Yg==\",\"mod_revision\":\"7\"}}]}}");
    assert_int_equal(answer.count, 2);
    assert_false(answer.entries[0].deleted);
    assert_true(answer.entries[1].deleted);
    assert_int_equal(answer.entries[1].mod_revision, 7);
    assert_string_equal(answer.fault, "");
    etcd_answer_free(&answer);
    answer = parse("{\"result\":{\"header\":{},\"canceled\":true,\"compact_revision\":\"12\"}}");
    assert_int_equal(answer.compact_revision, 12);
    assert_string_not_equal(answer.fault, "");
    etcd_answer_free(&answer);
    answer = parse("{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":\"etcdserver: no leader\"}}");
    assert_string_equal(answer.fault, "etcdserver: no leader");
    etcd_answer_free(&answer);
    answer = parse(
        "{\"result\":{\"header\":{},\"created\":true,\"canceled\":true,\"cancel_reason\":\"permission denied\"}}");
    assert_string_equal(answer.fault, "permission denied");
    etcd_answer_free(&answer);
}

static void what_is_no_answer_is_a_fault(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "[]",
                                        "<html>",
                                        "{\"kvs\":[{\"key\":\"?\"}]}",
                                        "{\"kvs\":[{\"value\":\"MQ==\"}]}",
                                        "{\"kvs\":[{\"key\":\"YQ==\",\"value\":7}]}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct etcd_answer answer;
        struct error err;
        assert_int_equal(etcd_answer_parse(str_of(wrong[i]), &answer, &err), -1);
        assert_int_equal(answer.count, 0);
    }
}

static void refusals_tell_their_code(void **state)
{
    (void)state;
    char message[40];
    struct str text =
        STR_LIT("{\"error\":\"etcdserver: invalid auth token\",\"message\":\"etcdserver: invalid auth token\","
                "\"code\":16}");
    assert_int_equal(etcd_refusal_parse(text, message, sizeof(message)), 16);
    assert_string_equal(message, "etcdserver: invalid auth token");
    assert_int_equal(etcd_refusal_parse(STR_LIT("404 page not found"), message, sizeof(message)), 2);
    assert_string_equal(message, "404 page not found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_standard_and_padded),
        cmocka_unit_test(a_transaction_says_what_it_compares),
        cmocka_unit_test(a_transaction_that_compares_nothing_stops_the_process),
        cmocka_unit_test(ranges_end_behind_all_that_begin_so),
        cmocka_unit_test(what_is_left_out_is_false_or_zero),
        cmocka_unit_test(events_and_ends_of_a_watch_are_understood),
        cmocka_unit_test(what_is_no_answer_is_a_fault),
        cmocka_unit_test(refusals_tell_their_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
