/* SPDX-License-Identifier: Apache-2.0
 *
 * A value of a collection as it stands in the brokers, and the sums by which copies are compared. common/functions/
 * collections.lua reads the same bytes; docs/COLLECTIONS.md describes them. Nothing here owns anything: what is
 * unpacked borrows the packed bytes.
 *
 * Packed, little-endian: u8 1 | u64 version | u64 us | u64 check | u16 length of the type | type | value.
 */
#ifndef COMMON_COLLECTION_VALUE_H
#define COMMON_COLLECTION_VALUE_H

#include "common/str.h"

#define COLLECTION_BUCKETS   1024
#define COLLECTION_HEADER    27   /* bytes before the type */
#define COLLECTION_TYPE_MAX  255  /* bytes of a content type */
#define COLLECTION_KEY_MAX   1024 /* bytes of a key */
#define COLLECTION_SUM_SIZE  6    /* bytes of one sum in a digest entry, little-endian */
#define COLLECTION_SUMS_SIZE (COLLECTION_BUCKETS * COLLECTION_SUM_SIZE)

struct collection_value {
    uint64_t version; /* the collection's sequence when it was written; 0: the broker has yet to say */
    uint64_t us;      /* wall clock of the origin's broker then, since 1970 */
    uint64_t check;   /* collection_check() of key, type and value */
    struct str type;  /* content type */
    struct str value;
};

/* Which of the buckets holds KEY: the low bits of its XXH3-64. */
uint32_t collection_bucket(struct str key);

/* XXH3-64 of u32 length of the key, key, u16 length of the type, type, value. */
uint64_t collection_check(struct str key, struct str type, struct str value);

/* Appends the value as the functions take it: with its check, without version and time. TYPE: COLLECTION_TYPE_MAX at
 * most, else cut there. */
void collection_pack(struct str key, struct str type, struct str value, struct buf *out);

/* False where PACKED is no value of this format. Does not look at the check. */
bool collection_unpack(struct str packed, struct collection_value *value);

/* Whether the value is the one that was written under KEY, bit for bit. */
bool collection_is_sound(struct str key, const struct collection_value *value);

/* What an entry adds to its bucket's sum, which is taken modulo 2^48. By version and check, so that two buckets with
 * the same sum hold the same values of the same versions. */
uint64_t collection_share(const struct collection_value *value);
uint64_t collection_sum_add(uint64_t sum, uint64_t share);
uint64_t collection_sum_remove(uint64_t sum, uint64_t share);

/* The sum of BUCKET in the COLLECTION_SUMS_SIZE bytes of a digest entry. */
uint64_t collection_digest_sum(const char *sums, uint32_t bucket);

/* Zero-terminated "ldc:{UNIT}:c/COLLECTION/SUFFIX" into KEY of PROTOCOL_KEY_MAX bytes; returns its length. An empty
 * SUFFIX gives what the functions take as their one key. */
size_t collection_key(char *key, struct str unit, struct str collection, const char *suffix);

#endif
