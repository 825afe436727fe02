/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ops/args.h"

static const char verb[] = "FILE [--note TEXT] [--force] --user ID";
static const char global[] = "[--dir DIR] [-o table|json]";

/* Takes TEXTS (NULL-terminated) and checks them, as main does. */
static int take(struct args *args, char *const *texts, struct error *err)
{
    int count = 0;
    *args = (struct args){0};
    while (texts[count] != NULL)
        count++;
    return args_take(args, verb, global, count, texts, false, err) < 0 ? -1 : args_check(args, verb, err);
}

static void flags_and_words_come_in_any_order(void **state)
{
    (void)state;
    struct args args;
    struct error err;
    assert_int_equal(
        take(&args, (char *[]){"-o", "json", "f.yaml", "--user=7", "--force", "--note", "--odd", NULL}, &err), 0);
    assert_string_equal(args_word(&args, 0), "f.yaml");
    assert_null(args_word(&args, 1));
    assert_string_equal(args_value(&args, "--user"), "7");
    assert_string_equal(args_value(&args, "--force"), "");
    assert_string_equal(args_value(&args, "--note"), "--odd");
    assert_string_equal(args_value(&args, "-o"), "json");
    assert_null(args_value(&args, "--dir"));
}

static void behind_two_dashes_and_as_one_dash_all_is_words(void **state)
{
    (void)state;
    struct args args;
    struct error err;
    assert_int_equal(take(&args, (char *[]){"--user", "-", "--", "--force", NULL}, &err), 0);
    assert_string_equal(args_value(&args, "--user"), "-");
    assert_string_equal(args_word(&args, 0), "--force");
    assert_null(args_value(&args, "--force"));
}

static void the_last_of_a_flag_counts(void **state)
{
    (void)state;
    struct args args;
    struct error err;
    assert_int_equal(take(&args, (char *[]){"f", "--user", "1", "--user", "2", NULL}, &err), 0);
    assert_string_equal(args_value(&args, "--user"), "2");
}

static void assert_refused(char *const *texts, const char *why)
{
    struct args args;
    struct error err = {0};
    assert_int_equal(take(&args, texts, &err), -1);
    assert_string_equal(err.text, why);
}

static void what_does_not_fit_is_refused_in_a_sentence(void **state)
{
    (void)state;
    assert_refused((char *[]){"f", NULL}, "--user is missing");
    assert_refused((char *[]){"--user", "1", NULL}, "FILE is missing");
    assert_refused((char *[]){"f", "g", "--user", "1", NULL}, "'g' is one word too many");
    assert_refused((char *[]){"f", "--user", NULL}, "--user wants a value");
    assert_refused((char *[]){"f", "--force=1", NULL}, "--force takes no value");
    assert_refused((char *[]){"f", "--ueser", "1", NULL}, "unknown flag --ueser; did you mean --user?");
    assert_refused((char *[]){"f", "--something-else", NULL}, "unknown flag --something-else");
}

static void nothing_is_no_value_but_of_a_text(void **state)
{
    (void)state;
    struct args args;
    struct error err;
    assert_refused((char *[]){"f", "--user", "", NULL}, "--user wants a value that is not empty");
    assert_refused((char *[]){"f", "--user=", NULL}, "--user wants a value that is not empty");
    assert_refused((char *[]){"f", "--user", "1", "--dir", "", NULL}, "--dir wants a value that is not empty");
    assert_refused((char *[]){"", "--user", "1", NULL}, "a word is empty");
    assert_int_equal(take(&args, (char *[]){"f", "--user", "1", "--note", "", NULL}, &err), 0);
    assert_string_equal(args_value(&args, "--note"), "");
    assert_string_equal(args_value(&args, "--user"), "1");
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    struct args args;
    struct error err;
    int64_t value = 7;
    assert_int_equal(take(&args, (char *[]){"f", "--user", "12", NULL}, &err), 0);
    assert_int_equal(args_number(&args, "--note", 0, 10, &value, &err), 0);
    assert_int_equal(value, 7);
    assert_int_equal(args_number(&args, "--user", 0, 12, &value, &err), 0);
    assert_int_equal(value, 12);
    assert_int_equal(args_number(&args, "--user", 0, 11, &value, &err), -1);
    assert_int_equal(args_number(&args, "--user", 13, 20, &value, &err), -1);
    assert_int_equal(take(&args, (char *[]){"f", "--user", "99999999999999999999", NULL}, &err), 0);
    assert_int_equal(args_number(&args, "--user", 0, INT64_MAX, &value, &err), -1);
}

static void the_nearest_name_is_found_and_a_far_one_is_not(void **state)
{
    (void)state;
    const struct str names[] = {STR_LIT("status"), STR_LIT("rules apply"), STR_LIT("rules show")};
    assert_true(str_equal(args_nearest(STR_LIT("sttaus"), names, 3), names[0]));
    assert_true(str_equal(args_nearest(STR_LIT("rules aply"), names, 3), names[1]));
    assert_true(str_equal(args_nearest(STR_LIT("rule show"), names, 3), names[2]));
    assert_null(args_nearest(STR_LIT("explain"), names, 3).base);
    assert_null(args_nearest(STR_LIT("a word that is so long that it cannot be the name of anything"), names, 3).base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_come_in_any_order),
        cmocka_unit_test(behind_two_dashes_and_as_one_dash_all_is_words),
        cmocka_unit_test(the_last_of_a_flag_counts),
        cmocka_unit_test(what_does_not_fit_is_refused_in_a_sentence),
        cmocka_unit_test(nothing_is_no_value_but_of_a_text),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(the_nearest_name_is_found_and_a_far_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
