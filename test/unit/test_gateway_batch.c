/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/batch_item.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define EVENT(rest) "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\",\"type\":\"paid\"" rest "}"

static void assert_str(struct str actual, const char *expected)
{
    if (!str_equal(actual, str_of(expected)) || (actual.base == NULL) != (expected == NULL))
        fail_msg("\"%.*s\", not \"%s\"", STR_ARG(actual), expected ? expected : "(none)");
}

/* The items of TEXT with bars between them, or the name of the verdict. */
static void assert_split(enum batch_format format, const char *text, const char *expected)
{
    struct batch_slices slices = {NULL, 0, 0};
    struct buf out = {NULL, 0, 0};
    const char *fault = NULL;
    enum verdict verdict = batch_split(format, str_of(text), 3, &slices, &fault);
    assert_int_equal(verdict == VERDICT_OK, fault == NULL);
    buf_printf(&out, "%s", verdict == VERDICT_OK ? "" : verdict_info(verdict)->name);
    for (size_t i = 0; verdict == VERDICT_OK && i < slices.count; i++)
        buf_printf(&out, "%s%.*s", i > 0 ? "|" : "", STR_ARG(slices.items[i]));
    if (!str_equal(buf_str(&out), str_of(expected)))
        fail_msg("%s: %.*s, not %s", text, STR_ARG(buf_str(&out)), expected);
    free(slices.items);
    buf_free(&out);
}

static void content_types_say_what_a_batch_is(void **state)
{
    (void)state;
    assert_int_equal(batch_format(STR_LIT("application/cloudevents-batch+json")), BATCH_EVENTS);
    assert_int_equal(batch_format(STR_LIT("Application/CloudEvents-Batch+JSON ; charset=utf-8")), BATCH_EVENTS);
    assert_int_equal(batch_format(STR_LIT("application/x-ndjson")), BATCH_LINES);
    assert_int_equal(batch_format(STR_LIT("application/cloudevents+json")), BATCH_NONE);
    assert_int_equal(batch_format(STR_LIT("application/json")), BATCH_NONE);
    assert_int_equal(batch_format(STR_LIT("")), BATCH_NONE);
    assert_int_equal(batch_format((struct str){NULL, 0}), BATCH_NONE);
}

static void arrays_are_cut_at_their_own_commas(void **state)
{
    (void)state;
    assert_split(BATCH_EVENTS, "[]", "");
    assert_split(BATCH_EVENTS, " [ ]\r\n", "");
    assert_split(BATCH_EVENTS, "[{}]", "{}");
    assert_split(BATCH_EVENTS, "[ {\"a\":[1,{\"b\":2}]} ,\n{\"c\":\"],}\\\"\"}, 5 ]",
                 "{\"a\":[1,{\"b\":2}]}|{\"c\":\"],}\\\"\"}|5");
    assert_split(BATCH_EVENTS, "[1,2,3]", "1|2|3");
    assert_split(BATCH_EVENTS, "[{\"a\" \"b\"},2]", "{\"a\" \"b\"}|2");
}

static void what_is_no_array_is_refused_whole(void **state)
{
    static const char *const texts[] = {"",     "{}",    "x",     "[",   "[1",      "[1,",   "[1,]",     "[,1]",
                                        "[1]]", "[1] 2", "[1 2]", "[{]", "[\"",     "[\"\\", "[\"\\\"]", "[}]",
                                        "[1}",  "[[1]",  ",",     "[]]", "[{\"a\"", " ",     "[1,,2]",   "[:]]"};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_split(BATCH_EVENTS, texts[i], "bad-json");
}

static void lines_are_cut_at_line_ends_and_empty_ones_do_not_count(void **state)
{
    (void)state;
    assert_split(BATCH_LINES, "", "");
    assert_split(BATCH_LINES, "\n\r\n \t\n", "");
    assert_split(BATCH_LINES, "{\"a\":1}", "{\"a\":1}");
    assert_split(BATCH_LINES, "{\"a\":1}\r\n\n  [2] \nx", "{\"a\":1}|[2]|x");
}

static void more_items_than_allowed_are_too_much(void **state)
{
    (void)state;
    assert_split(BATCH_EVENTS, "[1,2,3,4]", "body-too-large");
    assert_split(BATCH_LINES, "1\n2\n3\n4", "body-too-large");
    assert_split(BATCH_LINES, "1\n2\n3\n\n", "1|2|3");
}

