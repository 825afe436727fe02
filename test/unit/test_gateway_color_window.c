/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/color_window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "gateway/colors.h"

#define SECOND ((uint64_t)1000000)

static struct ramp_figures recent(const struct color_window *window, const struct unit *unit, enum color color)
{
    struct color_totals totals = {0};
    color_window_recent(window, unit, color, &totals);
    return color_totals_figures(&totals);
}

static void it_counts_from_the_reset_and_by_color(void **state)
{
    (void)state;
    struct unit unit = {.id = 0};
    struct color_window window;
    colors_count(&unit, COLOR_GREEN, true, 100);
    color_window_reset(&window, &unit, SECOND);
    assert_int_equal(recent(&window, &unit, COLOR_GREEN).requests, 0);
    for (int i = 0; i < 10; i++)
        colors_count(&unit, COLOR_GREEN, i == 0, 2000);
    colors_count_broken(&unit, COLOR_GREEN);
    struct ramp_figures green = recent(&window, &unit, COLOR_GREEN);
    assert_int_equal(green.requests, 10);
    assert_int_equal(green.failed, 2);
    assert_in_range(green.latency_us, 1700, 2400);
    assert_int_equal(recent(&window, &unit, COLOR_BLUE).requests, 0);
    assert_int_equal(color_window_answered(&window, &unit, COLOR_GREEN), 10);
}

static void what_is_older_than_the_window_is_forgotten_but_for_the_step(void **state)
{
    (void)state;
    struct unit unit = {.id = 0};
    struct color_window window;
    uint64_t now_us = SECOND;
    color_window_reset(&window, &unit, now_us);
    for (unsigned pane = 0; pane < 25; pane++) {
        unsigned whole = pane < COLOR_WINDOW_PANES ? pane : COLOR_WINDOW_PANES;
        for (int i = 0; i < 4; i++)
            colors_count(&unit, COLOR_BLUE, false, 50);
        assert_int_equal(recent(&window, &unit, COLOR_BLUE).requests, 4 * (whole + 1));
        color_window_sample(&window, &unit, now_us + SECOND / 2); /* too early for another pane */
        color_window_sample(&window, &unit, now_us += SECOND);
    }
    assert_int_equal(color_window_answered(&window, &unit, COLOR_BLUE), 100);
}

static void totals_of_two_gateways_add_up_by_way_of_json(void **state)
{
    (void)state;
    struct unit unit = {.id = 0};
    struct color_window window;
    struct color_totals one = {0}, both = {0};
    color_window_reset(&window, &unit, SECOND);
    for (int i = 0; i < 90; i++)
        colors_count(&unit, COLOR_GREEN, i < 9, 1000);
    for (int i = 0; i < 10; i++)
        colors_count(&unit, COLOR_GREEN, false, 500000);
    stat_set(&unit.tallies[COLOR_GREEN].delivered, 7);
    stat_set(&unit.tallies[COLOR_GREEN].undelivered, 3);
    color_window_recent(&window, &unit, COLOR_GREEN, &one);
    color_window_recent(&window, &unit, COLOR_GREEN, &both);
    json_t *json = color_totals_to_json(&one);
    assert_int_equal(json_integer_value(json_object_get(json, "deliveries_failed")), 3);
    color_totals_add_json(&both, json);
    json_decref(json);
    struct ramp_figures figures = color_totals_figures(&both);
    assert_int_equal(figures.requests, 207); /* every gateway hears of the same deliveries */
    assert_int_equal(figures.failed, 21);
    assert_int_equal(figures.timed, 200);
    assert_int_equal(figures.latency_us, color_totals_figures(&one).latency_us);
}

static void nonsense_of_a_peer_adds_nothing(void **state)
{
    (void)state;
    struct color_totals totals = {0};
    json_t *json = json_loads("{\"failed\":-4,\"buckets\":[[-1,5],[100000,5],[3,-5],[\"x\"],7,[]]}", 0, NULL);
    assert_non_null(json);
    color_totals_add_json(&totals, json);
    color_totals_add_json(&totals, NULL);
    json_decref(json);
    assert_int_equal(color_totals_figures(&totals).requests + color_totals_figures(&totals).failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_counts_from_the_reset_and_by_color),
        cmocka_unit_test(what_is_older_than_the_window_is_forgotten_but_for_the_step),
        cmocka_unit_test(totals_of_two_gateways_add_up_by_way_of_json),
        cmocka_unit_test(nonsense_of_a_peer_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
