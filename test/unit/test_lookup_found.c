/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/lookup_found.h"

#define MESSAGE "01a1fdb23560c831f8045150"
#define ID      "RZ01.payments.1." MESSAGE

static void add(struct lookup_found *found, const char *agent, const char *line)
{
    lookup_found_line(found, str_of(agent), STR_LIT("default"), str_of(line));
}

static const char *hop_name(const json_t *document, size_t at)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(document, "hops"), at), "hop"));
}

static json_t *document_of(const struct lookup_found *found)
{
    struct protocol_id parts;
    assert_true(protocol_id_parse(STR_LIT(ID), &parts));
    return lookup_found_document(found, STR_LIT(ID), &parts);
}

static void an_attempt_tells_where_the_message_came_from(void **state)
{
    (void)state;
    struct lookup_found found;
    lookup_found_init(&found);
    add(&found, "a", "a " MESSAGE " 1 200 5000000 300 2000 1000 500 4999-0 http://n:1 gw j%20s");
    assert_int_equal(found.in_us, 4998000);
    assert_int_equal(found.st_us, 4999000);
    assert_int_equal(found.entry.ms, 4999);
    assert_true(str_equal(buf_str(&found.user), STR_LIT("j s")));
    assert_true(str_equal(buf_str(&found.gateway), STR_LIT("gw")));
    json_t *document = document_of(&found);
    const char *const expected[] = {"received", "stored", "replicated", "attempt"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(hop_name(document, i), expected[i]);
    json_decref(document);
    lookup_found_free(&found);
}

static void hops_stand_in_the_order_of_their_times_and_once(void **state)
{
    (void)state;
    struct lookup_found found;
    uint64_t us = 0;
    lookup_found_init(&found);
    add(&found, "b", "k " MESSAGE " 9000000");
    add(&found, "b", "a " MESSAGE " 2 200 8000000 1 - - - 4999-0 - - -");
    add(&found, "a", "p " MESSAGE " 7000000 50");
    add(&found, "a", "a " MESSAGE " 1 500 6000000 1 - - - 4999-0 - - -");
    add(&found, "b", "k " MESSAGE " 9000000");
    assert_int_equal(json_array_size(found.hops), 4);
    assert_int_equal(lookup_found_last(&found, STR_LIT("default"), &us), LOOKUP_RECORDED);
    assert_int_equal(us, 9000000);
    assert_int_equal(lookup_found_last(&found, STR_LIT("other"), &us), LOOKUP_UNTRACED);
    json_t *document = document_of(&found);
    const char *const expected[] = {"attempt", "parked", "attempt", "acknowledged"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(hop_name(document, i), expected[i]);
    json_decref(document);
    lookup_found_free(&found);
}

static void what_is_no_line_is_passed_over(void **state)
{
    (void)state;
    static const char *const lines[] = {"", " ", "x " MESSAGE " 1", "zz", "\xff\xfe"};
    struct lookup_found found;
    lookup_found_init(&found);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        add(&found, "a", lines[i]);
    assert_int_equal(json_array_size(found.hops), 0);
    add(&found, "\xff", "a " MESSAGE); /* cut off: what it does not say is not known */
    add(&found, "a", "a " MESSAGE " 1 200 5 99999999999999999999 7 7 7 nonsense n g %zz");
    assert_int_equal(found.in_us, 0);
    assert_int_equal(found.user.len, 0);
    json_t *document = document_of(&found);
    assert_non_null(document);
    json_decref(document);
    lookup_found_free(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attempt_tells_where_the_message_came_from),
        cmocka_unit_test(hops_stand_in_the_order_of_their_times_and_once),
        cmocka_unit_test(what_is_no_line_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
