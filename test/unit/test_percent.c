/* SPDX-License-Identifier: Apache-2.0 */
#include "common/percent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void what_is_no_printable_text_is_escaped_and_read_back(void **state)
{
    (void)state;
    const struct str text = STR_LIT("a b\"c%d\x7f\xc3\xa4\n~!");
    struct buf encoded = {0}, decoded = {0};
    percent_encode(text, PERCENT_CLOUDEVENTS, &encoded);
    assert_string_equal(encoded.base, "a%20b%22c%25d%7F%C3%A4%0A~!");
    assert_true(percent_decode(buf_str(&encoded), false, &decoded));
    assert_true(str_equal(buf_str(&decoded), text));
    encoded.len = 0;
    percent_encode(STR_LIT("\"%"), "%", &encoded);
    assert_string_equal(encoded.base, "\"%25");
    encoded.len = 0;
    percent_encode(STR_LIT(""), "%", &encoded);
    assert_int_equal(encoded.len, 0);
    buf_free(&encoded);
    buf_free(&decoded);
}

static void broken_escapes_are_refused(void **state)
{
    (void)state;
    static const char *const broken[] = {"%", "%4", "%4g", "%00", "a%", "%%41"};
    struct buf out = {0};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        assert_false(percent_decode(str_of(broken[i]), false, &out));
    assert_true(percent_decode(STR_LIT("a+b%2B"), true, &out));
    assert_string_equal(out.base, "a b+");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_printable_text_is_escaped_and_read_back),
        cmocka_unit_test(broken_escapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
