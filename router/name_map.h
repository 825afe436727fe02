/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts, each with a unit and the line of the rule that says so, while they are collected: the overrides of a rule
 * file, up to millions of them. Open addressing with linear probing. What is looked up for requests is the index that
 * is made of it (router/name_index.h). Zero-initialise it.
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

/* Records lie one behind the other, and are addressed in steps of this many bytes: 32 bits reach 16 GiB of them. */
#define NAME_RECORD_STEP 4

static inline uint32_t name_record_steps(size_t len)
{
    return (uint32_t)((sizeof(struct name_record) + len + NAME_RECORD_STEP - 1) / NAME_RECORD_STEP);
}

static inline struct str name_record_text(const struct name_record *record)
{
    return (struct str){record->text, record->len};
}

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

/* NULL where TEXT was never added. Allocates nothing. */
const struct name_record *name_map_find(const struct name_map *map, struct str text);

/* The record behind RECORD, the first for NULL, or NULL at the end. */
const struct name_record *name_map_next(const struct name_map *map, const struct name_record *record);

size_t name_map_bytes(const struct name_map *map);
void name_map_free(struct name_map *map);

#endif
