/* SPDX-License-Identifier: Apache-2.0 */
#include "common/descriptors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <cmocka.h>

static void the_soft_limit_becomes_the_hard_one(void **state)
{
    (void)state;
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 300};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(descriptors_raise(), 300);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 300);
    assert_int_equal(descriptors_raise(), 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_soft_limit_becomes_the_hard_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
