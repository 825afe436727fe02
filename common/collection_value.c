/* SPDX-License-Identifier: Apache-2.0 */
#include "common/collection_value.h"

#include <stdio.h>

#include "common/invariant.h"
#include "common/protocol.h"

/* Inlined: keys are short, and the state of a check fits on the stack. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FORMAT     1
#define VERSION_AT 1
#define US_AT      9
#define CHECK_AT   17
#define TYPE_AT    25
#define SUM_BITS   48

#define LOW(number, bits) ((number) & ((UINT64_C(1) << (bits)) - 1))

static void put_little(char *to, uint64_t number, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (char)(uint8_t)(number >> (8 * i));
}

static uint64_t get_little(const char *from, int bytes)
{
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number |= (uint64_t)(uint8_t)from[i] << (8 * i);
    return number;
}

uint32_t collection_bucket(struct str key)
{
    return (uint32_t)LOW(XXH3_64bits(key.len > 0 ? key.base : "", key.len), 10);
}

static void take_in(XXH3_state_t *state, struct str bytes, int length_bytes)
{
    char length[4];
    put_little(length, bytes.len, length_bytes);
    XXH3_64bits_update(state, length, (size_t)length_bytes);
    if (bytes.len > 0)
        XXH3_64bits_update(state, bytes.base, bytes.len);
}

uint64_t collection_check(struct str key, struct str type, struct str value)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    take_in(&state, key, 4);
    take_in(&state, type, 2);
    take_in(&state, value, 0);
    return XXH3_64bits_digest(&state);
}

void collection_pack(struct str key, struct str type, struct str value, struct buf *out)
{
    if (type.len > COLLECTION_TYPE_MAX)
        type.len = COLLECTION_TYPE_MAX;
    char *header = buf_reserve(out, COLLECTION_HEADER);
    memset(header, 0, COLLECTION_HEADER);
    header[0] = FORMAT;
    put_little(header + CHECK_AT, collection_check(key, type, value), 8);
    put_little(header + TYPE_AT, type.len, 2);
    out->len += COLLECTION_HEADER;
    buf_append_str(out, type);
    buf_append_str(out, value);
}

bool collection_unpack(struct str packed, struct collection_value *value)
{
    if (packed.len < COLLECTION_HEADER || packed.base[0] != FORMAT)
        return false;
    size_t type_len = get_little(packed.base + TYPE_AT, 2), rest = packed.len - COLLECTION_HEADER;
    if (type_len > rest)
        return false;
    const char *type = packed.base + COLLECTION_HEADER;
    *value = (struct collection_value){.version = get_little(packed.base + VERSION_AT, 8),
                                       .us = get_little(packed.base + US_AT, 8),
                                       .check = get_little(packed.base + CHECK_AT, 8),
                                       .type = {type, type_len},
                                       .value = {type + type_len, rest - type_len}};
    return true;
}

bool collection_is_sound(struct str key, const struct collection_value *value)
{
    return collection_check(key, value->type, value->value) == value->check;
}

/* No step leaves the 53 bits that a double holds exactly: the functions in the brokers know no other numbers. */
uint64_t collection_share(const struct collection_value *value)
{
    uint64_t check = LOW(value->check, SUM_BITS);
    return LOW(check + LOW(value->version, 32) * (LOW(check, 20) | 1), SUM_BITS);
}

uint64_t collection_sum_add(uint64_t sum, uint64_t share)
{
    return LOW(sum + share, SUM_BITS);
}

uint64_t collection_sum_remove(uint64_t sum, uint64_t share)
{
    return LOW(sum - share, SUM_BITS);
}

uint64_t collection_digest_sum(const char *sums, uint32_t bucket)
{
    INVARIANT(bucket < COLLECTION_BUCKETS);
    return get_little(sums + (size_t)bucket * COLLECTION_SUM_SIZE, COLLECTION_SUM_SIZE);
}

size_t collection_key(char *key, struct str unit, struct str collection, const char *suffix)
{
    INVARIANT(unit.len <= PROTOCOL_NAME_MAX && collection.len <= PROTOCOL_NAME_MAX);
    int len = snprintf(key, PROTOCOL_KEY_MAX, "ldc:{%.*s}:c/%.*s/%s", STR_ARG(unit), STR_ARG(collection), suffix);
    INVARIANT(len > 0 && len < PROTOCOL_KEY_MAX);
    return (size_t)len;
}
