/* SPDX-License-Identifier: Apache-2.0 */
#include "router/table_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static void patterns_match_whole_segments(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *path;
        bool matches;
    } rows[] = {
        {"/", "/", true},
        {"/", "/x", false},
        {"/pay", "/pay", true},
        {"/pay", "/pay/", false},
        {"/pay", "/payments", false},
        {"/pay/*", "/pay/1", true},
        {"/pay/*", "/pay/1/2", true},
        {"/pay/*", "/pay/", true},
        {"/pay/*", "/pay", false},
        {"/pay/*", "/payments/1", false},
        {"/*", "/", true},
        {"/*", "/a/b/c", true},
        {"/users/*/orders", "/users/7/orders", true},
        {"/users/*/orders", "/users//orders", false},
        {"/users/*/orders", "/users/7/8/orders", false},
        {"/users/*/orders", "/users/7/orders/1", false},
        {"/users/*/orders", "/users/7", false},
        {"/users/*/orders/*", "/users/7/orders/1/2", true},
        {"/users/*/orders/*", "/users/7/orders/", true},
        {"/users/*/orders/*", "/users/7/orders", false},
        {"/*/*/x", "/a/b/x", true},
        {"/*/*/x", "/a/x", false},
        {"/a/", "/a/", true},
        {"/a/", "/a", false},
        {"/a/*", "", false},
        {"/\xc3\xa4/*", "/\xc3\xa4/1", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pattern pattern;
        struct error err;
        assert_int_equal(pattern_parse(str_of(rows[i].pattern), &pattern, &err), 0);
        if (pattern_match(&pattern, str_of(rows[i].path)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].path);
    }
}

static void bad_patterns_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *why;
    } rows[] = {
        {"", "starts with a slash"},  {"pay", "starts with a slash"}, {"*", "starts with a slash"},
        {"/a?b", "no query"},         {"/a#b", "no query"},           {"/a\nb", "control character"},
        {"/a%20b", "decoded path"},   {"/a//b", "empty segments"},    {"//", "empty segments"},
        {"/a/../b", "dot segments"},  {"/.", "dot segments"},         {"/pay*", "whole segment"},
        {"/a/x*/b", "whole segment"}, {"/**", "whole segment"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pattern pattern;
        struct error err = {ERROR_NONE, ""};
        assert_int_equal(pattern_parse(str_of(rows[i].pattern), &pattern, &err), -1);
        if (strstr(err.text, rows[i].why) == NULL)
            fail_msg("%s: %s", rows[i].pattern, err.text);
    }
}

static const char *const segments[] = {"", "a", "b", "*"};

/* A path or pattern of up to three segments. */
static void spell(char *text, unsigned number, size_t choices)
{
    text[0] = '\0';
    size_t count = 1 + number % 3;
    number /= 3;
    for (size_t i = 0; i < count; i++, number /= (unsigned)choices) {
        const char *segment = segments[number % choices];
        /* only the last segment of a text may be empty */
        sprintf(text + strlen(text), "/%s", i + 1 < count && segment[0] == '\0' ? "a" : segment);
    }
}

static void a_pattern_covers_another_only_if_it_matches_all_of_its_paths(void **state)
{
    (void)state;
    for (unsigned outer = 0; outer < 192; outer++)
        for (unsigned inner = 0; inner < 192; inner++) {
            char texts[2][32];
            struct pattern patterns[2];
            struct error err;
            spell(texts[0], outer, 4);
            spell(texts[1], inner, 4);
            assert_int_equal(pattern_parse(str_of(texts[0]), &patterns[0], &err), 0);
            assert_int_equal(pattern_parse(str_of(texts[1]), &patterns[1], &err), 0);
            bool covers = pattern_covers(&patterns[0], &patterns[1]);
            bool counterexample = false;
            for (unsigned i = 0; i < 81; i++) {
                char path[40];
                spell(path, i, 3);
                for (int longer = 0; longer < 2; longer++) {
                    counterexample = counterexample || (pattern_match(&patterns[1], str_of(path)) &&
                                                        !pattern_match(&patterns[0], str_of(path)));
                    strcat(path, "/b");
                }
                strcat(path, "/q"); /* a segment that no pattern names */
                counterexample = counterexample || (pattern_match(&patterns[1], str_of(path)) &&
                                                    !pattern_match(&patterns[0], str_of(path)));
            }
            if (covers && counterexample)
                fail_msg("%s does not cover %s", texts[0], texts[1]);
        }
}

