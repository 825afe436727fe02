/* SPDX-License-Identifier: Apache-2.0 */
#include "router/name_index.h"

#include <stdlib.h>

#include "common/arena.h"
#include "router/hash.h"

struct name_line {
    uint16_t used;       /* bytes of `records` */
    uint16_t overflowed; /* a record that belongs here lies further on */
    char records[60];
};
_Static_assert(sizeof(struct name_line) == 64, "a line of the cache");

#define LINE_SPACE    sizeof(((struct name_line *)NULL)->records)
#define LONGEST_SHORT 20 /* bytes of a text, so that two records fit into a line at least */

static size_t record_size(size_t len)
{
    return (size_t)name_record_steps(len) * NAME_RECORD_STEP;
}

static uint32_t home_of(const struct name_index *index, struct str text)
{
    return (uint32_t)((hash_xxh3(text, 0) >> 32) * index->line_count >> 32);
}

static void insert(struct name_index *index, const struct name_record *record)
{
    size_t size = record_size(record->len);
    struct name_line *line = &index->lines[home_of(index, name_record_text(record))];
    while (LINE_SPACE - line->used < size) {
        line->overflowed = 1;
        line = line + 1 == index->lines + index->line_count ? index->lines : line + 1;
    }
    memcpy(line->records + line->used, record, sizeof(*record) + record->len);
    line->used = (uint16_t)(line->used + size);
}

/* Seven lines for what would fill four. A record has 28 bytes at most; no line has room for it only where each holds
 * 36 or more, but together they hold 60 * 4/7 a line, which is less: insert() always ends. */
static uint32_t count_lines(const struct name_map *map)
{
    size_t bytes = 0;
    for (const struct name_record *record = NULL; (record = name_map_next(map, record)) != NULL;)
        if (record->len <= LONGEST_SHORT)
            bytes += record_size(record->len);
    return (uint32_t)(bytes * 7 / 4 / LINE_SPACE + 1);
}

void name_index_build(struct name_index *index, const struct name_map *map)
{
    if (map->count == 0)
        return;
    index->count = map->count;
    index->line_count = count_lines(map);
    index->lines = arena_alloc_table(index->line_count * sizeof(*index->lines));
    for (const struct name_record *record = NULL; (record = name_map_next(map, record)) != NULL;) {
        if (record->len <= LONGEST_SHORT)
            insert(index, record);
        else
            name_map_add(&index->longer, name_record_text(record), record->unit, record->line);
    }
}

static const struct name_record *find_in_line(const struct name_line *line, struct str text)
{
    for (size_t at = 0; at < line->used;) {
        const struct name_record *record = (const struct name_record *)(line->records + at);
        if (record->len == text.len && memcmp(record->text, text.base, text.len) == 0)
            return record;
        at += record_size(record->len);
    }
    return NULL;
}

const struct name_record *name_index_find(const struct name_index *index, struct str text)
{
    if (index->count == 0)
        return NULL;
    if (text.len > LONGEST_SHORT)
        return name_map_find(&index->longer, text);
    uint32_t i = home_of(index, text);
    for (uint32_t probes = 0; probes < index->line_count; probes++) {
        const struct name_record *record = find_in_line(&index->lines[i], text);
        if (record != NULL || !index->lines[i].overflowed)
            return record;
        i = i + 1 == index->line_count ? 0 : i + 1;
    }
    return NULL;
}

void name_index_each(const struct name_index *index, name_index_fn fn, void *arg)
{
    for (uint32_t i = 0; i < index->line_count; i++)
        for (size_t at = 0; at < index->lines[i].used;) {
            const struct name_record *record = (const struct name_record *)(index->lines[i].records + at);
            fn(arg, record);
            at += record_size(record->len);
        }
    for (const struct name_record *record = NULL; (record = name_map_next(&index->longer, record)) != NULL;)
        fn(arg, record);
}

size_t name_index_bytes(const struct name_index *index)
{
    return index->line_count * sizeof(*index->lines) + name_map_bytes(&index->longer);
}

void name_index_free(struct name_index *index)
{
    name_map_free(&index->longer);
    free(index->lines);
    *index = (struct name_index){.lines = NULL};
}
