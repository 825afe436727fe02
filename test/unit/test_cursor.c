/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/cursor.h"

static const struct str absent = {NULL, 0};

static void stream_ids_are_read_and_written(void **state)
{
    (void)state;
    struct stream_id id;
    char text[STREAM_ID_TEXT];
    assert_true(stream_id_parse(STR_LIT("1700000000000-7"), &id));
    assert_int_equal(id.ms, 1700000000000);
    assert_int_equal(id.seq, 7);
    assert_true(stream_id_parse(STR_LIT("5"), &id));
    assert_int_equal(id.seq, 0);
    assert_int_equal(stream_id_format(text, (struct stream_id){UINT64_MAX, UINT64_MAX}), STREAM_ID_TEXT - 1);
    assert_string_equal(text, "18446744073709551615-18446744073709551615");
    for (const char *const *bad =
             (const char *const[]){"", "-", "1-", "-1", "1-2-3", "a", "1-x", "+1", "18446744073709551616", NULL};
         *bad != NULL; bad++)
        assert_false(stream_id_parse(str_of(*bad), &id));
}

static void an_absent_cursor_stands_at_the_beginning(void **state)
{
    (void)state;
    struct cursor cursor;
    assert_true(cursor_decode(absent, absent, absent, &cursor));
    assert_int_equal(cursor.passed, 0);
    assert_false(cursor_covers(&cursor, (struct stream_id){0, 1}));
    assert_true(cursor_covers(&cursor, (struct stream_id){0, 0}));
    cursor_free(&cursor);
}

static void the_documented_example_means_what_it_says(void **state)
{
    (void)state;
    struct cursor cursor;
    assert_true(cursor_decode(STR_LIT("1000-3"), STR_LIT("0-5:2,7-1"), STR_LIT("44"), &cursor));
    static const struct {
        struct stream_id id;
        bool covered;
    } cases[] = {
        {{999, 9}, true},   {{1000, 3}, true},  {{1000, 4}, false}, {{1000, 5}, true},
        {{1001, 77}, true}, {{1002, 0}, true},  {{1002, 1}, false}, {{1009, 0}, false},
        {{1009, 1}, true},  {{1009, 2}, false}, {{2000, 0}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(cursor_covers(&cursor, cases[i].id), cases[i].covered);
    assert_int_equal(cursor.passed, 44);
    cursor_free(&cursor);
}

static void ranges_survive_the_way_there_and_back(void **state)
{
    (void)state;
    const struct cursor_range ranges[] = {{{1000, 4}, {1000, 4}},
                                          {{1000, 9}, {1001, 0}},
                                          {{1001, 1}, {1001, 2}},
                                          {{9000000000000, 0}, {UINT64_MAX, UINT64_MAX}}};
    struct buf text = {0};
    struct stream_id before = {1000, 3};
    for (size_t i = 0; i < 4; i++)
        cursor_append_range(&text, &before, ranges[i]);
    struct cursor cursor;
    assert_true(cursor_decode(STR_LIT("1000-3"), buf_str(&text), absent, &cursor));
    assert_int_equal(cursor.done_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(stream_id_compare(cursor.done[i].first, ranges[i].first), 0);
        assert_int_equal(stream_id_compare(cursor.done[i].last, ranges[i].last), 0);
    }
    cursor_free(&cursor);
    buf_free(&text);
}

static void what_is_out_of_order_or_malformed_is_refused(void **state)
{
    (void)state;
    struct cursor cursor;
    for (const char *const *bad = (const char *const[]){"0-3", "0-2", "1:0", "5,0", "5:1,0-0", ",", "1,", "1:2:3", "x",
                                                        "1 2", "18446744073709551615", "5:", ":5", NULL};
         *bad != NULL; bad++)
        if (cursor_decode(STR_LIT("1000-3"), str_of(*bad), absent, &cursor))
            fail_msg("%s was taken", *bad);
    assert_false(cursor_decode(STR_LIT("x"), absent, absent, &cursor));
    assert_false(cursor_decode(STR_LIT("1-1"), absent, STR_LIT("-1"), &cursor));
}

static void what_lies_beyond_the_streams_end_is_forgotten(void **state)
{
    (void)state;
    static const struct {
        struct stream_id last;
        bool beyond;
        size_t ranges;
        struct stream_id watermark, end;
    } cases[] = {
        {{1009, 1}, false, 2, {1000, 3}, {1009, 1}}, {{1009, 0}, true, 1, {1000, 3}, {1002, 0}},
        {{1001, 7}, true, 1, {1000, 3}, {1001, 7}},  {{1000, 5}, true, 1, {1000, 3}, {1000, 5}},
        {{1000, 4}, true, 0, {1000, 3}, {0, 0}},     {{500, 0}, true, 0, {500, 0}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cursor cursor;
        assert_true(cursor_decode(STR_LIT("1000-3"), STR_LIT("0-5:2,7-1"), STR_LIT("44"), &cursor));
        assert_int_equal(cursor_clip(&cursor, cases[i].last), cases[i].beyond);
        assert_int_equal(cursor.done_count, cases[i].ranges);
        assert_int_equal(stream_id_compare(cursor.watermark, cases[i].watermark), 0);
        if (cursor.done_count > 0)
            assert_int_equal(stream_id_compare(cursor.done[cursor.done_count - 1].last, cases[i].end), 0);
        cursor_free(&cursor);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_ids_are_read_and_written),
        cmocka_unit_test(an_absent_cursor_stands_at_the_beginning),
        cmocka_unit_test(the_documented_example_means_what_it_says),
        cmocka_unit_test(ranges_survive_the_way_there_and_back),
        cmocka_unit_test(what_is_out_of_order_or_malformed_is_refused),
        cmocka_unit_test(what_lies_beyond_the_streams_end_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
