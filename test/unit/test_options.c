/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

struct config {
    bool flag;
    int64_t number, size, time, any;
    char *text;
    struct option_strings list;
};

#define AT(field) offsetof(struct config, field)

static const struct option table[] = {
    {"flag", option_set_bool, AT(flag), 0, 0, "false", true, "A flag."},
    {"group.number", option_set_int, AT(number), -5, 10, "3", true, "A number."},
    {"group.size", option_set_size, AT(size), 1024, 1 << 20, "16KiB", false, "A size."},
    {"group.time", option_set_duration, AT(time), 100, 86400000, "2m", true, "A time."},
    {"any", option_set_int, AT(any), 0, 0, "0", true, "Any number."},
    {"text", option_set_string, AT(text), 0, 0, "", false, "A text."},
    {"group.list", option_set_strings, AT(list), 0, 0, "a,b", true, "A list."},
};
#define COUNT (sizeof(table) / sizeof(table[0]))

static int load(struct config *config, const char *yaml, const char *const *overrides, struct buf *faults)
{
    struct diag_list diags = {.file = "test.yaml"};
    *config = (struct config){0};
    int result = options_load(table, COUNT, config, str_of(yaml), overrides, &diags);
    diag_print(&diags, faults);
    diag_free(&diags);
    return result;
}

static void assert_loads(struct config *config, const char *yaml, const char *const *overrides)
{
    struct buf faults = {NULL, 0, 0};
    if (load(config, yaml, overrides, &faults) == -1)
        fail_msg("%s", faults.base);
    assert_int_equal(faults.len, 0);
    buf_free(&faults);
}

static void assert_fails(const char *yaml, const char *const *overrides, const char *expected)
{
    struct config config;
    struct buf faults = {NULL, 0, 0};
    assert_int_equal(load(&config, yaml, overrides, &faults), -1);
    assert_string_equal(faults.base, expected);
    buf_free(&faults);
    options_free(table, COUNT, &config);
}

static void presets_fill_what_is_not_given(void **state)
{
    (void)state;
    struct config config;
    assert_loads(&config, "", NULL);
    assert_false(config.flag);
    assert_int_equal(config.number, 3);
    assert_int_equal(config.size, 16384);
    assert_int_equal(config.time, 120000);
    assert_null(config.text);
    assert_int_equal(config.list.count, 2);
    assert_string_equal(config.list.items[1], "b");
    options_free(table, COUNT, &config);
    assert_null(config.list.items);
}

static void the_file_wins_over_presets_and_set_over_the_file(void **state)
{
    (void)state;
    struct config config;
    const char *const overrides[] = {"group.number=-5", "group.list=", "text=x=y", "text=again", NULL};
    assert_loads(&config,
                 "flag: true\ntext: hello\ngroup:\n  number: 7\n  size: 1MiB\n  time: 100ms\n  list: [c, \"d\", e]\n",
                 NULL);
    assert_true(config.flag);
    assert_int_equal(config.number, 7);
    assert_int_equal(config.size, 1 << 20);
    assert_int_equal(config.time, 100);
    assert_string_equal(config.text, "hello");
    assert_int_equal(config.list.count, 3);
    assert_string_equal(config.list.items[2], "e");
    options_free(table, COUNT, &config);
    assert_loads(&config, "group: {number: 7, list: 'x , y'}\ntext: hello\n", overrides);
    assert_int_equal(config.number, -5);
    assert_int_equal(config.list.count, 0);
    assert_string_equal(config.text, "again");
    options_free(table, COUNT, &config);
}

static void sections_may_be_empty(void **state)
{
    (void)state;
    struct config config;
    assert_loads(&config, "group:\n# all of it commented out\n", NULL);
    options_free(table, COUNT, &config);
    assert_loads(&config, "# nothing at all\n", NULL);
    options_free(table, COUNT, &config);
}

