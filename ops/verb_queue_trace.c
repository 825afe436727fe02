/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl queue trace: where a message is, and every hop that it took.
 */
#include <stdio.h>

#include "common/measure.h"
#include "common/protocol.h"
#include "ops/unit_call.h"

static void show_places(const json_t *item)
{
    const json_t *places = json_object_get(item, "subscriptions");
    for (size_t i = 0; i < json_array_size(places); i++) {
        const json_t *place = json_array_get(places, i);
        printf("%-13s %s: %s", "subscription", ctl_text(place, "name"), ctl_text(place, "state"));
        if (json_object_get(place, "attempts") != NULL)
            printf(", %llu attempts", (unsigned long long)fleet_number(place, "attempts"));
        printf("%s%s\n", *ctl_text(place, "reason") ? ": " : "", ctl_text(place, "reason"));
    }
}

static void add_took(struct grid *grid, const json_t *hop)
{
    if (json_object_get(hop, "took_us") != NULL)
        grid_add(grid, "%.3f ms", (double)fleet_number(hop, "took_us") / 1000);
    else
        grid_add(grid, "%s", "");
}

static void show_hops(const json_t *hops)
{
    struct grid grid;
    uint64_t first_us = json_array_size(hops) > 0 ? fleet_number(json_array_get(hops, 0), "us") : 0;
    grid_begin(&grid, "AT|>AFTER|HOP|BY|SUBSCRIPTION|>ATTEMPT|>STATUS|>TOOK|NODE");
    for (size_t i = 0; i < json_array_size(hops); i++) {
        const json_t *hop = json_array_get(hops, i);
        grid_add(&grid, "%s", ctl_text(hop, "at"));
        grid_add(&grid, "%.3f ms", ((double)fleet_number(hop, "us") - (double)first_us) / 1000);
        grid_add(&grid, "%s", ctl_text(hop, "hop"));
        grid_add(&grid, "%s", ctl_text(hop, "by"));
        grid_add(&grid, "%s", ctl_text(hop, "subscription"));
        for (const char *const *name = (const char *const[]){"attempt", "status", NULL}; *name != NULL; name++)
            if (json_object_get(hop, *name) != NULL)
                fleet_add_count(&grid, hop, *name);
            else
                grid_add(&grid, "%s", "");
        add_took(&grid, hop);
        grid_add(&grid, "%s", ctl_text(hop, "node"));
    }
    grid_print(&grid);
}

static void show(const json_t *item)
{
    static const char *const lines[] = {"id", "unit", "topic", "state", "due", "entry"};
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        if (*ctl_text(item, lines[i]))
            printf("%-13s %s\n", lines[i], ctl_text(item, lines[i]));
    show_places(item);
    printf("\n");
    show_hops(json_object_get(item, "hops"));
    if (!json_is_true(json_object_get(item, "complete")))
        printf("there may be more: the partition's traces are too many to look at all of them\n");
}

enum ctl_exit verb_queue_trace(const struct ctl *ctl)
{
    struct protocol_id parts;
    struct buf target = {0};
    struct error err;
    char unit[PROTOCOL_NAME_MAX + 1];
    const char *id = args_word(&ctl->args, 0);
    if (id == NULL || !protocol_id_parse(str_of(id), &parts)) {
        error_set(&err, ERROR_REFUSED, "a message id is wanted, as the 202 says it");
        return ctl_misused(&err);
    }
    snprintf(unit, sizeof(unit), "%.*s", STR_ARG(parts.unit));
    buf_printf(&target, "/v1/queue/trace");
    deployment_add_query(&target, "id", id);
    json_t *items = json_array();
    enum ctl_exit result = unit_call(ctl, unit, "GET", target.base, items);
    if (ctl->json && json_array_size(items) > 0)
        ctl_print_json(json_incref(json_array_get(items, 0)));
    else if (json_array_size(items) > 0)
        show(json_array_get(items, 0));
    json_decref(items);
    buf_free(&target);
    return result;
}
