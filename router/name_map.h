/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts, each with a unit and the line of the rule that says so: the overrides of a rule file, up to millions of them.
 * Open addressing with linear probing over 8-byte buckets; what a text is worth lies beside its bytes, so that a
 * lookup misses the cache twice at most. Filled by its one owner, then read by anybody. Zero-initialise it.
 */
#ifndef ROUTER_NAME_MAP_H
#define ROUTER_NAME_MAP_H

#include "common/str.h"

#define NAME_MAP_LONGEST 256 /* bytes of a text */

struct name_record {
    uint32_t line;
    uint16_t unit;
    uint16_t len;
    char text[];
};

struct name_map {
    struct name_bucket *buckets;
    uint32_t bucket_count; /* a power of two, or 0 */
    uint32_t count;
    char *records; /* in order of adding */
    size_t records_len, records_capacity;
};

/* Adds TEXT of 1..NAME_MAP_LONGEST bytes. Where it is there already nothing changes and the line of its record is
 * returned, else 0. */
uint32_t name_map_add(struct name_map *map, struct str text, uint16_t unit, uint32_t line);

/* Gives back what growing left over. */
void name_map_trim(struct name_map *map);

/* NULL where TEXT was never added. Allocates nothing. */
const struct name_record *name_map_find(const struct name_map *map, struct str text);

/* The record behind RECORD, the first for NULL, or NULL at the end. */
const struct name_record *name_map_next(const struct name_map *map, const struct name_record *record);

size_t name_map_bytes(const struct name_map *map);
void name_map_free(struct name_map *map);

#endif
