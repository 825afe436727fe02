/* SPDX-License-Identifier: Apache-2.0
 *
 * User ID -> slot. Pure; the exact definitions are a promise to everybody who computes the same elsewhere.
 */
#ifndef ROUTER_HASH_H
#define ROUTER_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

enum hash_kind {
    HASH_MODULO = 0, /* the ID as an unsigned decimal integer of any length, modulo the slots */
    HASH_CRC16, /* CRC-16/XMODEM over the ID, or over the non-empty text in its first {...}, as Redis Cluster has it */
    HASH_XXH3,  /* XXH3, 64 bits, with the seed */
};

#define HASH_MAX_SLOTS 16384

struct hash {
    enum hash_kind kind;
    bool non_numeric_xxh3; /* modulo: an ID that is no number hashes by XXH3 instead of being refused */
    uint32_t slots;        /* 1..HASH_MAX_SLOTS */
    uint64_t seed;         /* XXH3: 0, or XXH3 of the salt's text with seed 0 */
};

/* False where USER does not fit the hash: empty, or not a number for modulo. */
bool hash_slot(const struct hash *hash, struct str user, uint32_t *slot);

/* Whether both put each user into the same slot. */
bool hash_equal(const struct hash *a, const struct hash *b);

/* XXH3 with 64 bits; the router's one hash function for everything that is not a promise, too. */
uint64_t hash_xxh3(struct str bytes, uint64_t seed);
uint64_t hash_seed_of_salt(struct str salt);
uint16_t hash_crc16(struct str bytes);

#endif
