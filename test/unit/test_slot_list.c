/* SPDX-License-Identifier: Apache-2.0 */
#include "common/slot_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/arrival_record.h"

static void a_list_names_its_slots_and_no_others(void **state)
{
    (void)state;
    bool slots[100] = {false}, again[100] = {false};
    char text[40];
    for (int slot = 0; slot < 100; slot++)
        slots[slot] = (slot >= 12 && slot <= 40) || slot == 77 || slot == 99;
    slot_list_format(slots, 100, text, sizeof(text));
    assert_string_equal(text, "12-40,77,99");
    for (uint32_t slot = 0; slot < 100; slot++)
        assert_int_equal(slot_list_has(text, slot), slots[slot]);
    slot_list_mark(text, again, 100);
    assert_memory_equal(slots, again, sizeof(slots));
}

static void none_and_all_have_words(void **state)
{
    (void)state;
    bool slots[10] = {false};
    char text[8];
    slot_list_format(slots, 10, text, sizeof(text));
    assert_string_equal(text, "");
    assert_false(slot_list_has(text, 0));
    slot_list_mark("*", slots, 10);
    assert_true(slots[0] && slots[9]);
    slot_list_format(slots, 10, text, sizeof(text));
    assert_string_equal(text, "0-9");
    assert_true(slot_list_has("*", 16383));
}

static void what_does_not_fit_becomes_all(void **state)
{
    (void)state;
    bool slots[20];
    char text[8];
    for (int slot = 0; slot < 20; slot++)
        slots[slot] = slot % 2 == 0;
    slot_list_format(slots, 20, text, sizeof(text));
    assert_string_equal(text, "*");
}

static void a_garbled_list_is_told(void **state)
{
    (void)state;
    assert_true(slot_list_is_valid("") && slot_list_is_valid("*") && slot_list_is_valid("1,3-5"));
    assert_false(slot_list_is_valid("1,") || slot_list_is_valid("5-3") || slot_list_is_valid("a") ||
                 slot_list_is_valid("1-2-3"));
}

static void arrivals_are_written_and_read_and_struck_off(void **state)
{
    (void)state;
    struct arrival_record record = {0}, again;
    struct arrival one = {"RZ01", 57, 3}, other = {"RZ02", 57, 3};
    struct buf text = {NULL, 0, 0};
    struct error err;
    assert_true(arrival_record_add(&record, &one) && arrival_record_add(&record, &one));
    assert_true(arrival_record_add(&record, &other));
    arrival_record_format(&record, &text);
    assert_string_equal(text.base, "{\"from\":[{\"unit\":\"RZ01\",\"epoch\":57,\"version\":3},"
                                   "{\"unit\":\"RZ02\",\"epoch\":57,\"version\":3}]}");
    assert_int_equal(arrival_record_parse(buf_str(&text), &again, &err), 0);
    arrival_record_remove(&again, &one);
    assert_int_equal(again.count, 1);
    assert_string_equal(again.from[0].unit, "RZ02");
    for (uint64_t epoch = 100; again.count < ARRIVALS_MOST; epoch++)
        assert_true(arrival_record_add(&again, &(struct arrival){"RZ03", epoch, 4}));
    assert_false(arrival_record_add(&again, &one));
    assert_int_equal(arrival_record_parse(STR_LIT("{\"from\":[{\"unit\":1}]}"), &again, &err), -1);
    assert_int_equal(again.count, 0);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_names_its_slots_and_no_others),
        cmocka_unit_test(none_and_all_have_words),
        cmocka_unit_test(what_does_not_fit_becomes_all),
        cmocka_unit_test(a_garbled_list_is_told),
        cmocka_unit_test(arrivals_are_written_and_read_and_struck_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
