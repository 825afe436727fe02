/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "common/file.h"
#include "common/protocol.h"

static void a_partition_has_keys_under_one_hash_tag(void **state)
{
    (void)state;
    char key[PROTOCOL_KEY_MAX];
    size_t len = protocol_key(key, STR_LIT("RZ01"), STR_LIT("payments"), 3, "stream");
    assert_string_equal(key, "ldc:{RZ01/payments/3}:stream");
    assert_int_equal(len, strlen(key));
}

static void a_message_id_says_where_it_is(void **state)
{
    (void)state;
    char id[PROTOCOL_ID_MAX];
    struct protocol_id parts;
    protocol_id_format(id, STR_LIT("RZ01"), STR_LIT("pay-ments_2"), 1023, 1700000000123456, 0xabcdef012345);
    assert_string_equal(id, "RZ01.pay-ments_2.1023.018bcfe5687babcdef012345");
    assert_true(protocol_id_parse(str_of(id), &parts));
    assert_true(str_equal(parts.unit, STR_LIT("RZ01")));
    assert_true(str_equal(parts.topic, STR_LIT("pay-ments_2")));
    assert_int_equal(parts.partition, 1023);
}

static void a_key_says_what_it_is_of(void **state)
{
    (void)state;
    struct protocol_id parts;
    struct str suffix;
    assert_true(protocol_key_parse(STR_LIT("ldc:{RZ01/pay-ments_2/1023}:stream"), &parts, &suffix));
    assert_true(str_equal(parts.unit, STR_LIT("RZ01")));
    assert_true(str_equal(parts.topic, STR_LIT("pay-ments_2")));
    assert_int_equal(parts.partition, 1023);
    assert_true(str_equal(suffix, STR_LIT("stream")));
    static const char *const bad[] = {"",
                                      "ldc:{RZ01/payments/1}",
                                      "ldc:{RZ01/payments/1}:",
                                      "ldc:{RZ01/payments/1}stream",
                                      "ldc:{RZ01/payments/1:stream",
                                      "ldc:{RZ01/payments/}:stream",
                                      "ldc:{RZ01/payments/x}:stream",
                                      "ldc:{RZ01/payments/123456}:stream",
                                      "ldc:{RZ01/payments}:stream",
                                      "ldc:{/payments/1}:stream",
                                      "ldc:{RZ01/pay.ments/1}:stream",
                                      "lcd:{RZ01/payments/1}:stream"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (protocol_key_parse(str_of(bad[i]), &parts, &suffix))
            fail_msg("%s was taken", bad[i]);
}

static void the_longest_names_fit(void **state)
{
    (void)state;
    char name[PROTOCOL_NAME_MAX], id[PROTOCOL_ID_MAX], key[PROTOCOL_KEY_MAX];
    struct protocol_id parts;
    memset(name, 'n', sizeof(name));
    struct str longest = {name, sizeof(name)};
    protocol_id_format(id, longest, longest, 65535, UINT64_MAX, UINT64_MAX);
    assert_true(protocol_id_parse(str_of(id), &parts));
    protocol_key(key, longest, longest, 65535, "stream");
}

static void what_is_no_message_id_is_refused(void **state)
{
    (void)state;
    const char *bad[] = {"",
                         "RZ01",
                         "RZ01.payments.3",
                         "RZ01.payments.3.",
                         "RZ01.payments.x.018bcfe5687babcdef012345",
                         "RZ01.payments.-1.018bcfe5687babcdef012345",
                         "RZ01.payments.3.018BCFE5687BABCDEF012345",
                         "RZ01.payments.3.018bcfe5687babcdef01234",
                         "RZ01.payments.3.018bcfe5687babcdef012345.x",
                         "RZ01/x.payments.3.018bcfe5687babcdef012345",
                         "{RZ01}.payments.3.018bcfe5687babcdef012345",
                         ".payments.3.018bcfe5687babcdef012345"};
    struct protocol_id parts;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(protocol_id_parse(str_of(bad[i]), &parts));
}

static void an_envelope_needs_all_its_fields_in_any_order(void **state)
{
    (void)state;
    struct str names[ENVELOPE_REQUIRED + 1], values[ENVELOPE_REQUIRED + 1];
    struct envelope envelope;
    for (int i = 0; i < ENVELOPE_REQUIRED; i++) {
        names[ENVELOPE_REQUIRED - i] = str_of(envelope_names[i]);
        values[ENVELOPE_REQUIRED - i] = STR_LIT("7");
    }
    names[0] = STR_LIT("a later field");
    values[0] = STR_LIT("whatever");
    assert_true(envelope_decode(names, values, ENVELOPE_REQUIRED + 1, &envelope));
    assert_true(str_equal(envelope.fields[ENVELOPE_BODY], STR_LIT("7")));
    assert_false(envelope_decode(names + 1, values + 1, ENVELOPE_REQUIRED - 1, &envelope));
    values[ENVELOPE_REQUIRED - ENVELOPE_EPOCH] = STR_LIT("x");
    assert_false(envelope_decode(names, values, ENVELOPE_REQUIRED + 1, &envelope));
    values[ENVELOPE_REQUIRED - ENVELOPE_EPOCH] = STR_LIT("1");
    values[ENVELOPE_REQUIRED - ENVELOPE_SLOT] = STR_LIT("");
    assert_true(envelope_decode(names, values, ENVELOPE_REQUIRED + 1, &envelope));
}

/* Tests run in the root of the tree. */
static void the_document_lists_the_fields_in_their_order(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    struct error err;
    char row[64];
    assert_int_equal(file_read("docs/PROTOCOL.md", 1 << 20, &text, &err), 0);
    const char *at = strstr(text.base, "## The envelope");
    for (int i = 0; i < ENVELOPE_REQUIRED; i++) {
        snprintf(row, sizeof(row), "| `%s` |", envelope_names[i]);
        assert_non_null(at);
        at = strstr(at, row);
    }
    assert_non_null(at);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_partition_has_keys_under_one_hash_tag),
        cmocka_unit_test(a_message_id_says_where_it_is),
        cmocka_unit_test(a_key_says_what_it_is_of),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(what_is_no_message_id_is_refused),
        cmocka_unit_test(an_envelope_needs_all_its_fields_in_any_order),
        cmocka_unit_test(the_document_lists_the_fields_in_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