static void all_faults_are_told_with_their_places(void **state)
{
    (void)state;
    assert_fails("flag: maybe\n"
                 "groop: {}\n"
                 "group:\n"
                 "  number: 11\n"
                 "  size: 2MiB\n"
                 "  time: 5\n"
                 "  list: {a: b}\n"
                 "  nmber: 4\n"
                 "text: [a]\n",
                 NULL,
                 "test.yaml:1:7: flag: true or false is expected, not \"maybe\"\n"
                 "test.yaml:2:1: there is no option \"groop\"\n"
                 "test.yaml:4:11: group.number: 11 is out of range: -5 to 10\n"
                 "test.yaml:5:9: group.size: 2MiB is out of range: 1KiB to 1MiB\n"
                 "test.yaml:6:9: group.time: a duration such as 250ms, 5s, 2m or 1h is expected, not \"5\"\n"
                 "test.yaml:7:9: group.list: a list is expected, not a mapping\n"
                 "test.yaml:8:3: there is no option \"group.nmber\" (did you mean group.number?)\n"
                 "test.yaml:9:7: text: a value is expected, not a list\n");
    assert_fails("[]\n", NULL, "test.yaml:1:1: a mapping is expected, not a list\n");
    assert_fails("group: 3\n", NULL, "test.yaml:1:8: group: a mapping is expected, not a value\n");
    assert_fails("group: {list: [a, [b], 'c,d']}\n", NULL,
                 "test.yaml:1:19: group.list: a value without commas is expected here\n"
                 "test.yaml:1:24: group.list: a value without commas is expected here\n");
}

static void faults_of_set_name_the_option(void **state)
{
    (void)state;
    const char *const overrides[] = {"group.number=ten", "nothing", "grup.size=1", NULL};
    assert_fails("", overrides,
                 "--set group.number: a whole number is expected, not \"ten\"\n"
                 "--set nothing: NAME=VALUE is expected\n"
                 "there is no option \"grup.size\" (did you mean group.size?)\n");
}

static void a_broken_document_is_a_fault(void **state)
{
    (void)state;
    struct config config;
    struct buf faults = {NULL, 0, 0};
    assert_int_equal(load(&config, "group: [1,\n", NULL, &faults), -1);
    assert_non_null(strstr(faults.base, "test.yaml:"));
    buf_free(&faults);
    options_free(table, COUNT, &config);
}

static void durations_and_sizes_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } durations[] = {{"0", 0},
                     {"1ms", 1},
                     {"2s", 2000},
                     {"3m", 180000},
                     {"4h", 14400000},
                     {"5d", 432000000},
                     {"", -1},
                     {"5", -1},
                     {"-1s", -1},
                     {"1.5s", -1},
                     {"1 s", -1},
                     {"s", -1},
                     {"1S", -1},
                     {"9223372036854775807ms", INT64_MAX},
                     {"9223372036854775807s", -1},
                     {"99999999999999999999ms", -1}};
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        int64_t ms = -1;
        assert_int_equal(option_parse_duration(str_of(durations[i].text), &ms), durations[i].ms != -1);
        assert_int_equal(ms, durations[i].ms);
    }
    int64_t bytes = -1;
    assert_true(option_parse_size(STR_LIT("4096"), &bytes) && bytes == 4096);
    assert_true(option_parse_size(STR_LIT("7B"), &bytes) && bytes == 7);
    assert_true(option_parse_size(STR_LIT("3GiB"), &bytes) && bytes == 3221225472);
    assert_false(option_parse_size(STR_LIT("1KB"), &bytes));
    assert_false(option_parse_size(STR_LIT("0x10"), &bytes));
}

