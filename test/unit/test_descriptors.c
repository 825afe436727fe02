/* SPDX-License-Identifier: Apache-2.0 */
#include "common/descriptors.h"

#include <errno.h>
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

static void what_is_no_lack_of_room_is_not_taken_for_one(void **state)
{
    (void)state;
    assert_true(descriptors_are_out(EMFILE, "tests"));
    assert_true(descriptors_are_out(ENOBUFS, "tests"));
    assert_false(descriptors_are_out(ECONNREFUSED, "tests"));
    assert_false(descriptors_are_out(0, "tests"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_soft_limit_becomes_the_hard_one),
        cmocka_unit_test(what_is_no_lack_of_room_is_not_taken_for_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
