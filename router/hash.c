/* SPDX-License-Identifier: Apache-2.0 */
#include "router/hash.h"

/* Inlined: user IDs are short, so a call through the library's dispatch would cost more than the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

/* The remainder of one byte is the sum of the remainders of its bits, so eight constants make a table of 256. */
#define BIT(byte, bit, remainder) ((byte) >> (bit)&1 ? (remainder) : 0)
#define REMAINDER(byte, r0, r1, r2, r3, r4, r5, r6, r7)                                                                \
    (BIT(byte, 0, r0) ^ BIT(byte, 1, r1) ^ BIT(byte, 2, r2) ^ BIT(byte, 3, r3) ^ BIT(byte, 4, r4) ^ BIT(byte, 5, r5) ^ \
     BIT(byte, 6, r6) ^ BIT(byte, 7, r7))
#define FOUR(byte, ...)                                                                                                \
    REMAINDER(byte, __VA_ARGS__), REMAINDER(byte + 1, __VA_ARGS__), REMAINDER(byte + 2, __VA_ARGS__),                  \
        REMAINDER(byte + 3, __VA_ARGS__)
#define SIXTEEN(byte, ...)                                                                                             \
    FOUR(byte, __VA_ARGS__), FOUR(byte + 4, __VA_ARGS__), FOUR(byte + 8, __VA_ARGS__), FOUR(byte + 12, __VA_ARGS__)
#define SIXTY_FOUR(byte, ...)                                                                                          \
    SIXTEEN(byte, __VA_ARGS__), SIXTEEN(byte + 16, __VA_ARGS__), SIXTEEN(byte + 32, __VA_ARGS__),                      \
        SIXTEEN(byte + 48, __VA_ARGS__)
#define TABLE(...)                                                                                                     \
    {                                                                                                                  \
        SIXTY_FOUR(0, __VA_ARGS__), SIXTY_FOUR(64, __VA_ARGS__), SIXTY_FOUR(128, __VA_ARGS__),                         \
            SIXTY_FOUR(192, __VA_ARGS__)                                                                               \
    }

/* Row k: the byte is followed by k more. The constants are x^(16+8k) ... x^(23+8k) modulo x^16 + x^12 + x^5 + 1. */
static const uint16_t crc_tables[4][256] = {
    TABLE(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188),
    TABLE(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98),
    TABLE(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a),
    TABLE(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38),
};

uint16_t hash_crc16(struct str bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.base, *end = p + bytes.len;
    uint16_t crc = 0;
    for (; end - p >= 4; p += 4)
        crc = crc_tables[3][p[0] ^ crc >> 8] ^ crc_tables[2][p[1] ^ (crc & 0xff)] ^ crc_tables[1][p[2]] ^
              crc_tables[0][p[3]];
    for (; p < end; p++)
        crc = (uint16_t)(crc << 8) ^ crc_tables[0][p[0] ^ crc >> 8];
    return crc;
}

/* What Redis Cluster hashes of a key: the text between the first "{" and the next "}", unless that is empty. */
static struct str tag_of(struct str user)
{
    const char *open = memchr(user.base, '{', user.len);
    if (open == NULL)
        return user;
    const char *close = memchr(open, '}', (size_t)(user.base + user.len - open));
    if (close == NULL || close == open + 1)
        return user;
    return (struct str){open + 1, (size_t)(close - open - 1)};
}

/* DIGITS_AT_ONCE is the most for which a remainder below HASH_MAX_SLOTS, times its power of ten, fits 64 bits. */
#define DIGITS_AT_ONCE 15

static bool modulo(struct str user, uint32_t slots, uint32_t *slot)
{
    uint64_t value = 0;
    for (size_t i = 0, pending = 0; i < user.len; i++) {
        unsigned digit = (unsigned)(unsigned char)user.base[i] - '0';
        if (digit > 9)
            return false;
        if (pending++ == DIGITS_AT_ONCE) {
            value %= slots;
            pending = 1;
        }
        value = value * 10 + digit;
    }
    *slot = (uint32_t)(value % slots);
    return user.len > 0;
}

bool hash_equal(const struct hash *a, const struct hash *b)
{
    return a->kind == b->kind && a->slots == b->slots && a->seed == b->seed &&
           a->non_numeric_xxh3 == b->non_numeric_xxh3;
}

uint64_t hash_xxh3(struct str bytes, uint64_t seed)
{
    return seed == 0 ? XXH3_64bits(bytes.base, bytes.len) : XXH3_64bits_withSeed(bytes.base, bytes.len, seed);
}

bool hash_slot(const struct hash *hash, struct str user, uint32_t *slot)
{
    if (user.len == 0)
        return false;
    if (hash->kind == HASH_CRC16) {
        *slot = hash_crc16(tag_of(user)) % hash->slots;
        return true;
    }
    if (hash->kind == HASH_MODULO) {
        if (modulo(user, hash->slots, slot))
            return true;
        if (!hash->non_numeric_xxh3)
            return false;
    }
    *slot = (uint32_t)(hash_xxh3(user, hash->seed) % hash->slots);
    return true;
}

uint64_t hash_seed_of_salt(struct str salt)
{
    return hash_xxh3(salt, 0);
}