static void what_is_shown_reads_back_the_same(void **state)
{
    (void)state;
    struct config config, again;
    struct buf shown = {NULL, 0, 0}, twice = {NULL, 0, 0};
    assert_loads(&config, "{flag: true, any: -7, text: 'a b', group: {size: 1500, time: 90s, list: [x]}}", NULL);
    options_show(table, COUNT, &config, &shown);
    assert_string_equal(shown.base, "flag = true\ngroup.number = 3\ngroup.size = 1500B\ngroup.time = 90s\nany = -7\n"
                                    "text = a b\ngroup.list = x\n");
    char *lines[COUNT + 1] = {NULL};
    size_t count = 0;
    for (char *line = strtok(shown.base, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *equals = strstr(line, " = ");
        memmove(equals, "=", 1);
        memmove(equals + 1, equals + 3, strlen(equals + 3) + 1);
        lines[count++] = line;
    }
    assert_loads(&again, "", (const char *const *)lines);
    assert_int_equal(options_unreloadable(table, COUNT, &config, &again, &twice), 0);
    options_show(table, COUNT, &again, &twice);
    assert_non_null(strstr(twice.base, "group.time = 90s\nany = -7\n"));
    buf_free(&shown);
    buf_free(&twice);
    options_free(table, COUNT, &config);
    options_free(table, COUNT, &again);
}

static void only_reloadable_options_are_exchanged(void **state)
{
    (void)state;
    struct config before, after;
    struct buf names = {NULL, 0, 0};
    assert_loads(&before, "{text: old, group: {number: 1, list: [a]}}", NULL);
    assert_loads(&after, "{text: new, flag: true, group: {number: 2, size: 2KiB, list: [b, c]}}", NULL);
    assert_int_equal(options_unreloadable(table, COUNT, &before, &after, &names), 2);
    assert_string_equal(names.base, "group.size, text");
    options_exchange(table, COUNT, &before, &after);
    assert_true(before.flag);
    assert_int_equal(before.number, 2);
    assert_int_equal(before.list.count, 2);
    assert_string_equal(before.text, "old");
    assert_int_equal(before.size, 16384);
    assert_int_equal(after.list.count, 1);
    buf_free(&names);
    options_free(table, COUNT, &before);
    options_free(table, COUNT, &after);
}

static void the_manual_has_a_row_an_option(void **state)
{
    (void)state;
    struct buf out = {NULL, 0, 0};
    options_document(table, COUNT, &out);
    assert_non_null(strstr(out.base, "| `group.size` | `16KiB` | 1KiB to 1MiB | no | A size. |\n"));
    assert_non_null(strstr(out.base, "| `text` | none |  | no | A text. |\n"));
    buf_free(&out);
}

static void load_needing(const char *yaml, struct buf *faults)
{
    static const struct option needing[] = {{"text", option_set_string, 0, 0, 0, NULL, false, "A text."}};
    struct diag_list diags = {.file = "test.yaml"};
    char *text = NULL;
    faults->len = 0;
    assert_int_equal(options_load(needing, 1, &text, str_of(yaml), NULL, &diags), -1);
    diag_print(&diags, faults);
    diag_free(&diags);
    options_free(needing, 1, &text);
}

static void a_file_that_is_no_yaml_is_not_also_said_to_lack_options(void **state)
{
    (void)state;
    struct buf faults = {NULL, 0, 0};
    load_needing("{}", &faults);
    assert_string_equal(faults.base, "text must be given (in the file, or by --set NAME=VALUE)\n");
    load_needing("a: [", &faults);
    assert_non_null(strstr(faults.base, "this is not YAML"));
    assert_null(strstr(faults.base, "must be given"));
    buf_free(&faults);
}

static void names_are_short_and_of_few_characters(void **state)
{
    (void)state;
    assert_true(option_is_name(NULL, "", 3));
    assert_true(option_is_name("a-1", "-", 3));
    assert_false(option_is_name("a-1", "", 3));
    assert_false(option_is_name("abcd", "-", 3));
    assert_false(option_is_name("a b", "-", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_fill_what_is_not_given),
        cmocka_unit_test(the_file_wins_over_presets_and_set_over_the_file),
        cmocka_unit_test(sections_may_be_empty),
        cmocka_unit_test(all_faults_are_told_with_their_places),
        cmocka_unit_test(faults_of_set_name_the_option),
        cmocka_unit_test(a_broken_document_is_a_fault),
        cmocka_unit_test(durations_and_sizes_are_read_strictly),
        cmocka_unit_test(what_is_shown_reads_back_the_same),
        cmocka_unit_test(only_reloadable_options_are_exchanged),
        cmocka_unit_test(the_manual_has_a_row_an_option),
        cmocka_unit_test(a_file_that_is_no_yaml_is_not_also_said_to_lack_options),
        cmocka_unit_test(names_are_short_and_of_few_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
