/* SPDX-License-Identifier: Apache-2.0 */
#include "common/collection_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/protocol.h"

static const struct str key = {"m/1", 3}, type = {"text/plain", 10}, bytes = {"a\0b", 3};

static struct collection_value unpacked(const struct buf *packed)
{
    struct collection_value value;
    assert_true(collection_unpack(buf_str(packed), &value));
    return value;
}

static void a_value_comes_back_with_its_type(void **state)
{
    (void)state;
    struct buf packed = {NULL, 0, 0};
    collection_pack(key, type, bytes, &packed);
    struct collection_value value = unpacked(&packed);
    assert_true(str_equal(value.type, type));
    assert_true(str_equal(value.value, bytes));
    assert_int_equal(value.version, 0);
    assert_int_equal(value.us, 0);
    assert_int_equal(packed.len, COLLECTION_HEADER + 13);
    assert_true(collection_is_sound(key, &value));
    buf_free(&packed);
}

static void the_layout_is_the_documented_one(void **state)
{
    (void)state;
    char packed[] = "\1\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\4\0\0\0\0\0\0\200\1\0tv";
    struct collection_value value;
    assert_true(collection_unpack((struct str){packed, sizeof(packed) - 1}, &value));
    assert_int_equal(value.version, 2);
    assert_int_equal(value.us, 3);
    assert_true(value.check == (UINT64_C(4) | UINT64_C(0x80) << 56));
    assert_true(str_equal(value.type, STR_LIT("t")));
    assert_true(str_equal(value.value, STR_LIT("v")));
}

static void empty_values_and_long_types_are_taken(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'x', sizeof(text));
    struct buf packed = {NULL, 0, 0};
    collection_pack(STR_LIT(""), (struct str){NULL, 0}, (struct str){NULL, 0}, &packed);
    struct collection_value value = unpacked(&packed);
    assert_int_equal(value.type.len + value.value.len, 0);
    assert_true(collection_is_sound(STR_LIT(""), &value));
    packed.len = 0;
    collection_pack(key, (struct str){text, sizeof(text)}, bytes, &packed);
    value = unpacked(&packed);
    assert_int_equal(value.type.len, COLLECTION_TYPE_MAX);
    assert_true(collection_is_sound(key, &value));
    buf_free(&packed);
}

static void what_is_no_value_is_refused(void **state)
{
    (void)state;
    struct buf packed = {NULL, 0, 0};
    struct collection_value value;
    collection_pack(key, type, bytes, &packed);
    for (size_t len = 0; len < COLLECTION_HEADER + type.len; len++)
        assert_false(collection_unpack((struct str){packed.base, len}, &value));
    packed.base[0] = 2;
    assert_false(collection_unpack(buf_str(&packed), &value));
    buf_free(&packed);
}

static void every_flipped_bit_and_another_key_are_seen(void **state)
{
    (void)state;
    struct buf packed = {NULL, 0, 0};
    collection_pack(key, type, bytes, &packed);
    for (size_t bit = 8 * 17; bit < 8 * packed.len; bit++) {
        struct collection_value value;
        packed.base[bit / 8] = (char)(packed.base[bit / 8] ^ (1 << bit % 8));
        if (collection_unpack(buf_str(&packed), &value))
            assert_false(collection_is_sound(key, &value));
        packed.base[bit / 8] = (char)(packed.base[bit / 8] ^ (1 << bit % 8));
    }
    struct collection_value value = unpacked(&packed);
    assert_false(collection_is_sound(STR_LIT("m/2"), &value));
    buf_free(&packed);
}

static void bytes_that_move_between_key_type_and_value_are_seen(void **state)
{
    (void)state;
    assert_true(collection_check(STR_LIT("ab"), STR_LIT("c"), STR_LIT("d")) !=
                collection_check(STR_LIT("a"), STR_LIT("bc"), STR_LIT("d")));
    assert_true(collection_check(STR_LIT("a"), STR_LIT("bc"), STR_LIT("d")) !=
                collection_check(STR_LIT("a"), STR_LIT("b"), STR_LIT("cd")));
}

