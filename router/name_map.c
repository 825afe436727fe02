/* SPDX-License-Identifier: Apache-2.0 */
#include "router/name_map.h"

#include <stdlib.h>

#include "common/invariant.h"
#include "router/hash.h"

struct name_bucket {
    uint32_t tag;  /* upper half of the hash: a wrong text is rarely touched */
    uint32_t step; /* of the record; 0: empty */
};

static const struct name_record *record_at(const struct name_map *map, uint32_t step)
{
    return (const struct name_record *)(map->records + (size_t)step * NAME_RECORD_STEP);
}

/* The bucket of TEXT: its own, or the empty one where it belongs. */
static struct name_bucket *probe(const struct name_map *map, struct str text, uint64_t hash)
{
    uint32_t mask = map->bucket_count - 1, tag = (uint32_t)(hash >> 32);
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct name_bucket *bucket = &map->buckets[i];
        if (bucket->step == 0)
            return bucket;
        if (bucket->tag != tag)
            continue;
        const struct name_record *record = record_at(map, bucket->step);
        if (record->len == text.len && memcmp(record->text, text.base, text.len) == 0)
            return bucket;
    }
}

static void rehash(struct name_map *map, uint32_t bucket_count)
{
    free(map->buckets);
    map->buckets = mem_calloc(bucket_count, sizeof(*map->buckets));
    map->bucket_count = bucket_count;
    for (const struct name_record *record = NULL; (record = name_map_next(map, record)) != NULL;) {
        struct str text = name_record_text(record);
        uint64_t hash = hash_xxh3(text, 0);
        struct name_bucket *bucket = probe(map, text, hash);
        *bucket = (struct name_bucket){(uint32_t)(hash >> 32),
                                       (uint32_t)(((const char *)record - map->records) / NAME_RECORD_STEP)};
    }
}

static uint32_t append(struct name_map *map, struct str text, uint16_t unit, uint32_t line)
{
    if (map->records_len == 0)
        map->records_len = NAME_RECORD_STEP; /* step 0 means an empty bucket */
    size_t size = (size_t)name_record_steps(text.len) * NAME_RECORD_STEP;
    if (map->records_capacity - map->records_len < size || map->records == NULL) {
        map->records_capacity = map->records_capacity * 2 + 4096;
        map->records = mem_realloc(map->records, map->records_capacity);
    }
    struct name_record *record = (struct name_record *)(map->records + map->records_len);
    *record = (struct name_record){.line = line, .unit = unit, .len = (uint16_t)text.len};
    memcpy(record->text, text.base, text.len);
    size_t step = map->records_len / NAME_RECORD_STEP;
    INVARIANT(step <= UINT32_MAX);
    map->records_len += size;
    return (uint32_t)step;
}

uint32_t name_map_add(struct name_map *map, struct str text, uint16_t unit, uint32_t line)
{
    INVARIANT(text.len > 0 && text.len <= NAME_MAP_LONGEST);
    if (map->count >= map->bucket_count / 8 * 5)
        rehash(map, map->bucket_count > 0 ? map->bucket_count * 2 : 16);
    uint64_t hash = hash_xxh3(text, 0);
    struct name_bucket *bucket = probe(map, text, hash);
    if (bucket->step != 0)
        return record_at(map, bucket->step)->line;
    *bucket = (struct name_bucket){(uint32_t)(hash >> 32), append(map, text, unit, line)};
    map->count++;
    return 0;
}

const struct name_record *name_map_find(const struct name_map *map, struct str text)
{
    if (map->count == 0 || text.len > NAME_MAP_LONGEST)
        return NULL;
    const struct name_bucket *bucket = probe(map, text, hash_xxh3(text, 0));
    return bucket->step != 0 ? record_at(map, bucket->step) : NULL;
}

const struct name_record *name_map_next(const struct name_map *map, const struct name_record *record)
{
    if (map->count == 0)
        return NULL;
    const char *next = map->records + NAME_RECORD_STEP;
    if (record != NULL)
        next = (const char *)record + (size_t)name_record_steps(record->len) * NAME_RECORD_STEP;
    return next < map->records + map->records_len ? (const struct name_record *)next : NULL;
}

size_t name_map_bytes(const struct name_map *map)
{
    return map->bucket_count * sizeof(*map->buckets) + map->records_capacity;
}

void name_map_free(struct name_map *map)
{
    free(map->buckets);
    free(map->records);
    *map = (struct name_map){NULL, 0, 0, NULL, 0, 0};
}
