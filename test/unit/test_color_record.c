/* SPDX-License-Identifier: Apache-2.0 */
#include "common/color_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define JSON                                                                                                           \
    "{\"blue\":75,\"green\":25,\"salt\":\"june\",\"before\":{\"blue\":0,\"green\":0},\"ramp\":{\"state\":\"running\"," \
    "\"to\":\"green\",\"steps\":[5,25,100],\"step\":1,\"dwell_ms\":30000,\"min_requests\":20,\"abort_errors\":2.5,"    \
    "\"abort_latency\":1.5,\"carrier\":\"gw1\"},\"at_us\":17,\"by\":\"gw1\",\"why\":\"step 1 held\"}"

static const struct color_change change = {1000, "ldcctl@here", "because"};

static struct color_record sound(void)
{
    struct color_record record;
    struct error err = {ERROR_NONE, ""};
    if (color_record_parse(STR_LIT(JSON), &record, &err) != 0)
        fail_msg("%s", err.text);
    return record;
}

static void a_record_is_read_and_written_without_loss(void **state)
{
    (void)state;
    struct color_record record = sound();
    struct buf out = {NULL, 0, 0};
    assert_int_equal(record.weights.green, 25);
    assert_int_equal(record.ramp.state, COLOR_RAMP_RUNNING);
    assert_true(record.ramp.to_green);
    assert_int_equal(record.ramp.step_count, 3);
    assert_int_equal(record.ramp.steps[2], 100);
    color_record_format(&record, &out);
    assert_string_equal(out.base, JSON);
    buf_free(&out);
}

/* JSON with its first occurrence of FROM replaced by TO. */
static bool parses_with(const char *from, const char *to)
{
    char text[1000];
    const char *at = strstr(JSON, from);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - JSON), JSON, to, at + strlen(from));
    struct color_record record;
    struct error err;
    bool taken = color_record_parse(str_of(text), &record, &err) == 0;
    assert_true(taken || (record.weights.green == 0 && record.ramp.state == COLOR_RAMP_NONE));
    return taken;
}

