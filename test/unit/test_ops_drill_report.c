/* SPDX-License-Identifier: Apache-2.0
 *
 * test/golden/drill/failed.json is a run in which much went wrong, failed.table what the terminal shows of it. Run from
 * the project's folder.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/file.h"
#include "ops/drill_figures.h"
#include "ops/drill_report.h"
#include "ops/drill_svg.h"

static json_t *failed_run(void)
{
    json_error_t fault;
    json_t *report = json_load_file("test/golden/drill/failed.json", 0, &fault);
    assert_non_null(report);
    return report;
}

static char *page_of(const json_t *report)
{
    struct buf page = {0};
    drill_report_html(report, &page);
    return page.base;
}

static size_t times_in(const char *text, const char *what)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void the_terminal_sees_what_the_golden_table_says(void **state)
{
    (void)state;
    struct buf golden = {0}, table = {0};
    struct error err;
    json_t *report = failed_run();
    assert_int_equal(file_read("test/golden/drill/failed.table", 1 << 20, &golden, &err), 0);
    drill_report_table(report, &table);
    assert_string_equal(table.base, golden.base);
    buf_free(&table);
    buf_free(&golden);
    json_decref(report);
}

static void what_is_markup_in_a_text_is_text_in_the_page(void **state)
{
    (void)state;
    json_t *report = failed_run();
    json_object_set_new(report, "id", json_string("</title><script>alert('1')</script>\x01"));
    char *page = page_of(report);
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<b>now"));
    assert_null(strchr(page, '\x01'));
    assert_non_null(strstr(page, "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;?"));
    assert_non_null(strstr(page, "primary refused &amp; gone; votes 2 of 2"));
    assert_non_null(strstr(page, "What &quot;its users&quot; notice."));
    free(page);
    json_decref(report);
}

static void the_page_loads_nothing(void **state)
{
    (void)state;
    json_t *report = failed_run();
    char *page = page_of(report);
    static const char *const loaders[] = {" src=", " href=", "@import", "url(h", "<link", "<iframe", "<object"};
    for (size_t i = 0; i < sizeof(loaders) / sizeof(*loaders); i++)
        assert_null(strstr(page, loaders[i]));
    free(page);
    json_decref(report);
}

static void each_picture_has_a_title_and_each_lost_id_is_listed(void **state)
{
    (void)state;
    json_t *report = failed_run();
    char *page = page_of(report);
    /* Two timelines, the rounds, three latencies: of both units in the slowest round, of the target in the other. */
    assert_int_equal(times_in(page, "role=\"img\"><title>"), 6);
    assert_non_null(strstr(page, "<li>RZ01.payments.1</li>"));
    assert_non_null(strstr(page, "<li>RZ01.payments.2</li>"));
    assert_non_null(strstr(page, "<li>RZ01.payments.3, 2 times</li>"));
    assert_non_null(strstr(page, "The slowest round: 2"));
    free(page);
    json_decref(report);
}

static void a_report_that_says_nothing_makes_a_page_and_a_table(void **state)
{
    (void)state;
    json_t *report = json_object();
    struct buf table = {0};
    char *page = page_of(report);
    drill_report_table(report, &table);
    assert_non_null(strstr(page, "No round was run."));
    assert_non_null(strstr(page, "Not recorded."));
    assert_non_null(strstr(table.base, "proof: not recorded"));
    assert_null(strstr(page, "nan"));
    free(page);
    buf_free(&table);
    json_decref(report);
}

static void what_is_of_another_type_than_it_should_be_does_no_harm(void **state)
{
    (void)state;
    json_t *report = failed_run();
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(report, next, key, value) {
        json_t *odd = json_copy(report);
        json_object_set_new(odd, key, json_integer(7));
        free(page_of(odd));
        json_object_set_new(odd, key, json_pack("[i,[],{},n,s]", 1, "x"));
        free(page_of(odd));
        json_decref(odd);
    }
    json_decref(report);
}

static void a_spread_is_over_rounds_and_gateways(void **state)
{
    (void)state;
    json_t *report = failed_run();
    struct drill_spread all = drill_spread(report, "first_success_ms", NULL);
    struct drill_spread second = drill_spread(report, "decide_ms", "gw2");
    assert_int_equal(all.count, 3);
    assert_true(all.p50 == 20.5 && all.max == 23.0);
    assert_int_equal(second.count, 0);
    assert_true(isnan(second.p50));
    assert_int_equal(drill_worst_round(report), 1);
    assert_int_equal(drill_failed_elsewhere(report), 0);
    json_decref(report);
}

static void an_axis_has_some_ten_marks_at_round_figures(void **state)
{
    (void)state;
    static const double spans[] = {0.02, 1, 7, 38, 100, 4321, 2e6};
    for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
        struct drill_axis axis = drill_axis(0, spans[i]);
        assert_true(spans[i] / axis.step >= 3 && spans[i] / axis.step <= 9);
        assert_true(drill_axis_x(&axis, 0) == DRILL_SVG_LEFT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_terminal_sees_what_the_golden_table_says),
        cmocka_unit_test(what_is_markup_in_a_text_is_text_in_the_page),
        cmocka_unit_test(the_page_loads_nothing),
        cmocka_unit_test(each_picture_has_a_title_and_each_lost_id_is_listed),
        cmocka_unit_test(a_report_that_says_nothing_makes_a_page_and_a_table),
        cmocka_unit_test(what_is_of_another_type_than_it_should_be_does_no_harm),
        cmocka_unit_test(a_spread_is_over_rounds_and_gateways),
        cmocka_unit_test(an_axis_has_some_ten_marks_at_round_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
