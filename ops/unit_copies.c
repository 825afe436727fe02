/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/unit_copies.h"

#include <string.h>

static const json_t *record_of(const struct fleet *fleet, const char *unit)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(fleet->view, "units"), i, item) {
        if (strcmp(ctl_text(item, "name"), unit) == 0)
            return json_object_get(item, "broker_record");
    }
    return NULL;
}

static bool is_in_sync(const json_t *record, const char *broker)
{
    size_t i;
    json_t *member;
    json_array_foreach(json_object_get(record, "in_sync"), i, member) {
        if (strcmp(json_string_value(member), broker) == 0)
            return true;
    }
    return false;
}

static bool is_away(const json_t *copy)
{
    return strcmp(ctl_text(copy, "role"), "away") == 0;
}

/* Several agents may guard one broker: who reaches it knows better. */
static void add_copy(json_t *copies, const json_t *guarded, const json_t *record)
{
    json_t *copy = json_copy((json_t *)guarded);
    json_object_set_new(copy, "in_sync", json_boolean(is_in_sync(record, ctl_text(guarded, "broker"))));
    for (size_t i = 0; i < json_array_size(copies); i++) {
        const json_t *known = json_array_get(copies, i);
        if (strcmp(ctl_text(known, "broker"), ctl_text(copy, "broker")) != 0)
            continue;
        if (is_away(known) && !is_away(copy))
            json_array_set(copies, i, copy);
        json_decref(copy);
        return;
    }
    json_array_append_new(copies, copy);
}

json_t *unit_copies(const struct fleet *fleet, const char *unit)
{
    const json_t *record = record_of(fleet, unit);
    json_t *copies = json_array();
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *guarded = json_object_get(fleet->members[i].status, "guarded");
        for (size_t j = 0; j < json_array_size(guarded); j++)
            if (strcmp(ctl_text(json_array_get(guarded, j), "unit"), unit) == 0)
                add_copy(copies, json_array_get(guarded, j), record);
    }
    return copies;
}

/* Data of another origin are not the unit's. */
static bool may_lead(const json_t *copy)
{
    return !is_away(copy) && strcmp(ctl_text(copy, "data"), "other") != 0 && *ctl_text(copy, "run_id") != '\0';
}

static bool holds_more(const json_t *copy, const json_t *than)
{
    uint64_t writes = fleet_number(copy, "writes"), others = fleet_number(than, "writes");
    return writes > others || (writes == others && fleet_number(copy, "offset") > fleet_number(than, "offset"));
}

const json_t *unit_copies_best(const json_t *copies)
{
    const json_t *best = NULL;
    for (size_t i = 0; i < json_array_size(copies); i++) {
        const json_t *copy = json_array_get(copies, i);
        if (may_lead(copy) && (best == NULL || holds_more(copy, best)))
            best = copy;
    }
    return best;
}

uint64_t unit_copies_loss(const json_t *copies, const json_t *best)
{
    uint64_t most = fleet_number(best, "writes");
    for (size_t i = 0; i < json_array_size(copies); i++) {
        const json_t *copy = json_array_get(copies, i);
        uint64_t writes = fleet_number(copy, "writes");
        if (strcmp(ctl_text(copy, "data"), "same") == 0 && writes > most)
            most = writes;
    }
    return most - fleet_number(best, "writes");
}

void unit_copies_print(const json_t *copies)
{
    struct grid grid;
    grid_begin(&grid, "BROKER|ROLE|IN SYNC|DATA|>EPOCH|>WRITES|>HEARD MS AGO|WHY");
    for (size_t i = 0; i < json_array_size(copies); i++) {
        const json_t *copy = json_array_get(copies, i);
        grid_add(&grid, "%s", ctl_text(copy, "broker"));
        grid_add(&grid, "%s", ctl_text(copy, "role"));
        grid_add(&grid, "%s", json_is_true(json_object_get(copy, "in_sync")) ? "yes" : "no");
        grid_add(&grid, "%s", ctl_text(copy, "data"));
        fleet_add_count(&grid, copy, "epoch");
        fleet_add_count(&grid, copy, "writes");
        fleet_add_count(&grid, copy, "heard_ms");
        grid_add(&grid, "%s", *ctl_text(copy, "why") ? ctl_text(copy, "why") : "-");
    }
    grid_print(&grid);
}
