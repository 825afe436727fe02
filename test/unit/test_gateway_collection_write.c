/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request to write says: which versions it may replace, and what a line of a batch is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/collection_item.h"
#include "gateway/etag.h"

static void assert_str(struct str text, const char *wanted)
{
    assert_int_equal(text.len, strlen(wanted));
    assert_memory_equal(text.base, wanted, text.len);
}

static void headers_become_the_conditions_of_the_function(void **state)
{
    static const struct {
        const char *match, *none, *wanted; /* wanted NULL: malformed */
    } rows[] = {
        {NULL, NULL, ""},
        {"*", NULL, "none 0"},
        {NULL, " * ", "match 0"},
        {"\"17\"", NULL, "match 17"},
        {"\"1\", \"2\",,\t\"3\" ,", NULL, "match 1 2 3"},
        {"W/\"1\", \"2\"", NULL, "match 2"},
        {NULL, "W/\"1\", \"2\"", "none 1 2"},
        {"\"0\", \"01\", \"x,y\", \"\", \"99999999999999999999\"", NULL, "match"},
        {"\"1\", \"2\"", "\"2\"", "match 1"},
        {"\"1\"", "*", "match"},
        {"*", "\"5\"", "none 0 5"},
        {"*", "*", "match"},
        {"", NULL, "match"},
        {"1", NULL, NULL},
        {"\"1", NULL, NULL},
        {"\"", NULL, NULL},
        {"W/", NULL, NULL},
        {"w/\"1\"", NULL, NULL},
        {"\"1\" \"2\"", NULL, NULL},
        {"*, \"1\"", NULL, NULL},
        {"\"1\"", "x", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = {NULL, 0, 0};
        bool sound = etag_condition_of(str_of(rows[i].match), str_of(rows[i].none), &out);
        assert_int_equal(sound, rows[i].wanted != NULL);
        if (sound)
            assert_str(buf_str(&out), rows[i].wanted);
        buf_free(&out);
    }
}

static void more_versions_than_fit_are_refused(void **state)
{
    struct buf list = {NULL, 0, 0}, out = {NULL, 0, 0};
    (void)state;
    for (int i = 1; i <= ETAG_MOST; i++)
        buf_printf(&list, "\"%d\",", i);
    assert_true(etag_condition_of(buf_str(&list), str_of(NULL), &out));
    buf_printf(&list, "\"x\",W/\"7\"");
    assert_true(etag_condition_of(buf_str(&list), str_of(NULL), &out));
    buf_printf(&list, ",\"7\"");
    assert_false(etag_condition_of(buf_str(&list), str_of(NULL), &out));
    buf_free(&list);
    buf_free(&out);
}

static void a_line_is_a_change(void **state)
{
    static const struct {
        const char *line, *key, *type, *value, *condition;
        bool deletes;
    } rows[] = {
        {"{\"key\":\"a\",\"value\":\"t\\u00e4xt\"}", "a", "text/plain; charset=utf-8", "t\xc3\xa4xt", "", false},
        {"{\"key\":\"a/b c\",\"value\": {\"x\" : 1.50} }", "a/b c", "application/json", "{\"x\" : 1.50}", "", false},
        {"{\"value\":null,\"key\":\"a\",\"type\":\"x/y\"}", "a", "x/y", "null", "", false},
        {"{\"key\":\"a\",\"value_base64\":\"aGk=\"}", "a", "application/octet-stream", "hi", "", false},
        {"{\"key\":\"a\",\"value_base64\":\"\"}", "a", "application/octet-stream", "", "", false},
        {"{\"key\":\"a\",\"delete\":true,\"if_match\":7}", "a", "", "", "match 7", true},
        {"{\"key\":\"a\",\"value\":\"\",\"if_match\":\"\\\"7\\\", \\\"8\\\"\"}", "a", "text/plain; charset=utf-8", "",
         "match 7 8", false},
        {"{\"key\":\"a\",\"value\":0,\"if_none_match\":\"*\"}", "a", "application/json", "0", "match 0", false},
        {"{\"key\":\"a\",\"value\":0,\"if_match\":0}", "a", "application/json", "0", "match", false},
    };
    struct collection_item item = {.document = NULL};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(collection_item_read(&item, str_of(rows[i].line)), VERDICT_OK);
        assert_str(item.key, rows[i].key);
        assert_str(item.type, rows[i].type);
        assert_str(item.value, rows[i].value);
        assert_str(buf_str(&item.condition), rows[i].condition);
        assert_int_equal(item.deletes, rows[i].deletes);
    }
    collection_item_free(&item);
}

static void what_a_line_cannot_mean_is_refused(void **state)
{
    static const struct {
        enum verdict verdict;
        const char *line;
    } rows[] = {
        {VERDICT_BAD_JSON, "{\"key\":\"a\""},
        {VERDICT_BAD_JSON, "[]"},
        {VERDICT_BAD_JSON, "{\"key\":\"a\",\"value\":1,\"value\":2}"},
        {VERDICT_BAD_JSON, "{\"key\":\"\xff\",\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":1,\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"\",\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\\u0000\",\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a/../b\",\"value\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\"}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"delete\":true}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"delete\":false}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"delete\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value_base64\":\"a\"}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value_base64\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"v\\u0061lue\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"If-Match\":1}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"if_match\":null}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"if_match\":[7]}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"if_match\":\"7\"}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"type\":\"\"}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"type\":\"a/b\\n\"}"},
        {VERDICT_BAD_REQUEST, "{\"key\":\"a\",\"value\":1,\"type\":1}"},
    };
    struct collection_item item = {.document = NULL};
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(collection_item_read(&item, str_of(rows[i].line)), rows[i].verdict);
        assert_true(item.fault[0] != '\0');
    }
    collection_item_free(&item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_become_the_conditions_of_the_function),
        cmocka_unit_test(more_versions_than_fit_are_refused),
        cmocka_unit_test(a_line_is_a_change),
        cmocka_unit_test(what_a_line_cannot_mean_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
