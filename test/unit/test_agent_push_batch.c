/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "unit-agent/push_batch.h"

#define MOST_WORDS 64

/* What ldc1_c_changes says. */
struct answer {
    redisReply reply, words[MOST_WORDS];
    redisReply *list[MOST_WORDS];
};

struct scene {
    struct answer answer;
    struct push_cursor cursor;
    struct push_batch batch;
};

static void add(struct answer *answer, const char *text)
{
    size_t i = answer->reply.elements++;
    answer->words[i] = (redisReply){.type = REDIS_REPLY_STRING, .str = (char *)text, .len = strlen(text)};
    answer->list[i] = &answer->words[i];
}

static void begin(struct scene *scene, long long seq, const char *state, const char *from, const char *last)
{
    struct answer *answer = &scene->answer;
    answer->reply = (redisReply){.type = REDIS_REPLY_ARRAY, .element = answer->list};
    add(answer, "");
    answer->words[0] = (redisReply){.type = REDIS_REPLY_INTEGER, .integer = seq};
    const char *const words[] = {last, state, "7", from, "1769866620123456"};
    for (size_t i = 0; i < 5; i++)
        add(answer, words[i]);
}

static void change(struct scene *scene, const char *id, const char *op, const char *key, const char *version)
{
    const char *const words[] = {id, op, key, version, "2", "1769866620123456"};
    for (size_t i = 0; i < 6; i++)
        add(&scene->answer, words[i]);
}

static bool make(struct scene *scene)
{
    return push_batch_make(&scene->batch, &scene->answer.reply, &scene->cursor, STR_LIT("RZ01"), STR_LIT("rates"));
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    push_cursor_parse(&scene->cursor, STR_LIT("4-0 3 77"));
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    push_batch_free(&((struct scene *)*state)->batch);
    free(*state);
    return 0;
}

static void changes_become_events_in_their_order(void **state)
{
    struct scene *scene = *state;
    begin(scene, 5, "live", "3", "5-1");
    change(scene, "5-0", "put", "a\"b", "5");
    change(scene, "5-1", "repair", "c", "0");
    assert_true(make(scene));
    assert_int_equal(scene->batch.count, 2);
    assert_string_equal(
        scene->batch.body.base,
        "[\n{\"specversion\":\"1.0\",\"type\":\"ldcgate.collection.put\",\"source\":\"/units/RZ01/collections/rates\","
        "\"id\":\"5\",\"time\":\"2026-01-31T13:37:00.123456Z\",\"datacontenttype\":\"application/json\","
        "\"subject\":\"a\\\"b\",\"data\":{\"collection\":\"rates\",\"sequence\":5,\"key\":\"a\\\"b\",\"version\":5,"
        "\"was\":2}},\n"
        "{\"specversion\":\"1.0\",\"type\":\"ldcgate.collection.repair\",\"source\":\"/units/RZ01/collections/rates\","
        "\"id\":\"5-1\",\"time\":\"2026-01-31T13:37:00.123456Z\",\"datacontenttype\":\"application/json\","
        "\"subject\":\"c\",\"data\":{\"collection\":\"rates\",\"sequence\":5,\"key\":\"c\",\"version\":0,\"was\":2}}]"
        "\n");
    char text[PUSH_CURSOR];
    push_cursor_format(&scene->batch.next, text);
    assert_string_equal(text, "5-1 3 77");
}

static void beats_move_the_cursor_and_tell_nothing(void **state)
{
    struct scene *scene = *state;
    begin(scene, 4, "origin", "3", "4-17");
    assert_true(make(scene));
    assert_int_equal(scene->batch.count, 0);
    assert_int_equal(scene->batch.next.last.seq, 17);
}

static void is_reset_to(struct scene *scene, uint64_t seq)
{
    assert_true(make(scene));
    assert_int_equal(scene->batch.count, 1);
    assert_non_null(strstr(scene->batch.body.base, "ldcgate.collection.reset"));
    assert_null(strstr(scene->batch.body.base, "subject"));
    assert_true(scene->batch.next.last.ms == seq && scene->batch.next.last.seq == 0);
}

static void a_gap_is_a_reset(void **state)
{
    struct scene *scene = *state;
    begin(scene, 9, "live", "3", "6-0");
    change(scene, "6-0", "put", "a", "6");
    is_reset_to(scene, 9);
}

static void a_gap_within_is_a_reset(void **state)
{
    struct scene *scene = *state;
    begin(scene, 9, "live", "3", "7-0");
    change(scene, "5-0", "put", "a", "5");
    change(scene, "7-0", "put", "a", "7");
    is_reset_to(scene, 9);
}

static void a_log_that_is_gone_is_a_reset(void **state)
{
    begin(*state, 9, "live", "3", "4-0");
    is_reset_to(*state, 9);
}

/* The change itself is not there any more. */
static void a_beat_behind_a_change_that_was_not_told_is_a_reset(void **state)
{
    begin(*state, 5, "origin", "3", "5-17");
    is_reset_to(*state, 5);
}

static void a_copy_that_was_made_anew_is_a_reset(void **state)
{
    begin(*state, 4, "live", "4", "4-0");
    is_reset_to(*state, 4);
}

static void a_collection_that_went_back_is_a_reset(void **state)
{
    begin(*state, 2, "origin", "3", "4-0");
    is_reset_to(*state, 2);
}

static void the_first_word_is_a_reset(void **state)
{
    struct scene *scene = *state;
    push_cursor_parse(&scene->cursor, STR_LIT(""));
    assert_false(scene->cursor.set);
    begin(scene, 1, "origin", "", "1-0");
    change(scene, "1-0", "put", "a", "1");
    is_reset_to(scene, 1);
}

static void a_copy_that_is_not_whole_tells_nothing(void **state)
{
    begin(*state, 9, "copying", "3", "5-0");
    assert_false(make(*state));
}

static void what_is_no_answer_tells_nothing(void **state)
{
    struct scene *scene = *state;
    assert_false(push_batch_make(&scene->batch, NULL, &scene->cursor, STR_LIT("RZ01"), STR_LIT("rates")));
    begin(scene, 9, "live", "3", "5-0");
    add(&scene->answer, "5-0");
    assert_false(make(scene));
}

static void a_cursor_that_says_nothing_is_none(void **state)
{
    (void)state;
    const char *const texts[] = {"", "5-0", "5-0 x", "x 5 5", "5-0 5", "5-0 5 x", "5-0 5 5 5"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct push_cursor cursor;
        push_cursor_parse(&cursor, str_of(texts[i]));
        assert_false(cursor.set);
        assert_true(cursor.last.ms == 0 && cursor.last.seq == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(changes_become_events_in_their_order),
        TEST(beats_move_the_cursor_and_tell_nothing),
        TEST(a_gap_is_a_reset),
        TEST(a_gap_within_is_a_reset),
        TEST(a_log_that_is_gone_is_a_reset),
        TEST(a_beat_behind_a_change_that_was_not_told_is_a_reset),
        TEST(a_copy_that_was_made_anew_is_a_reset),
        TEST(a_collection_that_went_back_is_a_reset),
        TEST(the_first_word_is_a_reset),
        TEST(a_copy_that_is_not_whole_tells_nothing),
        TEST(what_is_no_answer_tells_nothing),
        TEST(a_cursor_that_says_nothing_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
