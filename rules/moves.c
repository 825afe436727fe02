/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/moves.h"

#include <stdlib.h>

#include "router/table_index.h"

static const enum zone zones[] = {ZONE_A, ZONE_B};
#define ZONES (sizeof(zones) / sizeof(zones[0]))

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

static void compare_user(void *arg, const struct name_record *record)
{
    struct rules_moves *moves = arg;
    struct str user = {record->text, record->len};
    for (size_t i = 0; i < ZONES; i++) {
        struct decision from, to;
        if (table_owner_in(moves->before, zones[i], user, &from) != VERDICT_OK)
            continue;
        bool placed = table_owner_in(moves->after, zones[i], user, &to) == VERDICT_OK;
        if (!same_unit(moves, from.unit, placed ? to.unit : NO_UNIT))
            note(moves, table_slot(moves->before, user), from.unit, placed ? to.unit : NO_UNIT);
    }
}

struct prefixes {
    struct rules_moves *moves;
    const struct table *mine, *other;
};

static void compare_prefix(void *arg, const struct name_record *record)
{
    const struct prefixes *prefixes = arg;
    const struct table_unit *unit = &prefixes->mine->units[record->unit];
    const struct name_record *twin =
        name_index_find(&prefixes->other->index->prefixes, (struct str){record->text, record->len});
    if (twin == NULL || !str_equal(prefixes->other->units[twin->unit].name, unit->name))
        move_all(prefixes->moves, unit->kind == ZONE_B ? ZONE_B : ZONE_A);
}

static void compare_overrides(struct rules_moves *moves)
{
    const struct table *before = moves->before, *after = moves->after;
    name_index_each(&before->index->users, compare_user, moves);
    name_index_each(&after->index->users, compare_user, moves);
    name_index_each(&before->index->prefixes, compare_prefix, &(struct prefixes){moves, before, after});
    name_index_each(&after->index->prefixes, compare_prefix, &(struct prefixes){moves, after, before});
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
