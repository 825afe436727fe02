/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/moves.h"

#include <stdlib.h>

#include "common/measure.h"
#include "router/table_index.h"

static const enum zone zones[] = {ZONE_A, ZONE_B};
#define ZONES COUNT_OF(zones)

/* Where the users of a slot, or of all (UINT32_MAX), go: from unit FROM of the old table to TO of the new one, or to
 * nowhere. */
static void note(struct rules_moves *moves, uint32_t slot, uint32_t from, uint32_t to)
{
    uint32_t slots = moves->before->hash.slots;
    bool **leaving = &moves->leaving[from];
    moves->any = true;
    if (*leaving == NULL)
        *leaving = mem_calloc(slots, sizeof(**leaving));
    if (slot < slots)
        (*leaving)[slot] = true;
    else
        memset(*leaving, true, slots * sizeof(**leaving));
    if (to != NO_UNIT)
        moves->ways[to * moves->before->unit_count + from] = true;
}

static bool same_unit(const struct rules_moves *moves, uint32_t from, uint32_t to)
{
    return to != NO_UNIT && str_equal(moves->before->units[from].name, moves->after->units[to].name);
}

static void compare_slots(struct rules_moves *moves, enum zone zone)
{
    const uint16_t *before = moves->before->slots[zone].units, *after = moves->after->slots[zone].units;
    for (uint32_t slot = 0; before != NULL && slot < moves->before->hash.slots; slot++) {
        uint32_t to = after != NULL ? after[slot] : NO_UNIT;
        if (!same_unit(moves, before[slot], to))
            note(moves, slot, before[slot], to);
    }
}

/* Any user of the zone may come from any unit of it, and go to any. */
static void move_all(struct rules_moves *moves, enum zone zone)
{
    const struct table *before = moves->before, *after = moves->after;
    for (uint32_t from = 0; from < before->unit_count; from++)
        for (uint32_t to = 0; to < after->unit_count; to++)
            if ((before->units[from].kind == ZONE_B) == (zone == ZONE_B) &&
                (after->units[to].kind == ZONE_B) == (zone == ZONE_B) && !same_unit(moves, from, to))
                note(moves, UINT32_MAX, from, to);
}

/* --- overrides ---------------------------------------------------------------------------------------------------- */

/* The overrides of one table, held against those of the other. */
struct sides {
    struct rules_moves *moves;
    const struct table *mine, *other;
};

/* Millions of them are the same, most of the time. */
static bool is_same(const struct sides *sides, const struct name_record *mine, const struct name_record *other)
{
    if (other == NULL)
        return false;
    const struct table_unit *here = &sides->mine->units[mine->unit], *there = &sides->other->units[other->unit];
    return here->kind == there->kind && str_equal(here->name, there->name);
}

static void compare_user(void *arg, const struct name_record *record)
{
    const struct sides *sides = arg;
    struct rules_moves *moves = sides->moves;
    struct str user = name_record_text(record);
    if (is_same(sides, record, name_index_find(&sides->other->index->users, user)))
        return;
    for (size_t i = 0; i < ZONES; i++) {
        struct decision from, to;
        if (table_owner_in(moves->before, zones[i], user, &from) != VERDICT_OK)
            continue;
        bool placed = table_owner_in(moves->after, zones[i], user, &to) == VERDICT_OK;
        if (!same_unit(moves, from.unit, placed ? to.unit : NO_UNIT))
            note(moves, table_slot(moves->before, user), from.unit, placed ? to.unit : NO_UNIT);
    }
}

static void compare_prefix(void *arg, const struct name_record *record)
{
    const struct sides *sides = arg;
    const struct table_unit *unit = &sides->mine->units[record->unit];
    if (!is_same(sides, record, name_index_find(&sides->other->index->prefixes, name_record_text(record))))
        move_all(sides->moves, unit->kind == ZONE_B ? ZONE_B : ZONE_A);
}

static void compare_overrides(struct rules_moves *moves)
{
    const struct table *before = moves->before, *after = moves->after;
    struct sides old = {moves, before, after}, new = {moves, after, before};
    name_index_each(&before->index->users, compare_user, &old);
    name_index_each(&after->index->users, compare_user, &new);
    name_index_each(&before->index->prefixes, compare_prefix, &old);
    name_index_each(&after->index->prefixes, compare_prefix, &new);
}

/* --- both tables -------------------------------------------------------------------------------------------------- */

void rules_moves_find(const struct table *before, const struct table *after, struct rules_moves *moves)
{
    *moves = (struct rules_moves){.before = before, .after = after};
    moves->leaving = mem_calloc(before->unit_count, sizeof(*moves->leaving));
    moves->ways = mem_calloc((size_t)after->unit_count * before->unit_count, sizeof(*moves->ways));
    bool same = hash_equal(&before->hash, &after->hash);
    for (size_t i = 0; i < ZONES; i++)
        if (same)
            compare_slots(moves, zones[i]);
        else
            move_all(moves, zones[i]);
    if (same)
        compare_overrides(moves);
}

void rules_moves_free(struct rules_moves *moves)
{
    for (uint32_t i = 0; moves->leaving != NULL && i < moves->before->unit_count; i++)
        free(moves->leaving[i]);
    free(moves->leaving);
    free(moves->ways);
    *moves = (struct rules_moves){.before = NULL};
}
