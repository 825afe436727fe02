/* SPDX-License-Identifier: Apache-2.0
 *
 * Which users change their unit when one table takes the place of another: what a move has to hold, and who waits for
 * whom. Errs on the side of too many: a moved prefix, or another hash, counts as every slot of every unit. What follows
 * from changed routes, participants or `on_missing` is no move.
 */
#ifndef RULES_MOVES_H
#define RULES_MOVES_H

#include "router/table.h"

struct rules_moves {
    const struct table *before, *after; /* borrowed */
    bool **leaving; /* [before->unit_count]: by slot of `before`, whether users of it leave the unit; NULL: nobody does
                     */
    bool *ways;     /* [after->unit_count * before->unit_count]: whether the new unit takes users of the old one */
    bool any;
};

/* Borrows both tables. What was found is the caller's, for rules_moves_free(). */
void rules_moves_find(const struct table *before, const struct table *after, struct rules_moves *moves);
void rules_moves_free(struct rules_moves *moves);

/* Whether unit TO of the new table takes users of unit FROM of the old one. */
static inline bool rules_moves_way(const struct rules_moves *moves, uint32_t from, uint32_t to)
{
    return moves->ways[to * moves->before->unit_count + from];
}

#endif
