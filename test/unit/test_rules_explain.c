/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static const char rules[] =
    "version: 1\n"
    "identity: {sources: [\"header:X-User-Id\"], on_missing: local}\n"
    "sharding: {hash: modulo, slots: 100, non_numeric: xxh3}\n"
    "units:\n"
    "  RZ01: {kind: A, datacenter: hz1, slots: [\"00-49\"], brokers: [\"redis://r1:1\", \"redis://r2:1\"],\n"
    "         nodes: {blue: [\"http://n1:1\", \"http://n2:1\"], green: [\"http://n3:1\"]}, weights: {blue: 1, green: "
    "0}}\n"
    "  RZ02: {kind: A, datacenter: hz2, slots: [\"50-99\"], brokers: [\"redis://r3:1\"], nodes: {blue: "
    "[\"http://n4:1\"]}}\n"
    "  BZ01: {kind: B, datacenter: hz1, nodes: {blue: [\"http://n5:1\"]}}\n"
    "  CORE: {kind: core, datacenter: hz1, nodes: {green: [\"http://n6:1\"]}}\n"
    "overrides: [{users: [\"1007\"], unit: RZ02}, {prefix: \"vip-\", unit: RZ02}]\n"
    "topics: {payments: {partitions: 16}}\n"
    "routes:\n"
    "  - {match: {path: \"/pay/*\", methods: [POST]}, zone: A, action: queue, topic: payments}\n"
    "  - {match: {path: \"/echo/*\"}, zone: A}\n"
    "  - {match: {path: \"/search/*\"}, zone: B}\n"
    "  - {match: {path: \"/core\"}, zone: core}\n"
    "  - {match: {path: \"/-/c/*\"}, zone: C}\n";

static struct table *load(const char *text)
{
    struct diag_list diags = {.file = "x"};
    struct table *table = rules_load(str_of(text), 9, &diags);
    assert_non_null(table);
    diag_free(&diags);
    return table;
}

static void explanations_have_stable_keys_in_a_stable_order(void **state)
{
    (void)state;
    static const struct {
        const char *user, *method, *path;
        enum verdict verdict;
        const char *json;
    } rows[] = {
        {"1001", NULL, NULL, VERDICT_OK,
         "{\"user\":\"1001\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":1,\"unit\":\"RZ01\",\"zone\":\"A\","
         "\"color\":\"blue\",\"rule\":\"r.yaml:5\",\"override\":null,\"epoch\":9,"
         "\"target\":[\"http://n1:1\",\"http://n2:1\"]}"},
        {"1001", "POST", "/pay/1", VERDICT_OK,
         "{\"user\":\"1001\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":1,\"unit\":\"RZ01\",\"zone\":\"A\","
         "\"color\":\"blue\",\"rule\":\"r.yaml:5\",\"override\":null,\"epoch\":9,"
         "\"target\":\"redis://r1:1 topic payments partition 1\"}"},
        {"1007", "GET", "/echo/1", VERDICT_OK,
         "{\"user\":\"1007\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":7,\"unit\":\"RZ02\",\"zone\":\"A\","
         "\"color\":\"blue\",\"rule\":\"r.yaml:5\",\"override\":\"r.yaml:10\",\"epoch\":9,\"target\":[\"http://"
         "n4:1\"]}"},
        {"vip-1", NULL, "/echo/1", VERDICT_OK,
         "{\"user\":\"vip-1\",\"source\":\"argument\",\"hash\":\"xxh3\",\"slot\":95,\"unit\":\"RZ02\",\"zone\":\"A\","
         "\"color\":\"blue\",\"rule\":\"r.yaml:7\",\"override\":\"r.yaml:10\",\"epoch\":9,\"target\":[\"http://"
         "n4:1\"]}"},
        {"1007", "GET", "/search/1", VERDICT_OK,
         "{\"user\":\"1007\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":7,\"unit\":\"BZ01\",\"zone\":\"B\","
         "\"color\":\"blue\",\"rule\":\"r.yaml:8\",\"override\":null,\"epoch\":9,\"target\":[\"http://n5:1\"]}"},
        {"5", "GET", "/core", VERDICT_OK,
         "{\"user\":\"5\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":5,\"unit\":\"CORE\",\"zone\":\"core\","
         "\"color\":\"green\",\"rule\":\"r.yaml:16\",\"override\":null,\"epoch\":9,\"target\":[\"http://n6:1\"]}"},
        {"5", "GET", "/-/c/x", VERDICT_OK,
         "{\"user\":\"5\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":5,\"unit\":\"CORE\",\"zone\":\"C\","
         "\"color\":\"green\",\"rule\":\"r.yaml:17\",\"override\":null,\"epoch\":9,\"target\":null}"},
        {"5", "GET", "/pay/1", VERDICT_METHOD_NOT_ALLOWED,
         "{\"user\":\"5\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":5,\"unit\":null,\"zone\":\"A\","
         "\"color\":null,\"rule\":\"r.yaml:5\",\"override\":null,\"epoch\":9,\"target\":null,"
         "\"verdict\":\"method-not-allowed\"}"},
        {"", NULL, NULL, VERDICT_BAD_USER,
         "{\"user\":\"\",\"source\":\"argument\",\"hash\":\"modulo\",\"slot\":null,\"unit\":null,\"zone\":\"A\","
         "\"color\":null,\"rule\":null,\"override\":null,\"epoch\":9,\"target\":null,\"verdict\":\"bad-user-id\"}"},
        {NULL, "GET", "/echo/1", VERDICT_NO_UNIT,
         "{\"user\":null,\"source\":null,\"hash\":\"modulo\",\"slot\":null,\"unit\":null,\"zone\":\"A\","
         "\"color\":null,\"rule\":\"r.yaml:14\",\"override\":null,\"epoch\":9,\"target\":null,\"verdict\":\"no-"
         "unit\"}"},
    };
    struct table *table = load(rules);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf json = {NULL, 0, 0};
        assert_int_equal(
            rules_explain(table, "r.yaml", str_of(rows[i].user), str_of(rows[i].method), str_of(rows[i].path), &json),
            rows[i].verdict);
        assert_string_equal(json.base, rows[i].json);
        buf_free(&json);
    }
    table_unref(&table);
}

static void texts_that_are_no_utf8_become_null(void **state)
{
    (void)state;
    struct table *table = load(rules);
    struct buf json = {NULL, 0, 0};
    assert_int_equal(rules_explain(table, "r\xff.yaml", STR_LIT("\xff"), str_of(NULL), str_of(NULL), &json),
                     VERDICT_OK);
    assert_non_null(strstr(json.base, "{\"user\":null,"));
    assert_non_null(strstr(json.base, "\"rule\":null,"));
    buf_free(&json);
    table_unref(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(explanations_have_stable_keys_in_a_stable_order),
        cmocka_unit_test(texts_that_are_no_utf8_become_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
