/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/json_text.h"

static void assert_json(const char *text, size_t len, const char *expected)
{
    struct buf out = {NULL, 0, 0};
    json_append_text(&out, (struct str){text, len});
    assert_string_equal(out.base, expected);
    json_t *parsed = json_loads(out.base, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(parsed);
    json_decref(parsed);
    buf_free(&out);
}

static void texts_are_escaped_for_json(void **state)
{
    (void)state;
    assert_json("", 0, "\"\"");
    assert_json("plain", 5, "\"plain\"");
    assert_json("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    assert_json("\b\f\n\r\t\x01\x7f", 7, "\"\\b\\f\\n\\r\\t\\u0001\\u007f\"");
    assert_json("a\0b", 3, "\"a\\u0000b\"");
    assert_json("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10, "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

static void malformed_utf8_is_replaced(void **state)
{
    (void)state;
    assert_json("a\xff"
                "b",
                3,
                "\"a\xef\xbf\xbd"
                "b\"");
    assert_json("\xc3", 1, "\"\xef\xbf\xbd\"");
    assert_json("\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void times_are_written_in_utc(void **state)
{
    (void)state;
    char text[CLOCK_UTC_SIZE];
    clock_format_utc(1769866620123456, text);
    assert_string_equal(text, "2026-01-31T13:37:00.123456Z");
    clock_format_utc(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
}

static size_t captured(char *text, size_t size, enum log_level most)
{
    int ends[2], kept = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_setup("test", most);
    log_error("thing.broke", "a \"quoted\" %d\nword", 7);
    log_debug("thing.seen", "not at this level");
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t got = read(ends[0], text, size - 1);
    close(ends[0]);
    text[got > 0 ? got : 0] = '\0';
    return got > 0 ? (size_t)got : 0;
}

static void an_event_is_one_json_line_and_levels_filter(void **state)
{
    (void)state;
    char text[2000];
    assert_true(captured(text, sizeof(text), LOG_LEVEL_INFO) > 0);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    json_t *line = json_loads(text, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(line, "program")), "test");
    assert_string_equal(json_string_value(json_object_get(line, "event")), "thing.broke");
    assert_string_equal(json_string_value(json_object_get(line, "text")), "a \"quoted\" 7\nword");
    json_decref(line);
}

static void level_names_are_known(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("warning", &level));
    assert_int_equal(level, LOG_LEVEL_WARNING);
    assert_false(log_level_parse("loud", &level));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_escaped_for_json), cmocka_unit_test(malformed_utf8_is_replaced),
        cmocka_unit_test(times_are_written_in_utc),   cmocka_unit_test(an_event_is_one_json_line_and_levels_filter),
        cmocka_unit_test(level_names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