static void a_pattern_covers_itself_and_what_is_narrower(void **state)
{
    (void)state;
    static const struct {
        const char *outer, *inner;
        bool covers;
    } rows[] = {
        {"/a", "/a", true},      {"/*", "/a/b", true},       {"/a/*", "/a/b/*", true},  {"/a/*", "/a/", true},
        {"/*/b", "/a/b", true},  {"/*/b/*", "/*/b/*", true}, {"/a/*", "/a", false},     {"/a/*", "/b/*", false},
        {"/*/b", "/*/*", false}, {"/a/b", "/a/*", false},    {"/a/b/*", "/a/*", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pattern outer, inner;
        struct error err;
        assert_int_equal(pattern_parse(str_of(rows[i].outer), &outer, &err), 0);
        assert_int_equal(pattern_parse(str_of(rows[i].inner), &inner, &err), 0);
        if (pattern_covers(&outer, &inner) != rows[i].covers)
            fail_msg("%s, %s", rows[i].outer, rows[i].inner);
    }
}

static struct str nth_user(char text[32], uint32_t i)
{
    return (struct str){text, (size_t)snprintf(text, 32, "user-%u", i)};
}

static void names_are_found_with_what_was_added_and_no_others(void **state)
{
    (void)state;
    enum { ADDED = 50000 };
    struct name_map map = {0};
    struct name_index index = {0};
    char text[32];
    for (uint32_t i = 0; i < ADDED; i++)
        assert_int_equal(name_map_add(&map, nth_user(text, i), (uint16_t)(i % 1000), i + 1), 0);
    assert_int_equal(name_map_add(&map, STR_LIT("user-77"), 5, 99999), 78);
    name_index_build(&index, &map);
    for (uint32_t i = 0; i < ADDED + 10000; i++) {
        const struct name_record *record = name_index_find(&index, nth_user(text, i));
        assert_int_equal(record != NULL, i < ADDED);
        assert_int_equal(name_map_find(&map, nth_user(text, i)) != NULL, i < ADDED);
        if (record != NULL) {
            assert_int_equal(record->line, i + 1);
            assert_int_equal(record->unit, i % 1000);
        }
    }
    assert_true(name_index_bytes(&index) / ADDED <= 40);
    name_map_free(&map);
    name_index_free(&index);
}

static void note_record(void *arg, const struct name_record *record)
{
    bool *seen = arg;
    assert_false(seen[record->line]);
    seen[record->line] = true;
}

static void names_are_gone_through_once_each(void **state)
{
    (void)state;
    struct name_map map = {0};
    struct name_index index = {0};
    bool seen[3000] = {false};
    char text[32];
    for (uint32_t i = 0; i < 3000; i++)
        name_map_add(&map, nth_user(text, i), 0, i);
    name_index_build(&index, &map);
    uint32_t line = 0;
    for (const struct name_record *record = NULL; (record = name_map_next(&map, record)) != NULL;)
        assert_int_equal(record->line, line++);
    assert_int_equal(line, 3000);
    name_index_each(&index, note_record, seen);
    for (uint32_t i = 0; i < 3000; i++)
        assert_true(seen[i]);
    name_map_free(&map);
    name_index_free(&index);
}

static void no_names_are_an_index_too(void **state)
{
    (void)state;
    struct name_map map = {0};
    struct name_index index = {0};
    assert_null(name_map_find(&map, STR_LIT("x")));
    assert_null(name_map_next(&map, NULL));
    name_index_build(&index, &map);
    assert_null(name_index_find(&index, STR_LIT("x")));
    assert_int_equal(name_index_bytes(&index), 0);
    name_index_free(&index);
}

/* Few names and lengths that fill lines badly, over and over: building must end, and find them all. */
static void names_of_all_lengths_find_room(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (unsigned round = 0; round < 3000; round++) {
        struct name_map map = {0};
        struct name_index index = {0};
        char texts[40][24];
        size_t count = 1 + (size_t)rand_r(&seed) % 40, lens[40];
        for (size_t i = 0; i < count; i++) {
            lens[i] = 1 + (size_t)rand_r(&seed) % 24;
            for (size_t j = 0; j < lens[i]; j++)
                texts[i][j] = (char)rand_r(&seed);
            name_map_add(&map, (struct str){texts[i], lens[i]}, (uint16_t)i, 1);
        }
        name_index_build(&index, &map);
        for (size_t i = 0; i < count; i++)
            assert_non_null(name_index_find(&index, (struct str){texts[i], lens[i]}));
        name_map_free(&map);
        name_index_free(&index);
    }
}

static void names_are_any_bytes_of_any_length(void **state)
{
    (void)state;
    struct name_map map = {0};
    struct name_index index = {0};
    char text[NAME_MAP_LONGEST + 1];
    memset(text, '\xff', sizeof(text));
    for (uint32_t len = 1; len <= NAME_MAP_LONGEST; len++)
        assert_int_equal(name_map_add(&map, (struct str){text, len}, 1, len), 0);
    name_index_build(&index, &map);
    for (uint32_t len = 1; len <= NAME_MAP_LONGEST; len++)
        assert_int_equal(name_index_find(&index, (struct str){text, len})->line, len);
    assert_null(name_index_find(&index, (struct str){text, NAME_MAP_LONGEST + 1}));
    name_map_free(&map);
    name_index_free(&index);
}

static unsigned count_green(struct table_unit *unit, uint32_t blue, uint32_t green, bool *was_green)
{
    unsigned count = 0;
    unit->weights[COLOR_BLUE] = blue;
    unit->weights[COLOR_GREEN] = green;
    for (unsigned i = 0; i < 20000; i++) {
        char user[16];
        int len = snprintf(user, sizeof(user), "%u", i);
        bool is_green = table_color(unit, (struct str){user, (size_t)len}) == COLOR_GREEN;
        if (was_green[i] && !is_green)
            fail_msg("user %u went back to blue at %u:%u", i, blue, green);
        was_green[i] = is_green;
        count += is_green;
    }
    return count;
}

static void raising_a_weight_only_adds_users(void **state)
{
    (void)state;
    struct table_unit unit = {.color_seed = 12345};
    bool *green = mem_calloc(20000, sizeof(bool));
    assert_int_equal(count_green(&unit, 100, 0, green), 0);
    for (uint32_t share = 1; share < 100; share++) {
        unsigned count = count_green(&unit, 100 - share, share, green);
        assert_true(count + 600 > 200 * share && count < 200 * share + 600);
        /* the same share in other numbers, and a share that is a little higher */
        assert_int_equal(count_green(&unit, 1000 - 10 * share, 10 * share, green), count);
        assert_true(count_green(&unit, 1000 - 10 * share, 10 * share + 1, green) >= count);
        memset(green, 0, 20000);
    }
    assert_int_equal(count_green(&unit, 0, 1, green), 20000);
    free(green);
}

static void growing_from_ten_to_twenty_keeps_all_who_were_green(void **state)
{
    (void)state;
    struct table_unit unit = {.color_seed = 99};
    bool *green = mem_calloc(20000, sizeof(bool));
    unsigned ten = count_green(&unit, 90, 10, green), twenty = count_green(&unit, 80, 20, green);
    assert_true(twenty > ten + 1000);
    free(green);
}

static void nobody_in_particular_gets_the_heavier_color(void **state)
{
    (void)state;
    struct table_unit unit = {.weights = {50, 51}};
    assert_int_equal(table_color(&unit, (struct str){NULL, 0}), COLOR_GREEN);
    unit.weights[COLOR_BLUE] = 51;
    assert_int_equal(table_color(&unit, (struct str){NULL, 0}), COLOR_BLUE);
}

static void partitions_follow_the_slot(void **state)
{
    (void)state;
    struct table_topic topic = {.partitions = 16};
    for (uint32_t slot = 0; slot < 100; slot++)
        assert_int_equal(table_partition(&topic, slot, STR_LIT("a")), table_partition(&topic, slot, STR_LIT("b")));
    unsigned used = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char user[16];
        int len = snprintf(user, sizeof(user), "vip-%u", i);
        uint32_t partition = table_partition(&topic, UINT32_MAX, (struct str){user, (size_t)len});
        assert_true(partition < 16);
        used |= 1u << partition;
    }
    assert_int_equal(used, 0xffff);
    assert_true(table_partition(&topic, UINT32_MAX, (struct str){NULL, 0}) < 16);
}

