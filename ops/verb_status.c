/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl status: how everybody is.
 */
#include <stdio.h>

#include "common/measure.h"
#include "ops/fleet.h"
#include "ops/grid.h"
#include "ops/status_collections.h"
#include "ops/status_failover.h"

static uint64_t newest_epoch(const struct fleet *fleet)
{
    uint64_t epoch = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        uint64_t its = fleet_number(fleet->members[i].status, "epoch");
        epoch = its > epoch ? its : epoch;
    }
    return epoch;
}

static bool all_serve(const struct fleet *fleet, uint64_t epoch)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (fleet_number(fleet->members[i].status, "epoch") != epoch)
            return false;
    return true;
}

static void print_gateways(const struct fleet *fleet)
{
    struct grid grid;
    grid_begin(&grid, "GATEWAY|DATACENTER|STATE|>EPOCH|STORE|>REQUESTS|>IN FLIGHT|>CONNECTIONS|ADMIN");
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_member *member = &fleet->members[i];
        const json_t *requests = json_object_get(member->status, "requests");
        if (!fleet_is_gateway(member))
            continue;
        const char *store = ctl_text(json_object_get(member->status, "store"), "state");
        grid_add(&grid, "%s", member->member.name);
        grid_add(&grid, "%s", *member->member.datacenter ? member->member.datacenter : "-");
        grid_add(&grid, "%s", fleet_state(member));
        fleet_add_count(&grid, member->status, "epoch");
        grid_add(&grid, "%s", *store ? store : "-");
        fleet_add_count(&grid, requests, "total");
        fleet_add_count(&grid, requests, "in_flight");
        fleet_add_count(&grid, requests, "connections");
        grid_add(&grid, "%s", member->member.admin);
    }
    grid_print(&grid);
}

static void add_nodes(struct grid *grid, const json_t *unit)
{
    const json_t *nodes = json_object_get(unit, "nodes");
    size_t usable = 0;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        usable += json_is_true(json_object_get(json_array_get(nodes, i), "usable"));
    grid_add(grid, "%zu of %zu", usable, json_array_size(nodes));
}

/* How many brokers hold the unit's data, and the version of the record that says so. */
static void add_record(struct grid *grid, const json_t *unit)
{
    const json_t *record = json_object_get(unit, "broker_record");
    size_t members = json_array_size(json_object_get(record, "in_sync"));
    if (members > 0) {
        grid_add(grid, "%zu", members);
        fleet_add_count(grid, record, "version");
    } else {
        grid_add(grid, "-");
        grid_add(grid, "-");
    }
}

static void print_units(const struct fleet *fleet)
{
    const json_t *units = json_object_get(fleet->view, "units");
    struct grid grid;
    grid_begin(&grid,
               "UNIT|KIND|DATACENTER|AGENT|>EPOCH|BROKER|>IN SYNC|>RECORD|NODES|>WEIGHTS|>REQUESTS|>IN FLIGHT|>LAG");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i), *weights = json_object_get(unit, "weights");
        const json_t *agent = fleet_agent_of(fleet, ctl_text(unit, "name"));
        grid_add(&grid, "%s", ctl_text(unit, "name"));
        grid_add(&grid, "%s", ctl_text(unit, "kind"));
        grid_add(&grid, "%s", ctl_text(unit, "datacenter"));
        grid_add(&grid, "%s", agent ? "up" : "away");
        fleet_add_count(&grid, agent, "epoch");
        grid_add(&grid, "%s", fleet_broker_state(unit));
        add_record(&grid, unit);
        add_nodes(&grid, unit);
        grid_add(&grid, "%llu:%llu", (unsigned long long)fleet_number(weights, "blue"),
                 (unsigned long long)fleet_number(weights, "green"));
        grid_add(&grid, "%llu", (unsigned long long)fleet_unit_requests(fleet, ctl_text(unit, "name")));
        fleet_add_count(&grid, unit, "in_flight");
        if (agent != NULL)
            grid_add(&grid, "%llu", (unsigned long long)fleet_pending(agent));
        else
            grid_add(&grid, "?");
    }
    puts("");
    grid_print(&grid);
}

static void print_status(const struct fleet *fleet)
{
    struct buf faults = {0};
    uint64_t epoch = newest_epoch(fleet);
    fleet_faults(fleet, &faults);
    print_gateways(fleet);
    print_units(fleet);
    status_print_failover(fleet);
    status_print_collections(fleet);
    printf("\nepoch %llu%s\n", (unsigned long long)epoch,
           all_serve(fleet, epoch) ? ", served by all" : "; NOT served by all");
    if (faults.len > 0)
        printf("\n%s", faults.base);
    buf_free(&faults);
}

static json_t *member_json(const struct fleet_member *member)
{
    static const char *const told[] = {"epoch",    "ready",       "draining",      "store", "refused",
                                       "requests", "broker",      "broker_record", "nodes", "lag",
                                       "pulses",   "transitions", "copies"};
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:s,s:I,s:b,s:s}", "name", member->member.name, "unit", member->member.unit,
                  "datacenter", member->member.datacenter, "admin", member->member.admin, "pid",
                  (json_int_t)member->member.pid, "reachable", member->status != NULL, "fault", member->fault);
    for (size_t i = 0; i < COUNT_OF(told); i++)
        if (json_object_get(member->status, told[i]) != NULL)
            json_object_set(json, told[i], json_object_get(member->status, told[i]));
    if (fleet_is_gateway(member))
        json_object_set_new(json, "failover", status_failover_json(member->status));
    return json;
}

static json_t *status_json(const struct fleet *fleet)
{
    json_t *gateways = json_array(), *agents = json_array(), *units = json_object_get(fleet->view, "units");
    struct buf faults = {0};
    uint64_t epoch = newest_epoch(fleet);
    for (size_t i = 0; i < fleet->count; i++)
        json_array_append_new(fleet_is_gateway(&fleet->members[i]) ? gateways : agents,
                              member_json(&fleet->members[i]));
    fleet_faults(fleet, &faults);
    json_t *json =
        json_pack("{s:I,s:b,s:o,s:o,s:O,s:o}", "epoch", (json_int_t)epoch, "converged", all_serve(fleet, epoch),
                  "gateways", gateways, "agents", agents, "units", units, "faults", ctl_lines(buf_str(&faults)));
    buf_free(&faults);
    return json;
}

static enum ctl_exit show_status(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment)
{
    (void)deployment;
    if (ctl->json)
        ctl_print_json(status_json(fleet));
    else
        print_status(fleet);
    return CTL_DONE;
}

enum ctl_exit verb_status(const struct ctl *ctl)
{
    return fleet_run(ctl, show_status);
}
