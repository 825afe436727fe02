/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in aligned columns, for people. The grid owns copies of its cells.
 */
#ifndef OPS_GRID_H
#define OPS_GRID_H

#include "common/str.h"

struct grid {
    size_t columns;
    char **cells;
    size_t count, room;
};

/* Starts the grid with its heads, separated by '|': "NAME|EPOCH". A head that begins with '>' is aligned to the right.
 */
void grid_begin(struct grid *grid, const char *heads);

/* The next cell, row by row. */
void grid_add(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends the grid to OUT and frees it. */
void grid_end(struct grid *grid, struct buf *out);
void grid_print(struct grid *grid); /* to standard output, and frees it */

#endif