static void a_table_lives_until_its_last_reference(void **state)
{
    (void)state;
    struct table *table = table_create(), *other = table;
    table_seal(table);
    assert_true(table->bytes > 0);
    table_ref(table);
    table_unref(&table);
    assert_null(table);
    assert_int_equal(other->core_unit, NO_UNIT);
    table_unref(&other);
    table_unref(&other);
    assert_null(other);
}

static void core_units_of_three_brokers_accept_by_quorum(void **state)
{
    (void)state;
    struct table_unit unit = {.kind = ZONE_CORE};
    static const unsigned majorities[] = {1, 1, 2, 2, 3, 3};
    for (unit.broker_count = 0; unit.broker_count < 6; unit.broker_count++) {
        assert_int_equal(table_unit_majority(&unit), majorities[unit.broker_count]);
        assert_int_equal(table_unit_by_quorum(&unit), unit.broker_count >= 3);
    }
    unit.kind = ZONE_A;
    assert_false(table_unit_by_quorum(&unit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_whole_segments),
        cmocka_unit_test(bad_patterns_are_refused_with_the_reason),
        cmocka_unit_test(a_pattern_covers_another_only_if_it_matches_all_of_its_paths),
        cmocka_unit_test(a_pattern_covers_itself_and_what_is_narrower),
        cmocka_unit_test(names_are_found_with_what_was_added_and_no_others),
        cmocka_unit_test(names_are_gone_through_once_each),
        cmocka_unit_test(no_names_are_an_index_too),
        cmocka_unit_test(names_of_all_lengths_find_room),
        cmocka_unit_test(names_are_any_bytes_of_any_length),
        cmocka_unit_test(raising_a_weight_only_adds_users),
        cmocka_unit_test(growing_from_ten_to_twenty_keeps_all_who_were_green),
        cmocka_unit_test(nobody_in_particular_gets_the_heavier_color),
        cmocka_unit_test(partitions_follow_the_slot),
        cmocka_unit_test(a_table_lives_until_its_last_reference),
        cmocka_unit_test(core_units_of_three_brokers_accept_by_quorum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
