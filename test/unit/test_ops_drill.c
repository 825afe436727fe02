/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ops/drill_file.h"

/* What a file needs beside what a test is about. */
#define HEAD     "name: x\ntitle: X\nparameters: {unit: RZ01, fault: kill}\n"
#define METHOD   "method: [{fault: $fault, unit: $unit, part: primary}]\n"
#define ROLLBACK "rollback: [{heal: all}]\n"

static bool read_text(struct drill *drill, const char *text, const struct drill_given *given, struct buf *faults)
{
    struct diag_list diags = {.file = "x.yaml"};
    bool sound = drill_read(drill, str_of(text), given, &diags);
    diag_print(&diags, faults);
    diag_free(&diags);
    return sound;
}

static void refuses(const char *text, const struct drill_given *given, const char *expected)
{
    struct drill drill;
    struct buf faults = {0};
    assert_false(read_text(&drill, text, given, &faults));
    assert_string_equal(faults.base, expected);
    buf_free(&faults);
    drill_free(&drill);
}

static void every_drill_that_is_shipped_is_sound_and_named_as_its_file(void **state)
{
    (void)state;
    struct str file, text;
    size_t count = 0;
    for (; drill_shipped(count, &file, &text); count++) {
        struct drill drill;
        struct diag_list diags = {.file = file.base};
        char name[80];
        bool sound = drill_read(&drill, text, &(struct drill_given){0}, &diags);
        assert_true(sound);
        snprintf(name, sizeof(name), "%.*s.yaml", STR_ARG(drill.name.value));
        assert_true(str_equal(str_of(name), file));
        assert_true(drill.method.count > 0 && drill.rollback.count > 0);
        drill_free(&drill);
        diag_free(&diags);
    }
    assert_true(count >= 9);
}

static void what_is_not_written_has_a_preset(void **state)
{
    (void)state;
    struct drill drill;
    struct buf faults = {0};
    assert_true(read_text(&drill, HEAD METHOD ROLLBACK, &(struct drill_given){0}, &faults));
    assert_int_equal(drill.parameters.rounds.value, 1);
    assert_int_equal(drill.load.rate.value, 300);
    assert_int_equal(drill.load.share.value, 60);
    assert_true(str_equal(drill.load.path.value, STR_LIT("/pay/drill")));
    assert_int_equal(drill.abort.after.value, 60000);
    assert_int_equal(drill.expect.other_failed.value, 0);
    drill_free(&drill);
}

static void parameters_are_put_in(void **state)
{
    (void)state;
    struct drill drill;
    struct buf faults = {0}, text = {0};
    assert_true(read_text(&drill, HEAD METHOD ROLLBACK, &(struct drill_given){0}, &faults));
    drill_describe(&drill.method.items[0], &text);
    assert_string_equal(text.base, "kill primary of RZ01");
    drill_free(&drill);
    text.len = 0;
    struct drill_given given = {.unit = "RZ03", .fault = "freeze", .rounds = 20, .rate = 50};
    assert_true(read_text(&drill, HEAD METHOD ROLLBACK, &given, &faults));
    drill_describe(&drill.method.items[0], &text);
    assert_string_equal(text.base, "freeze primary of RZ03");
    assert_true(str_equal(drill.parameters.unit.value, STR_LIT("RZ03")));
    assert_int_equal(drill.parameters.rounds.value, 20);
    assert_int_equal(drill.load.rate.value, 50);
    drill_free(&drill);
    buf_free(&text);
}

static void a_parameter_that_is_more_than_a_name_is_refused(void **state)
{
    (void)state;
    refuses(HEAD METHOD ROLLBACK, &(struct drill_given){.unit = "RZ01, part: store"},
            "--unit: 'RZ01, part: store' is no name\n");
}

static void a_fault_that_there_is_not_is_refused_where_it_stands(void **state)
{
    (void)state;
    refuses(HEAD METHOD ROLLBACK, &(struct drill_given){.fault = "frieze"},
            "x.yaml:4:18: fault: kill, freeze, restart, drop, loss, slow or errors is expected, not \"frieze\" "
            "(did you mean freeze?)\n");
}

static void a_step_is_one_action(void **state)
{
    (void)state;
    refuses(HEAD "method:\n  - {fault: kill, pause: 1s}\n  - {unit: RZ01}\n" ROLLBACK, &(struct drill_given){0},
            "x.yaml:5:5: a step is one of fault, heal, wait, pause and operator\n"
            "x.yaml:6:5: a step is one of fault, heal, wait, pause and operator\n");
}

static void only_applications_are_slow(void **state)
{
    (void)state;
    refuses(HEAD "method: [{fault: slow, part: primary}]\n" ROLLBACK, &(struct drill_given){0},
            "x.yaml:4:18: only applications can be slow or answer with errors (part: apps)\n");
}

static void without_a_rollback_there_is_no_drill(void **state)
{
    (void)state;
    refuses(HEAD METHOD, &(struct drill_given){0}, "x.yaml:1:1: the drill needs the key \"rollback\"\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_drill_that_is_shipped_is_sound_and_named_as_its_file),
        cmocka_unit_test(what_is_not_written_has_a_preset),
        cmocka_unit_test(parameters_are_put_in),
        cmocka_unit_test(a_parameter_that_is_more_than_a_name_is_refused),
        cmocka_unit_test(a_fault_that_there_is_not_is_refused_where_it_stands),
        cmocka_unit_test(a_step_is_one_action),
        cmocka_unit_test(only_applications_are_slow),
        cmocka_unit_test(without_a_rollback_there_is_no_drill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
