/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl zonec status: how far each unit's copies of the collections are, and whether they are right.
 */
#include <stdio.h>

#include "ops/grid.h"
#include "ops/zonec.h"

/* The origin was looked at before: who has more by now is not behind. Null: it does not answer. */
static json_t *lag_of(const struct zonec *zonec, const json_t *item)
{
    const char *collection = ctl_text(item, "collection");
    const struct zonec_site *origin = zonec_origin(zonec, collection);
    if (origin == NULL)
        return json_null();
    uint64_t ahead = fleet_number(zonec_item(origin, collection), "seq"), seq = fleet_number(item, "seq");
    return json_integer(ahead > seq ? (json_int_t)(ahead - seq) : 0);
}

/* Null: its sequence is not that of the origin, so nothing can be said. */
static json_t *same_digest(const struct zonec *zonec, const json_t *item)
{
    const char *collection = ctl_text(item, "collection");
    const struct zonec_site *origin = zonec_origin(zonec, collection);
    const json_t *ours = origin != NULL ? zonec_item(origin, collection) : NULL;
    if (ours == NULL || fleet_number(ours, "seq") != fleet_number(item, "seq"))
        return json_null();
    return json_boolean(strcmp(ctl_text(ours, "digest"), ctl_text(item, "digest")) == 0);
}

static void add_faults(json_t *faults, const json_t *item)
{
    const char *unit = ctl_text(item, "unit"), *collection = ctl_text(item, "collection");
    size_t bad = json_array_size(json_object_get(item, "bad"));
    if (strcmp(ctl_text(item, "state"), "copying") == 0)
        json_array_append_new(faults, json_sprintf("%s: its copy of %s is being made: bucket %llu of 1024", unit,
                                                   collection, (unsigned long long)fleet_number(item, "copy_bucket")));
    else if (json_is_false(json_object_get(item, "open")))
        json_array_append_new(faults,
                              json_sprintf("%s: nobody reads its copy of %s: it is not open", unit, collection));
    if (bad > 0)
        json_array_append_new(
            faults, json_sprintf("%s: %zu buckets of its copy of %s wait for their repair", unit, bad, collection));
    if (json_is_false(json_object_get(item, "same_digest")))
        json_array_append_new(faults, json_sprintf("%s: its copy of %s differs from the origin at sequence %llu", unit,
                                                   collection, (unsigned long long)fleet_number(item, "seq")));
}

/* All that the sites said, collection by collection as the first one lists them. */
static void collect(const struct zonec *zonec, json_t *items, json_t *faults)
{
    for (size_t i = 0; i < zonec->count; i++) {
        const struct zonec_site *site = &zonec->sites[i];
        if (site->items == NULL)
            json_array_append_new(faults, json_sprintf("%s cannot be looked at: %s", site->unit, site->err.text));
        for (size_t j = 0; j < json_array_size(site->items); j++) {
            json_t *item = json_pack("{s:s}", "unit", site->unit);
            json_object_update(item, json_array_get(site->items, j));
            json_object_set_new(item, "seq_lag", lag_of(zonec, item));
            json_object_set_new(item, "same_digest", same_digest(zonec, item));
            json_array_append_new(items, item);
            add_faults(faults, item);
        }
    }
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static const char *state_of(const json_t *item)
{
    const char *state = ctl_text(item, "state");
    return *state ? state : strcmp(ctl_text(item, "role"), "origin") == 0 ? "origin" : "none";
}

static void add_row(struct grid *grid, const json_t *item)
{
    bool origin = strcmp(ctl_text(item, "role"), "origin") == 0;
    const json_t *same = json_object_get(item, "same_digest");
    grid_add(grid, "%s", ctl_text(item, "collection"));
    grid_add(grid, "%s", ctl_text(item, "unit"));
    grid_add(grid, "%s", state_of(item));
    grid_add(grid, "%s", json_is_true(json_object_get(item, "open")) ? "yes" : "no");
    fleet_add_count(grid, item, "keys");
    fleet_add_count(grid, item, "seq");
    fleet_add_count(grid, item, "seq_lag");
    fleet_add_count(grid, item, "time_lag_ms");
    grid_add(grid, "%s%s", ctl_text(item, "digest"), json_is_false(same) ? " DIFFERS" : "");
    fleet_add_count(grid, item, "digest_seq");
    grid_add(grid, "%zu", json_array_size(json_object_get(item, "bad")));
    fleet_add_count(grid, item, "repaired");
    grid_add(grid, "%s", origin || !*ctl_text(item, "owner") ? "-" : ctl_text(item, "owner"));
}

/* Of one collection after the other, since that is how they are compared. */
static void print_table(const struct zonec *zonec, const json_t *items)
{
    struct grid grid;
    grid_begin(&grid, "COLLECTION|UNIT|STATE|OPEN|>KEYS|>SEQUENCE|>BEHIND|>LAG MS|DIGEST|>COMPARED AT|>BAD|>REPAIRED|"
                      "OWNER");
    const json_t *names = NULL;
    for (size_t i = 0; i < zonec->count && names == NULL; i++)
        names = zonec->sites[i].items;
    for (size_t i = 0; i < json_array_size(names); i++)
        for (size_t j = 0; j < json_array_size(items); j++)
            if (strcmp(ctl_text(json_array_get(items, j), "collection"),
                       ctl_text(json_array_get(names, i), "collection")) == 0)
                add_row(&grid, json_array_get(items, j));
    grid_print(&grid);
}

static enum ctl_exit show_status(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment)
{
    struct zonec zonec;
    struct error err;
    const char *unit = args_value(&ctl->args, "--unit");
    if (zonec_check_unit(fleet, unit, &err) != 0)
        return ctl_fail(&err);
    json_t *items = json_array(), *faults = json_array();
    enum ctl_exit result = CTL_DONE;
    zonec_find(&zonec, fleet, deployment, unit, args_word(&ctl->args, 0));
    collect(&zonec, items, faults);
    for (size_t i = 0; i < zonec.count; i++)
        if (zonec.sites[i].items == NULL)
            result = zonec.sites[i].err.code == ERROR_REFUSED ? CTL_FAILED : CTL_UNREACHABLE;
    if (ctl->json) {
        ctl_print_json(json_pack("{s:O,s:O}", "items", items, "faults", faults));
    } else {
        print_table(&zonec, items);
        for (size_t i = 0; i < json_array_size(faults); i++)
            printf("%s%s\n", i == 0 ? "\n" : "", json_string_value(json_array_get(faults, i)));
    }
    json_decref(items);
    json_decref(faults);
    zonec_free(&zonec);
    return result;
}

enum ctl_exit verb_zonec_status(const struct ctl *ctl)
{
    return fleet_run(ctl, show_status);
}
