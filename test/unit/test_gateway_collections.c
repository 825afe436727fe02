/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "gateway/copy_floor.h"
#include "gateway/collections.h"
#include "gateway/freshness.h"

#define COLLECTION STR_LIT("rates")

/* --- what clients ask for ----------------------------------------------------------------------------------------- */

/* The bound in ms that a request with these Cache-Control fields (NULL: none) asks for. */
static int64_t bound_of(const char *first, const char *second)
{
    h2o_req_t req = {0};
    struct freshness freshness;
    h2o_mem_init_pool(&req.pool);
    if (first != NULL)
        h2o_add_header(&req.pool, &req.headers, H2O_TOKEN_CACHE_CONTROL, NULL, first, strlen(first));
    if (second != NULL)
        h2o_add_header(&req.pool, &req.headers, H2O_TOKEN_CACHE_CONTROL, NULL, second, strlen(second));
    assert_true(freshness_read(&req, &freshness));
    assert_int_equal(freshness.min_version, 0);
    h2o_mem_clear_pool(&req.pool);
    return freshness.max_age_ms;
}

static void the_least_age_of_all_directives_counts(void **state)
{
    (void)state;
    assert_true(bound_of(NULL, NULL) == FRESHNESS_ANY);
    assert_int_equal(bound_of("max-age=5", NULL), 5000);
    assert_int_equal(bound_of("private, Max-Age=\"7\" , foo=1", "max-age=6"), 6000);
    assert_int_equal(bound_of("max-age=5, no-cache", NULL), 0);
    assert_true(bound_of("max-stale=3, min-fresh=1, no-store, maximum-age=0", NULL) == FRESHNESS_ANY);
}

static void what_cannot_be_read_is_the_strictest(void **state)
{
    (void)state;
    assert_int_equal(bound_of("max-age", NULL), 0);
    assert_int_equal(bound_of("max-age=", NULL), 0);
    assert_int_equal(bound_of("max-age=-1", NULL), 0);
    assert_int_equal(bound_of("max-age=5s", NULL), 0);
    assert_true(bound_of("max-age=99999999999999999999999", NULL) == FRESHNESS_ANY);
    assert_true(bound_of("max-age=18446744073709551615", NULL) == FRESHNESS_ANY);
    assert_true(bound_of("max-age=9223372036855", NULL) == FRESHNESS_ANY);
    assert_int_equal(bound_of("max-age=9223372036854", NULL), 9223372036854000);
    assert_true(bound_of(",,=, =,\"", NULL) == FRESHNESS_ANY);
}

/* --- keys --------------------------------------------------------------------------------------------------------- */