static void members_come_out_as_they_were_written(void **state)
{
    struct str object = STR_LIT("{ \"a\" : {\"data\":1} , \"data\" : 1.50e+01, \"b\\\"\":\"x\",\"s\":\"}\\\"\" }");
    (void)state;
    assert_str(batch_member(object, STR_LIT("data")), "1.50e+01");
    assert_str(batch_member(object, STR_LIT("a")), "{\"data\":1}");
    assert_str(batch_member(object, STR_LIT("s")), "\"}\\\"\"");
    assert_str(batch_member(object, STR_LIT("c")), NULL);
    assert_str(batch_member(STR_LIT("{}"), STR_LIT("c")), NULL);
}

static void base64_is_decoded_strictly(void **state)
{
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "Z===", "Zm9v\n", "Zm-_", "Zg==Zg=="};
    struct buf out = {NULL, 0, 0};
    (void)state;
    assert_true(batch_decode_base64(STR_LIT("Zg==Zm8=Zm9v"), &out) == false);
    out.len = 0;
    assert_true(batch_decode_base64(STR_LIT("Zg=="), &out));
    assert_true(batch_decode_base64(STR_LIT("Zm8="), &out));
    assert_true(batch_decode_base64(STR_LIT("Zm9v"), &out));
    assert_true(batch_decode_base64(STR_LIT(""), &out));
    assert_true(batch_decode_base64(STR_LIT("+/+/AP8="), &out));
    assert_int_equal(out.len, 11);
    assert_memory_equal(out.base, "ffofoo\xfb\xff\xbf\x00\xff", 11);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (batch_decode_base64(str_of(bad[i]), &out))
            fail_msg("%s is taken for base64", bad[i]);
    buf_free(&out);
}

static void a_line_is_its_own_body(void **state)
{
    struct batch_item item = {.json = NULL};
    (void)state;
    assert_int_equal(batch_item_read(&item, BATCH_LINES, STR_LIT("{\"n\": 1.10}")), VERDICT_OK);
    assert_str(item.body, "{\"n\": 1.10}");
    assert_str(item.headers, "content-type: application/json\n");
    assert_str(item.event, NULL);
    assert_non_null(item.json);
    assert_int_equal(batch_item_read(&item, BATCH_LINES, STR_LIT("{\"n\": }")), VERDICT_BAD_JSON);
    assert_non_null(strstr(item.fault, "line 1, column"));
    assert_int_equal(batch_item_read(&item, BATCH_LINES, STR_LIT("{\"n\":1,\"n\":2}")), VERDICT_BAD_JSON);
    assert_int_equal(batch_item_read(&item, BATCH_LINES, STR_LIT("\"text\"")), VERDICT_OK);
    batch_item_free(&item);
}

static void an_event_becomes_a_body_with_headers(void **state)
{
    struct batch_item item = {.json = NULL};
    (void)state;
    assert_int_equal(
        batch_item_read(&item, BATCH_EVENTS,
                        STR_LIT(EVENT(",\"subject\":\"J\xc3\xbcrg\",\"traced\":true,\"count\":3,\"gone\":null,"
                                      "\"data\": {\"n\": 1.10}"))),
        VERDICT_OK);
    assert_str(item.body, "{\"n\": 1.10}");
    assert_str(item.headers, "content-type: application/json\nce-specversion: 1.0\nce-id: 7\nce-source: /shop\n"
                             "ce-type: paid\nce-subject: J%C3%BCrg\nce-traced: true\nce-count: 3\n");
    assert_str(item.subject, "J\xc3\xbcrg");
    assert_str(item.event, "/shop 7");
    assert_true(json_is_object(item.json));
    batch_item_free(&item);
}

/* What TEXT's body and content type come out as. */
static void assert_payload(struct str text, const char *body, const char *type)
{
    struct batch_item item = {.json = NULL};
    assert_int_equal(batch_item_read(&item, BATCH_EVENTS, text), VERDICT_OK);
    assert_str(item.body, body);
    struct str lines = item.headers, line;
    bool typed = false;
    while (str_next(&lines, '\n', &line))
        if (str_starts(line, STR_LIT("content-type: "))) {
            assert_str(line, type);
            typed = true;
        }
    assert_int_equal(typed, type != NULL);
    batch_item_free(&item);
}

