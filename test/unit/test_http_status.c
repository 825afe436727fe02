/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "router/verdict.h"

static void each_problem_has_a_reason_phrase(void **state)
{
    (void)state;
    for (enum verdict verdict = VERDICT_OK + 1; verdict < VERDICT_COUNT; verdict++) {
        const struct verdict_info *info = verdict_info(verdict);
        if (strcmp(http_status_reason(info->status), "Status") == 0)
            fail_msg("%s is answered as %d Status", info->name, info->status);
    }
}

static void what_an_app_answers_has_one_too(void **state)
{
    (void)state;
    assert_string_equal(http_status_reason(206), "Partial Content");
    assert_string_equal(http_status_reason(302), "Found");
    assert_string_equal(http_status_reason(412), "Precondition Failed");
    assert_string_equal(http_status_reason(502), "Bad Gateway");
    assert_string_equal(http_status_reason(299), "Status");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_problem_has_a_reason_phrase),
        cmocka_unit_test(what_an_app_answers_has_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
