/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a compiled table, for router/table.c and for the compiler of rules that fills it. Nobody else.
 */
#ifndef ROUTER_TABLE_INDEX_H
#define ROUTER_TABLE_INDEX_H

#include <stdatomic.h>

#include "common/arena.h"
#include "router/name_index.h"
#include "router/pattern.h"
#include "router/table.h"

struct table_index {
    atomic_uint references;
    struct arena arena;                /* holds every array and text of the table */
    const struct pattern *patterns;    /* [route_count] */
    struct name_index users, prefixes; /* overrides */
    const uint16_t *prefix_lengths;    /* the distinct ones, longest first */
    uint32_t prefix_length_count;
    uint64_t prefix_heads[4]; /* bit set of their first bytes: most users have no prefix at all */
};

/* An empty table with one reference, to be filled before anybody else sees it. */
struct table *table_create(void);

/* Counts `bytes` when all is filled in. */
void table_seal(struct table *table);

#endif
