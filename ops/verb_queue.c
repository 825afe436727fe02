/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl queue lag: what the agents have not delivered.
 */
#include <stdio.h>

#include "ops/fleet.h"
#include "ops/grid.h"

static void add_queues(json_t *list, const char *unit, const json_t *partitions)
{
    for (size_t i = 0; i < json_array_size(partitions); i++) {
        if (json_is_false(json_object_get(json_array_get(partitions, i), "owned"))) /* another agent tells */
            continue;
        json_t *queue = json_pack("{s:s}", "unit", unit);
        json_object_update(queue, json_array_get(partitions, i));
        json_array_append_new(list, queue);
    }
}

/* Of each unit, by whoever delivers for it. */
static json_t *queues_of(const struct fleet *fleet)
{
    json_t *list = json_array();
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_member *member = &fleet->members[i];
        const json_t *guests = json_object_get(member->status, "guests");
        add_queues(list, member->member.unit, json_object_get(member->status, "partitions"));
        for (size_t j = 0; j < json_array_size(guests); j++)
            add_queues(list, ctl_text(json_array_get(guests, j), "unit"),
                       json_object_get(json_array_get(guests, j), "partitions"));
    }
    return list;
}

static enum ctl_exit show_lag(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment)
{
    (void)deployment;
    json_t *queues = queues_of(fleet);
    uint64_t total = 0;
    struct grid grid;
    grid_begin(&grid, "UNIT|TOPIC|>PARTITION|SUBSCRIPTION|>PENDING|>PARKED|>IN FLIGHT|>BACKING OFF|>OLDEST");
    for (size_t i = 0; i < json_array_size(queues); i++) {
        const json_t *queue = json_array_get(queues, i);
        total += fleet_number(queue, "pending") + fleet_number(queue, "parked");
        grid_add(&grid, "%s", ctl_text(queue, "unit"));
        grid_add(&grid, "%s", ctl_text(queue, "topic"));
        fleet_add_count(&grid, queue, "partition");
        grid_add(&grid, "%s", ctl_text(queue, "subscription"));
        fleet_add_count(&grid, queue, "pending");
        fleet_add_count(&grid, queue, "parked");
        fleet_add_count(&grid, queue, "in_flight");
        fleet_add_count(&grid, queue, "backing_off");
        grid_add(&grid, "%.1f s", (double)fleet_number(queue, "oldest_ms") / 1000);
    }
    struct buf table = {0}, faults = {0};
    grid_end(&grid, &table);
    fleet_faults(fleet, &faults);
    if (ctl->json)
        ctl_print_json(json_pack("{s:I,s:O,s:o}", "pending", (json_int_t)total, "queues", queues, "faults",
                                 ctl_lines(buf_str(&faults))));
    else
        printf("%s\n%llu messages are not delivered yet\n%s", table.base, (unsigned long long)total,
               faults.base ? faults.base : "");
    buf_free(&table);
    buf_free(&faults);
    json_decref(queues);
    return CTL_DONE;
}

enum ctl_exit verb_queue_lag(const struct ctl *ctl)
{
    return fleet_run(ctl, show_lag);
}