static void data_is_passed_on_in_its_own_type(void **state)
{
    (void)state;
    assert_payload(STR_LIT(EVENT("")), "", NULL);
    assert_payload(STR_LIT(EVENT(",\"data\":null")), "null", "content-type: application/json");
    assert_payload(STR_LIT(EVENT(",\"data\":\"text\"")), "\"text\"", "content-type: application/json");
    assert_payload(STR_LIT(EVENT(",\"data\":\"a\\nb\",\"datacontenttype\":\"text/plain\"")), "a\nb",
                   "content-type: text/plain");
    assert_payload(STR_LIT(EVENT(",\"data\":{\"a\":1},\"datacontenttype\":\"text/plain\"")), "{\"a\":1}",
                   "content-type: text/plain");
    assert_payload(STR_LIT(EVENT(",\"data\":\"x\",\"datacontenttype\":\"application/vnd.x+json; v=1\"")), "\"x\"",
                   "content-type: application/vnd.x+json; v=1");
    assert_payload(STR_LIT(EVENT(",\"data_base64\":\"Zm9v\",\"datacontenttype\":\"image/png\"")), "foo",
                   "content-type: image/png");
}

static void what_is_no_event_is_refused(void **state)
{
    static const char *const texts[] = {
        "[]",
        "5",
        "{}",
        "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/shop\"}",
        "{\"specversion\":\"0.3\",\"id\":\"7\",\"source\":\"/shop\",\"type\":\"paid\"}",
        "{\"specversion\":\"1.0\",\"id\":7,\"source\":\"/shop\",\"type\":\"paid\"}",
        "{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/shop\",\"type\":\"paid\"}",
        EVENT(",\"data\":1,\"data_base64\":\"Zm9v\""),
        EVENT(",\"data_base64\":\"Zm9\""),
        EVENT(",\"data_base64\":{}"),
        EVENT(",\"d\\u0061ta\":1"),
        EVENT(",\"Upper\":\"x\""),
        EVENT(",\"with-dash\":\"x\""),
        EVENT(",\"\":\"x\""),
        EVENT(",\"list\":[1]"),
        EVENT(",\"real\":1.5"),
        EVENT(",\"datacontenttype\":\"a\\r\\nx: y\""),
        EVENT(",\"datacontenttype\":5"),
    };
    struct batch_item item = {.json = NULL};
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (batch_item_read(&item, BATCH_EVENTS, str_of(texts[i])) != VERDICT_BAD_REQUEST)
            fail_msg("%s is taken for an event", texts[i]);
        assert_true(item.fault[0] != '\0');
    }
    batch_item_free(&item);
}

static void no_attribute_breaks_out_of_its_header(void **state)
{
    struct batch_item item = {.json = NULL};
    (void)state;
    assert_int_equal(
        batch_item_read(&item, BATCH_EVENTS,
                        STR_LIT("{\"specversion\":\"1.0\",\"id\":\"a b\\nldc-user: 1\",\"source\":\"s %\\\"\","
                                "\"type\":\"t\\u0001\\u007f\"}")),
        VERDICT_OK);
    assert_str(item.headers, "ce-specversion: 1.0\nce-id: a%20b%0Aldc-user:%201\nce-source: s%20%25%22\n"
                             "ce-type: t%01%7F\n");
    assert_str(item.event, "s%20%25%22 a%20b%0Aldc-user:%201");
    batch_item_free(&item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_types_say_what_a_batch_is),
        cmocka_unit_test(arrays_are_cut_at_their_own_commas),
        cmocka_unit_test(what_is_no_array_is_refused_whole),
        cmocka_unit_test(lines_are_cut_at_line_ends_and_empty_ones_do_not_count),
        cmocka_unit_test(more_items_than_allowed_are_too_much),
        cmocka_unit_test(members_come_out_as_they_were_written),
        cmocka_unit_test(base64_is_decoded_strictly),
        cmocka_unit_test(a_line_is_its_own_body),
        cmocka_unit_test(an_event_becomes_a_body_with_headers),
        cmocka_unit_test(data_is_passed_on_in_its_own_type),
        cmocka_unit_test(what_is_no_event_is_refused),
        cmocka_unit_test(no_attribute_breaks_out_of_its_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
