/* SPDX-License-Identifier: Apache-2.0 */
#include "router/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static void assert_slot(const struct hash *hash, const char *user, uint32_t expected)
{
    uint32_t slot = UINT32_MAX;
    assert_true(hash_slot(hash, str_of(user), &slot));
    if (slot != expected)
        fail_msg("%s: slot %u, not %u", user, slot, expected);
}

static void modulo_takes_numbers_of_any_length(void **state)
{
    (void)state;
    static const struct {
        const char *user;
        uint32_t slots, slot;
    } rows[] = {
        {"0", 100, 0},
        {"7", 100, 7},
        {"1001", 100, 1},
        {"1001", 1, 0},
        {"0000000000000000000000000000000000001001", 100, 1},
        {"999999999999999", 16384, 16383},
        {"9999999999999999", 16384, 16383},
        {"18446744073709551615", 100, 15},
        {"18446744073709551616", 100, 16},
        {"340282366920938463463374607431768211456", 9973, 1995},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_slot(&(struct hash){HASH_MODULO, false, rows[i].slots, 0}, rows[i].user, rows[i].slot);
}

static void modulo_takes_thousands_of_digits(void **state)
{
    (void)state;
    char sevens[2001], digits[2701] = "";
    memset(sevens, '7', 2000);
    sevens[2000] = '\0';
    for (int i = 0; i < 300; i++)
        memcpy(digits + 9 * i, "123456789", 10);
    assert_slot(&(struct hash){HASH_MODULO, false, 16381, 0}, sevens, 10805);
    assert_slot(&(struct hash){HASH_MODULO, false, 16384, 0}, digits, 7957);
}

/* Long division, digit by digit: no step can overflow. */
static uint32_t remainder_of(const char *digits, uint32_t slots)
{
    uint32_t value = 0;
    for (; *digits != '\0'; digits++)
        value = (value * 10 + (uint32_t)(*digits - '0')) % slots;
    return value;
}

static void modulo_equals_long_division_for_random_numbers(void **state)
{
    (void)state;
    unsigned seed = 20260131;
    for (int i = 0; i < 20000; i++) {
        char user[65];
        size_t len = 1 + (size_t)rand_r(&seed) % 64;
        for (size_t j = 0; j < len; j++)
            user[j] = (char)('0' + (i % 3 == 0 ? 9 : rand_r(&seed) % 10));
        user[len] = '\0';
        uint32_t slots = 1 + (uint32_t)rand_r(&seed) % HASH_MAX_SLOTS;
        assert_slot(&(struct hash){HASH_MODULO, false, slots, 0}, user, remainder_of(user, slots));
    }
}

static void modulo_refuses_what_is_no_number(void **state)
{
    (void)state;
    static const char *const users[] = {
        "", "+1", "-1", " 1", "1 ", "1a", "0x10", "1.0", "1,", "\xef\xbc\x91", "12345678901234567890x"};
    struct hash hash = {HASH_MODULO, false, 100, 0};
    for (size_t i = 0; i < COUNT_OF(users); i++) {
        uint32_t slot;
        if (hash_slot(&hash, str_of(users[i]), &slot))
            fail_msg("\"%s\" was taken", users[i]);
    }
}

static void non_numeric_ids_fall_back_to_xxh3_where_asked(void **state)
{
    (void)state;
    struct hash hash = {HASH_MODULO, true, 100, 0}, xxh3 = {HASH_XXH3, false, 100, 0};
    uint32_t expected;
    assert_slot(&hash, "1001", 1);
    assert_true(hash_slot(&xxh3, STR_LIT("anna"), &expected));
    assert_slot(&hash, "anna", expected);
    assert_false(hash_slot(&hash, STR_LIT(""), &expected));
}

static uint16_t crc16_by_bits(struct str bytes)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= (uint16_t)((unsigned char)bytes.base[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? (uint16_t)(crc << 1 ^ 0x1021) : (uint16_t)(crc << 1);
    }
    return crc;
}

static void crc16_equals_its_definition_for_each_length(void **state)
{
    (void)state;
    unsigned seed = 4711;
    assert_int_equal(hash_crc16(STR_LIT("123456789")), 0x31c3);
    for (size_t len = 0; len <= 64; len++)
        for (int round = 0; round < 100; round++) {
            char bytes[64];
            for (size_t i = 0; i < len; i++)
                bytes[i] = (char)rand_r(&seed);
            struct str text = {bytes, len};
            assert_int_equal(hash_crc16(text), crc16_by_bits(text));
        }
}

static void crc16_slots_are_those_of_redis_cluster(void **state)
{
    (void)state;
    struct hash hash = {HASH_CRC16, false, 16384, 0};
    assert_slot(&hash, "foo", 12182);
    assert_slot(&hash, "123456789", 12739);
    assert_slot(&hash, "{user1000}.following", 3443);
    assert_slot(&hash, "{user1000}.followers", 3443);
    assert_slot(&hash, "user1000", 3443);
}

/* The tag is what stands between the first { and the next }, if that is something. */
static void the_tag_rule_has_its_exceptions(void **state)
{
    (void)state;
    static const struct {
        const char *user, *hashed;
    } rows[] = {{"{}a", "{}a"},   {"a{b", "a{b"},   {"{b", "{b"},        {"a}b{c}d", "c"},
                {"{{b}c}", "{b"}, {"a{b}{c}", "b"}, {"a{}{c}", "a{}{c}"}};
    struct hash hash = {HASH_CRC16, false, 16384, 0};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_slot(&hash, rows[i].user, crc16_by_bits(str_of(rows[i].hashed)) % 16384);
}

static void xxh3_takes_the_seed_of_the_salt(void **state)
{
    (void)state;
    struct hash plain = {HASH_XXH3, false, 16384, 0};
    struct hash salted = {HASH_XXH3, false, 16384, hash_seed_of_salt(STR_LIT("pepper"))};
    assert_int_equal(hash_seed_of_salt(STR_LIT("")), 0x2d06800538d394c2);
    assert_slot(&plain, "1001", 13704);
    assert_slot(&salted, "1001", 9409);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modulo_takes_numbers_of_any_length),
        cmocka_unit_test(modulo_takes_thousands_of_digits),
        cmocka_unit_test(modulo_equals_long_division_for_random_numbers),
        cmocka_unit_test(modulo_refuses_what_is_no_number),
        cmocka_unit_test(non_numeric_ids_fall_back_to_xxh3_where_asked),
        cmocka_unit_test(crc16_equals_its_definition_for_each_length),
        cmocka_unit_test(crc16_slots_are_those_of_redis_cluster),
        cmocka_unit_test(the_tag_rule_has_its_exceptions),
        cmocka_unit_test(xxh3_takes_the_seed_of_the_salt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
