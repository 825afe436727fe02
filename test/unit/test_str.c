/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/str.h"

static void numbers_go_to_text_and_back(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 1, 9, 10, 99, 100, 4294967296, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char text[20];
        uint64_t back = 1;
        struct str digits = {text, str_from_u64(numbers[i], text)};
        assert_true(digits.len <= sizeof(text) && (digits.len == 1 || text[0] != '0'));
        assert_true(str_to_u64(digits, &back));
        assert_true(back == numbers[i]);
    }
}

static void what_is_no_number_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "0x1",
                                        "1.0",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "111111111111111111111"};
    uint64_t number;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(str_to_u64(str_of(texts[i]), &number));
}

static void a_list_is_taken_apart_at_its_separators(void **state)
{
    (void)state;
    struct str rest = STR_LIT("a, b,,c"), part;
    assert_true(str_next(&rest, ',', &part) && str_equal(part, STR_LIT("a")));
    assert_true(str_next(&rest, ',', &part) && str_equal(str_trim(part), STR_LIT("b")));
    assert_true(str_next(&rest, ',', &part) && part.len == 0);
    assert_true(str_next(&rest, ',', &part) && str_equal(part, STR_LIT("c")));
    assert_false(str_next(&rest, ',', &part));
}

static void names_compare_without_case_in_ascii_alone(void **state)
{
    (void)state;
    assert_true(str_equal_nocase(STR_LIT("Content-Length"), STR_LIT("content-LENGTH")));
    assert_false(str_equal_nocase(STR_LIT("a"), STR_LIT("ab")));
    assert_false(str_equal_nocase(STR_LIT("@"), STR_LIT("`")));
    assert_false(str_equal_nocase(STR_LIT("\xc4"), STR_LIT("\xe4")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_go_to_text_and_back),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(a_list_is_taken_apart_at_its_separators),
        cmocka_unit_test(names_compare_without_case_in_ascii_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
