/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "unit-agent/checkback.h"

static void check_url(const char *url, const char *expected)
{
    char *asked = checkback_url(str_of(url), STR_LIT("RZ01.t.0.00"));
    assert_string_equal(asked, expected);
    free(asked);
}

static void the_id_goes_behind_what_the_query_holds(void **state)
{
    (void)state;
    check_url("http://a/check", "http://a/check?message=RZ01.t.0.00");
    check_url("http://a", "http://a?message=RZ01.t.0.00");
    check_url("https://a:8443/x?tenant=7", "https://a:8443/x?tenant=7&message=RZ01.t.0.00");
    check_url("http://a/x?", "http://a/x?&message=RZ01.t.0.00");
}

static void a_fragment_is_not_for_servers(void **state)
{
    (void)state;
    check_url("http://a/x#there", "http://a/x?message=RZ01.t.0.00");
    check_url("http://a/x?b=1#there?c=2", "http://a/x?b=1&message=RZ01.t.0.00");
}

static void two_words_end_a_transaction(void **state)
{
    (void)state;
    assert_string_equal(checkback_read_answer(STR_LIT("{\"state\": \"commit\"}")), "commit");
    assert_string_equal(checkback_read_answer(STR_LIT(" {\"by\":\"x\",\"state\":\"rollback\"}\n")), "rollback");
}

static void everything_else_ends_nothing(void **state)
{
    static const char *const words[] = {"",
                                        "commit",
                                        "\"commit\"",
                                        "[\"commit\"]",
                                        "{\"state\":\"unknown\"}",
                                        "{\"state\":\"COMMIT\"}",
                                        "{\"state\":\"commit\\u0000\"}",
                                        "{\"state\":true}",
                                        "{\"state\":\"commit\"",
                                        "{\"state\":\"commit\"} {}",
                                        "{\"state\":\"commit\",\"state\":\"rollback\"}",
                                        "{\"State\":\"commit\"}",
                                        "{\"a\":{\"state\":\"commit\"}}"};
    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_null(checkback_read_answer(str_of(words[i])));
    assert_null(checkback_read_answer((struct str){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_id_goes_behind_what_the_query_holds),
        cmocka_unit_test(a_fragment_is_not_for_servers),
        cmocka_unit_test(two_words_end_a_transaction),
        cmocka_unit_test(everything_else_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
