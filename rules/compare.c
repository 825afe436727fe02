/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"

#include <stdio.h>
#include <stdlib.h>

#include "rules/facets.h"

/* A prime, so that the probe users hit the slots of any sharding evenly. */
#define PROBES      100003
#define FIRST_PROBE 1000000

struct comparison {
    const struct table *before, *after;
    struct rules_diff *diff;
    uint32_t *twins; /* [before->unit_count] -> the unit of the same name in `after`, or NO_UNIT */
};

enum measure {
    MEASURE_SLOTS = 0,
    MEASURE_USERS,
    MEASURE_REQUESTS,
    MEASURE_COUNT,
};

/* What arrives at one unit of `after`, absolute. */
struct arrivals {
    double of[MEASURE_COUNT];
};

/* The unit of `after` to which USER moves; NO_UNIT where it stays, or has no unit at all. *MOVES says which. */
static uint32_t destination(const struct comparison *comparison, struct str user, bool *moves)
{
    struct decision from, to;
    bool had = table_owner(comparison->before, user, &from) == VERDICT_OK;
    bool has = table_owner(comparison->after, user, &to) == VERDICT_OK;
    *moves = had != has || (has && comparison->twins[from.unit] != to.unit);
    return *moves && has ? to.unit : NO_UNIT;
}

/* Counts WEIGHT as an arrival where USER moves; returns what moved. */
static double move(const struct comparison *comparison, struct str user, double weight, enum measure measure,
                   struct arrivals *arrivals)
{
    bool moves;
    uint32_t unit = destination(comparison, user, &moves);
    if (unit != NO_UNIT)
        arrivals[unit].of[measure] += weight;
    return moves ? weight : 0;
}

static void add_move(struct rules_diff *diff, uint32_t slot, uint32_t from, uint32_t to)
{
    struct rules_move *last = diff->move_count > 0 ? &diff->moves[diff->move_count - 1] : NULL;
    if (last != NULL && last->slot_last + 1 == slot && last->from == from && last->to == to) {
        last->slot_last = slot;
        return;
    }
    diff->moves = mem_realloc(diff->moves, (diff->move_count + 1) * sizeof(*diff->moves));
    diff->moves[diff->move_count++] = (struct rules_move){slot, slot, from, to};
}

/* Both return the number of what moved. */
static double compare_slots(const struct comparison *comparison, struct arrivals *arrivals)
{
    double moved = 0;
    for (uint32_t slot = 0; slot < comparison->after->hash.slots; slot++) {
        uint32_t from = comparison->before->slots[ZONE_A].units[slot];
        uint32_t to = comparison->after->slots[ZONE_A].units[slot];
        if (comparison->twins[from] == to)
            continue;
        add_move(comparison->diff, slot, from, to);
        arrivals[to].of[MEASURE_SLOTS] += 1;
        moved += 1;
    }
    return moved;
}

static double compare_probes(const struct comparison *comparison, struct arrivals *arrivals)
{
    double moved = 0;
    for (unsigned i = 0; i < PROBES; i++) {
        char user[16];
        int len = snprintf(user, sizeof(user), "%u", FIRST_PROBE + i);
        moved += move(comparison, (struct str){user, (size_t)len}, 1, MEASURE_SLOTS, arrivals);
    }
    return moved;
}

/* The share of SAMPLES that moves, or -1; *TOTAL is what it is a share of. */
static double compare_sample(const struct comparison *comparison, const struct rules_sample *samples, size_t count,
                             enum measure measure, struct arrivals *arrivals, double *total)
{
    double moved = 0;
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        double weight = measure == MEASURE_REQUESTS ? (double)samples[i].requests : 1;
        *total += weight;
        moved += move(comparison, samples[i].user, weight, measure, arrivals);
    }
    return *total > 0 ? moved / *total : -1;
}

static double share(const struct arrivals *part, const struct arrivals *whole, enum measure measure)
{
    return whole->of[measure] > 0 ? part->of[measure] / whole->of[measure] : -1;
}

/* TOTALS: what the arrivals are shares of. */
static void add_gains(const struct comparison *comparison, const struct arrivals *arrivals,
                      const struct arrivals *totals)
{
    struct rules_diff *diff = comparison->diff;
    diff->gains = mem_calloc(comparison->after->unit_count, sizeof(*diff->gains));
    for (uint32_t i = 0; i < comparison->after->unit_count; i++) {
        const struct arrivals *here = &arrivals[i];
        if (here->of[MEASURE_SLOTS] == 0 && here->of[MEASURE_USERS] == 0 && here->of[MEASURE_REQUESTS] == 0)
            continue;
        diff->gains[diff->gain_count].unit = i;
        diff->gains[diff->gain_count].slot_gain = share(here, totals, MEASURE_SLOTS);
        diff->gains[diff->gain_count].user_gain = share(here, totals, MEASURE_USERS);
        diff->gains[diff->gain_count++].request_gain = share(here, totals, MEASURE_REQUESTS);
    }
}

static uint32_t *find_twins(const struct table *before, const struct table *after)
{
    uint32_t *twins = mem_calloc(before->unit_count, sizeof(*twins));
    for (uint32_t i = 0; i < before->unit_count; i++)
        twins[i] = table_unit_index(after, before->units[i].name);
    return twins;
}

void rules_compare(const struct table *before, const struct table *after, const struct rules_sample *users,
                   size_t user_count, const struct rules_sample *requests, size_t request_count,
                   struct rules_diff *diff)
{
    *diff = (struct rules_diff){.resharded = !hash_equal(&before->hash, &after->hash)};
    struct comparison comparison = {before, after, diff, find_twins(before, after)};
    struct arrivals *arrivals = mem_calloc(after->unit_count, sizeof(*arrivals));
    struct arrivals totals = {.of[MEASURE_SLOTS] = diff->resharded ? PROBES : after->hash.slots};
    double moved = diff->resharded ? compare_probes(&comparison, arrivals) : compare_slots(&comparison, arrivals);
    diff->slot_share = moved / totals.of[MEASURE_SLOTS];
    diff->user_share =
        compare_sample(&comparison, users, user_count, MEASURE_USERS, arrivals, &totals.of[MEASURE_USERS]);
    diff->request_share =
        compare_sample(&comparison, requests, request_count, MEASURE_REQUESTS, arrivals, &totals.of[MEASURE_REQUESTS]);
    add_gains(&comparison, arrivals, &totals);
    facets_compare(before, after, &diff->text);
    free(arrivals);
    free(comparison.twins);
}

void rules_diff_free(struct rules_diff *diff)
{
    free(diff->moves);
    free(diff->gains);
    buf_free(&diff->text);
    *diff = (struct rules_diff){.moves = NULL};
}
