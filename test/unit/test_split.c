/* SPDX-License-Identifier: Apache-2.0 */
#include "router/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define USERS 5000

static const struct table_unit unit = {.nodes = {{.count = 1}, {.count = 1}}, .weights = {90, 10}, .color_seed = 4711};

static void expect(const struct split_override *override, uint32_t blue, uint32_t green)
{
    struct split split = split_make(&unit, override);
    assert_int_equal(split.weights[COLOR_BLUE], blue);
    assert_int_equal(split.weights[COLOR_GREEN], green);
}

static enum color color_of(const struct split *split, unsigned user)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "u%u", user);
    return split_color(split, (struct str){text, (size_t)len});
}

static void the_rules_hold_where_nothing_stands_against_them(void **state)
{
    (void)state;
    struct split_override none = {.salt = {"", 0}};
    struct split split = split_make(&unit, &none);
    expect(&none, 90, 10);
    for (unsigned user = 0; user < USERS; user++) {
        char text[16];
        int len = snprintf(text, sizeof(text), "u%u", user);
        assert_int_equal(color_of(&split, user), table_color(&unit, (struct str){text, (size_t)len}));
    }
}

static void weights_of_a_record_override_them_and_only_add_users(void **state)
{
    (void)state;
    struct split before = split_make(&unit, &(struct split_override){.weights = {0, 0}});
    struct split after = split_make(&unit, &(struct split_override){.weights = {7, 3}});
    unsigned joined = 0;
    expect(&(struct split_override){.weights = {7, 3}}, 7, 3);
    for (unsigned user = 0; user < USERS; user++) {
        if (color_of(&before, user) == COLOR_GREEN)
            assert_int_equal(color_of(&after, user), COLOR_GREEN);
        else
            joined += color_of(&after, user) == COLOR_GREEN;
    }
    assert_in_range(joined, USERS / 7, USERS / 4);
}

static void a_salt_draws_others(void **state)
{
    (void)state;
    struct split plain = split_make(&unit, &(struct split_override){.weights = {50, 50}});
    struct split salted = split_make(&unit, &(struct split_override){.weights = {50, 50}, .salt = STR_LIT("june")});
    unsigned moved = 0;
    for (unsigned user = 0; user < USERS; user++)
        moved += color_of(&plain, user) != color_of(&salted, user);
    assert_in_range(moved, USERS * 4 / 10, USERS * 6 / 10);
}

static void a_color_that_is_away_takes_nobody_as_long_as_the_other_can(void **state)
{
    (void)state;
    expect(&(struct split_override){.away = {false, true}}, 90, 0);
    expect(&(struct split_override){.away = {true, false}}, 0, 10);
    expect(&(struct split_override){.away = {true, true}}, 90, 10);
    /* the other one has no weight: nobody asked it to take over */
    expect(&(struct split_override){.weights = {100, 0}, .away = {true, false}}, 100, 0);
    expect(&(struct split_override){.weights = {0, 100}, .away = {false, true}}, 0, 100);
}

static void a_color_without_nodes_takes_nobody_unless_no_color_has_any(void **state)
{
    (void)state;
    struct table_unit lone = unit, queue = unit;
    struct split_override half = {.weights = {50, 50}};
    lone.nodes[COLOR_GREEN].count = 0;
    queue.nodes[COLOR_BLUE].count = queue.nodes[COLOR_GREEN].count = 0;
    assert_int_equal(split_make(&lone, &half).weights[COLOR_GREEN], 0);
    assert_int_equal(split_make(&lone, &half).weights[COLOR_BLUE], 50);
    assert_int_equal(split_make(&queue, &half).weights[COLOR_GREEN], 50);
    half.weights[COLOR_BLUE] = 0; /* all on what is not there: nothing better is known */
    assert_int_equal(split_make(&lone, &half).weights[COLOR_GREEN], 50);
}

static void a_sick_color_goes_at_once_and_comes_back_when_it_was_clean_for_long(void **state)
{
    (void)state;
    struct color_health health = {false, 0};
    uint64_t t = 1000000;
    assert_false(color_health_note(&health, false, t));
    assert_true(color_health_note(&health, true, t));
    assert_true(health.away);
    assert_false(color_health_note(&health, true, t + 1));
    assert_false(color_health_note(&health, false, t + 2));
    assert_false(color_health_note(&health, false, t + 1 + SPLIT_CLEAN_US));
    assert_true(color_health_note(&health, false, t + 2 + SPLIT_CLEAN_US));
    assert_false(health.away);
}

static void a_relapse_starts_the_wait_anew(void **state)
{
    (void)state;
    struct color_health health = {false, 0};
    uint64_t t = 1000000;
    color_health_note(&health, true, t);
    color_health_note(&health, false, t + 1);
    color_health_note(&health, true, t + SPLIT_CLEAN_US / 2);
    color_health_note(&health, false, t + SPLIT_CLEAN_US);
    assert_false(color_health_note(&health, false, t + SPLIT_CLEAN_US * 2 - 1));
    assert_true(color_health_note(&health, false, t + SPLIT_CLEAN_US * 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rules_hold_where_nothing_stands_against_them),
        cmocka_unit_test(weights_of_a_record_override_them_and_only_add_users),
        cmocka_unit_test(a_salt_draws_others),
        cmocka_unit_test(a_color_that_is_away_takes_nobody_as_long_as_the_other_can),
        cmocka_unit_test(a_color_without_nodes_takes_nobody_unless_no_color_has_any),
        cmocka_unit_test(a_sick_color_goes_at_once_and_comes_back_when_it_was_clean_for_long),
        cmocka_unit_test(a_relapse_starts_the_wait_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
