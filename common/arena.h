/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that is taken piece by piece and given back all at once: the nodes of a document, the parts of a table.
 * Owned by the object whose parts it holds. Zero-initialise it; pieces never move.
 */
#ifndef COMMON_ARENA_H
#define COMMON_ARENA_H

#include "common/str.h"

struct arena {
    struct arena_block *newest;
    size_t bytes; /* taken from the system */
};

/* COUNT zeroed items of SIZE bytes, aligned for any type. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);

/* A zero-terminated copy of S, its base NULL where that of S is. */
struct str arena_str(struct arena *arena, struct str s);

void arena_free(struct arena *arena);

/* Zeroed memory for one large table that is read at random: on huge pages where there are any, since with small ones
 * each access misses the TLB. Never NULL; for free(). */
void *arena_alloc_table(size_t size);

#endif