static void a_key_is_what_a_path_can_name(void **state)
{
    (void)state;
    static const char *const good[] = {"a",   "a/b", "/",  "//",  "a%2e",     "100%",
                                       "...", "..a", ".a", "a..", "\xc3\xbc", " "};
    static const char *const bad[] = {"", ".", "..", "a/..", "../a", "a/./b", "a\\..", "a\n", "\x7f", "\xff", "\xc3"};
    char longest[1026];
    memset(longest, 'k', sizeof(longest));
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(collection_key_fits(str_of(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(collection_key_fits(str_of(bad[i])));
    assert_true(collection_key_fits((struct str){longest, 1024}));
    assert_false(collection_key_fits((struct str){longest, 1025}));
    assert_false(collection_key_fits((struct str){"a\0b", 3}));
}

static void a_parameter_is_decoded_or_refused(void **state)
{
    (void)state;
    h2o_req_t req = {0};
    struct str query = STR_LIT("a=1%2F+2&b&c=%zz&d=%00&a=3"), value = {NULL, 0};
    h2o_mem_init_pool(&req.pool);
    assert_true(collection_parameter(&req, query, "none", &value) && value.base == NULL);
    assert_true(collection_parameter(&req, (struct str){NULL, 0}, "a", &value) && value.base == NULL);
    assert_true(collection_parameter(&req, query, "a", &value) && str_equal(value, STR_LIT("1/ 2")));
    assert_true(collection_parameter(&req, query, "b", &value) && value.base != NULL && value.len == 0);
    assert_false(collection_parameter(&req, query, "c", &value));
    assert_false(collection_parameter(&req, query, "d", &value));
    h2o_mem_clear_pool(&req.pool);
}

/* --- floors ------------------------------------------------------------------------------------------------------- */

static void who_takes_any_copy_does_not_go_back_by_another_one(void **state)
{
    (void)state;
    struct copy_floors *floors = copy_floors_create();
    struct copy_floor *a = copy_floor_find(floors, COLLECTION, 1), *b = copy_floor_find(floors, COLLECTION, 2);
    assert_ptr_equal(copy_floor_find(floors, COLLECTION, 1), a);
    assert_ptr_not_equal(copy_floor_find(floors, STR_LIT("other"), 1), a);
    assert_int_equal(copy_floor_least(a, false), 0);
    copy_floor_show(a, 100, 1);
    assert_int_equal(copy_floor_least(a, false), 0);
    assert_int_equal(copy_floor_least(b, false), 100);
    assert_int_equal(copy_floor_least(b, true), 0); /* who names it has not read the other one */
    copy_floor_show(b, 105, 2);
    assert_int_equal(copy_floor_least(a, false), 105);
    copy_floor_show(a, 110, 3);
    copy_floor_show(a, 90, 4);
    assert_int_equal(copy_floor_least(b, false), 110);
    copy_floors_destroy(&floors);
    assert_null(floors);
}

static void what_was_shown_before_an_older_value_is_not_forgotten(void **state)
{
    (void)state;
    struct copy_floors *floors = copy_floors_create();
    struct copy_floor *a = copy_floor_find(floors, COLLECTION, 1), *b = copy_floor_find(floors, COLLECTION, 2);
    struct copy_floor *origin = copy_floor_find(floors, COLLECTION, 3);
    copy_floor_show(a, 100, 1);
    copy_floor_show(origin, 3, 2); /* the version of another key */
    assert_int_equal(copy_floor_least(b, false), 100);
    copy_floor_show(b, 100, 3);
    copy_floor_show(origin, 4, 4);
    assert_int_equal(copy_floor_least(b, false), 100);
    copy_floors_destroy(&floors);
}

static void who_was_answered_by_the_origin_does_not_go_back_by_the_copy(void **state)
{
    (void)state;
    struct copy_floors *floors = copy_floors_create();
    struct copy_floor *a = copy_floor_find(floors, COLLECTION, 1);
    copy_floor_raise(a, 50, 10);
    copy_floor_raise(a, 40, 11);
    assert_int_equal(copy_floor_least(a, true), 50);
    copy_floors_destroy(&floors);
}

static void an_origin_that_has_lost_data_takes_the_floors_along(void **state)
{
    (void)state;
    struct copy_floors *floors = copy_floors_create();
    struct copy_floor *a = copy_floor_find(floors, COLLECTION, 1), *b = copy_floor_find(floors, COLLECTION, 2);
    copy_floor_show(b, 80, 5);
    copy_floor_raise(a, 50, 10);
    copy_floor_hear(a, 30, 10); /* it was asked when the floor was not there yet */
    assert_int_equal(copy_floor_least(a, true), 50);
    copy_floor_hear(a, 60, 11);
    assert_int_equal(copy_floor_least(a, true), 50);
    copy_floor_hear(a, 30, 11);
    assert_int_equal(copy_floor_least(a, true), 30);
    assert_int_equal(copy_floor_least(a, false), 30);
    copy_floors_destroy(&floors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_age_of_all_directives_counts),
        cmocka_unit_test(what_cannot_be_read_is_the_strictest),
        cmocka_unit_test(a_key_is_what_a_path_can_name),
        cmocka_unit_test(a_parameter_is_decoded_or_refused),
        cmocka_unit_test(who_takes_any_copy_does_not_go_back_by_another_one),
        cmocka_unit_test(what_was_shown_before_an_older_value_is_not_forgotten),
        cmocka_unit_test(who_was_answered_by_the_origin_does_not_go_back_by_the_copy),
        cmocka_unit_test(an_origin_that_has_lost_data_takes_the_floors_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
