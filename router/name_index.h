/* SPDX-License-Identifier: Apache-2.0
 *
 * A name map in its final form: open addressing over lines of the processor's cache, each with as many records as fit,
 * so that a lookup among millions waits for memory once, seldom twice. Texts above 20 bytes stay in a name map. Never
 * changes; owned by the table.
 */
#ifndef ROUTER_NAME_INDEX_H
#define ROUTER_NAME_INDEX_H

#include "router/name_map.h"

struct name_index {
    uint32_t count; /* of names, the long ones too */
    uint32_t line_count;
    struct name_line *lines;
    struct name_map longer;
};

/* Fills the zeroed *INDEX with the records of MAP, which is not needed for it any more. */
void name_index_build(struct name_index *index, const struct name_map *map);

/* NULL where TEXT is not there. Allocates nothing. */
const struct name_record *name_index_find(const struct name_index *index, struct str text);

/* Calls FN for each record, in no particular order. */
typedef void (*name_index_fn)(void *arg, const struct name_record *record);
void name_index_each(const struct name_index *index, name_index_fn fn, void *arg);

size_t name_index_bytes(const struct name_index *index);
void name_index_free(struct name_index *index);

#endif