static void garbled_records_are_refused_whole(void **state)
{
    (void)state;
    struct color_record record;
    struct error err;
    assert_true(parses_with("\"blue\":75", "\"blue\":75,\"later\":[]"));
    assert_true(parses_with("\"blue\":75", "\"blue\":10000"));
    assert_true(parses_with("2.5", "2"));
    assert_false(parses_with("\"blue\":75", "\"blue\":10001"));
    assert_false(parses_with("\"blue\":75", "\"blue\":-1"));
    assert_false(parses_with("\"blue\":75", "\"blue\":\"75\""));
    assert_false(parses_with("running", "walking"));
    assert_false(parses_with("\"to\":\"green\"", "\"to\":\"red\""));
    assert_false(parses_with("[5,25,100]", "[25,5,100]"));
    assert_false(parses_with("[5,25,100]", "[5,25,101]"));
    assert_false(parses_with("[5,25,100]", "[]"));
    assert_false(parses_with("[5,25,100]", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"));
    assert_false(parses_with("\"step\":1", "\"step\":3"));
    assert_false(parses_with("2.5", "-1"));
    assert_false(parses_with("\"carrier\":\"gw1\"", "\"carrier\":null"));
    assert_int_equal(color_record_parse((struct str){NULL, 0}, &record, &err), -1);
}

static struct color_ramp ramp_of(unsigned first, unsigned last)
{
    return (struct color_ramp){
        .to_green = true, .steps = {first, last}, .step_count = 2, .dwell_ms = 10, .carrier = "gw1"};
}

static struct color_record begun(void)
{
    struct color_record record = {.weights = {90, 10}};
    struct error err = {ERROR_NONE, ""};
    struct color_ramp ramp = ramp_of(20, 60);
    if (color_record_begin(&record, &ramp, 10, &change, &err) != 0)
        fail_msg("%s", err.text);
    return record;
}

static void expect(const struct color_record *record, uint32_t blue, uint32_t green, enum color_ramp_state state)
{
    assert_int_equal(record->weights.blue, blue);
    assert_int_equal(record->weights.green, green);
    assert_int_equal(record->ramp.state, state);
}

static void a_ramp_goes_from_step_to_step_and_is_done(void **state)
{
    (void)state;
    struct color_record record = begun();
    struct color_change by_gateway = {2000, "gw2", "held"};
    expect(&record, 80, 20, COLOR_RAMP_RUNNING);
    assert_string_equal(record.by, "ldcctl@here");
    color_record_advance(&record, &by_gateway);
    expect(&record, 40, 60, COLOR_RAMP_RUNNING);
    assert_string_equal(record.ramp.carrier, "gw2");
    color_record_advance(&record, &by_gateway);
    expect(&record, 40, 60, COLOR_RAMP_DONE);
    assert_int_equal(record.ramp.step, 1);
    assert_int_equal(record.at_us, 2000);
}

static void a_ramp_to_blue_takes_from_green(void **state)
{
    (void)state;
    struct color_record record = {.weights = {0, 100}};
    struct color_ramp ramp = ramp_of(5, 100);
    struct error err;
    ramp.to_green = false;
    assert_int_equal(color_record_begin(&record, &ramp, 0, &change, &err), 0);
    expect(&record, 5, 95, COLOR_RAMP_RUNNING);
}

static void ramps_that_make_no_sense_change_nothing(void **state)
{
    (void)state;
    struct color_record running = begun(), idle = {.weights = {90, 10}};
    struct color_ramp ramp = ramp_of(20, 60), falls = ramp_of(30, 20), over = ramp_of(50, 101),
                      none = {.step_count = 0};
    struct error err;
    assert_int_equal(color_record_begin(&running, &ramp, 20, &change, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(color_record_begin(&idle, &ramp, 21, &change, &err), -1);
    assert_int_equal(color_record_begin(&idle, &falls, 10, &change, &err), -1);
    assert_int_equal(color_record_begin(&idle, &over, 10, &change, &err), -1);
    assert_int_equal(color_record_begin(&idle, &none, 10, &change, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    expect(&idle, 90, 10, COLOR_RAMP_NONE);
}

static void rolling_back_leads_before_the_ramp_and_no_further(void **state)
{
    (void)state;
    struct color_record record = begun();
    struct error err;
    color_record_advance(&record, &change);
    assert_int_equal(color_record_roll_back(&record, &change, &err), 0);
    expect(&record, 90, 10, COLOR_RAMP_ROLLED_BACK);
    assert_int_equal(color_record_roll_back(&record, &change, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
}

static void setting_weights_stops_a_ramp_and_can_be_taken_back(void **state)
{
    (void)state;
    struct color_record record = begun();
    struct error err;
    assert_int_equal(color_record_set(&record, (struct color_weights){50, 50}, "salt", &change, &err), 0);
    expect(&record, 50, 50, COLOR_RAMP_STOPPED);
    assert_string_equal(record.salt, "salt");
    assert_int_equal(color_record_set(&record, (struct color_weights){0, 0}, NULL, &change, &err), 0);
    assert_string_equal(record.salt, "salt");
    assert_int_equal(color_record_roll_back(&record, &change, &err), 0);
    expect(&record, 50, 50, COLOR_RAMP_ROLLED_BACK);
    assert_int_equal(color_record_set(&record, (struct color_weights){COLOR_WEIGHT_MOST + 1, 0}, NULL, &change, &err),
                     -1);
    assert_int_equal(color_record_set(&record, (struct color_weights){1, 1}, "\xff", &change, &err), -1);
}

static void texts_that_are_too_long_are_cut_between_characters(void **state)
{
    (void)state;
    struct color_record record = begun(), again;
    struct buf out = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    char longest[400];
    for (size_t i = 0; i + 1 < sizeof(longest); i += 2)
        memcpy(longest + i, "\xc3\xa9", 2);
    longest[sizeof(longest) - 2] = '\0';
    color_record_carry(&record, &(struct color_change){1, longest, longest});
    color_record_format(&record, &out);
    assert_int_equal(color_record_parse(buf_str(&out), &again, &err), 0);
    assert_int_equal(strlen(again.by), sizeof(again.by) - 2);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_and_written_without_loss),
        cmocka_unit_test(garbled_records_are_refused_whole),
        cmocka_unit_test(a_ramp_goes_from_step_to_step_and_is_done),
        cmocka_unit_test(a_ramp_to_blue_takes_from_green),
        cmocka_unit_test(ramps_that_make_no_sense_change_nothing),
        cmocka_unit_test(rolling_back_leads_before_the_ramp_and_no_further),
        cmocka_unit_test(setting_weights_stops_a_ramp_and_can_be_taken_back),
        cmocka_unit_test(texts_that_are_too_long_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