static void a_sum_does_not_depend_on_the_order(void **state)
{
    (void)state;
    uint64_t forth = 0, back = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        struct collection_value one = {.version = i << 31, .check = i * UINT64_C(0x9E3779B97F4A7C15)};
        struct collection_value other = {.version = (999 - i) << 31, .check = (999 - i) * UINT64_C(0x9E3779B97F4A7C15)};
        forth = collection_sum_add(forth, collection_share(&one));
        back = collection_sum_add(back, collection_share(&other));
    }
    assert_true(forth == back);
    for (uint64_t i = 0; i < 1000; i++) {
        struct collection_value one = {.version = i << 31, .check = i * UINT64_C(0x9E3779B97F4A7C15)};
        forth = collection_sum_remove(forth, collection_share(&one));
    }
    assert_true(forth == 0);
}

static void a_share_tells_versions_and_checks_apart(void **state)
{
    (void)state;
    const struct collection_value value = {.version = 7, .check = 0}, later = {.version = 8, .check = 0},
                                  other = {.version = 7, .check = 1}, most = {UINT64_MAX, 0, UINT64_MAX, type, bytes};
    assert_true(collection_share(&value) == 7);
    assert_true(collection_share(&later) == 8);
    assert_true(collection_share(&other) == 8);
    assert_true(collection_share(&most) ==
                ((UINT64_C(0xFFFFFFFFFFFF) + UINT64_C(0xFFFFFFFF) * 0xFFFFF) & UINT64_C(0xFFFFFFFFFFFF)));
}

static void digests_are_read_by_bucket(void **state)
{
    (void)state;
    char sums[COLLECTION_SUMS_SIZE] = {0};
    memcpy(sums + (size_t)1023 * COLLECTION_SUM_SIZE, "\1\2\3\4\5\200", COLLECTION_SUM_SIZE);
    assert_true(collection_digest_sum(sums, 0) == 0);
    assert_true(collection_digest_sum(sums, 1023) == UINT64_C(0x800504030201));
}

static void keys_are_the_documented_ones(void **state)
{
    (void)state;
    char text[PROTOCOL_KEY_MAX];
    assert_int_equal(collection_key(text, STR_LIT("CORE"), STR_LIT("merchants"), "meta"), 27);
    assert_string_equal(text, "ldc:{CORE}:c/merchants/meta");
    collection_key(text, STR_LIT("CORE"), STR_LIT("merchants"), "b/1023");
    assert_string_equal(text, "ldc:{CORE}:c/merchants/b/1023");
}

static void keys_spread_over_all_buckets(void **state)
{
    (void)state;
    unsigned counts[COLLECTION_BUCKETS] = {0};
    for (unsigned i = 0; i < 100 * COLLECTION_BUCKETS; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "merchant/%u", i);
        counts[collection_bucket((struct str){text, (size_t)len})]++;
    }
    for (unsigned i = 0; i < COLLECTION_BUCKETS; i++)
        assert_in_range(counts[i], 50, 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_comes_back_with_its_type),
        cmocka_unit_test(the_layout_is_the_documented_one),
        cmocka_unit_test(empty_values_and_long_types_are_taken),
        cmocka_unit_test(what_is_no_value_is_refused),
        cmocka_unit_test(every_flipped_bit_and_another_key_are_seen),
        cmocka_unit_test(bytes_that_move_between_key_type_and_value_are_seen),
        cmocka_unit_test(a_sum_does_not_depend_on_the_order),
        cmocka_unit_test(a_share_tells_versions_and_checks_apart),
        cmocka_unit_test(digests_are_read_by_bucket),
        cmocka_unit_test(keys_are_the_documented_ones),
        cmocka_unit_test(keys_spread_over_all_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
