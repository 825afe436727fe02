/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl status, top and queue lag: how everybody is.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "ops/ctl.h"
#include "ops/fleet.h"
#include "ops/grid.h"

#define TOP_INTERVAL_MS 1000

/* --- status ------------------------------------------------------------------------------------------------------- */

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

static void add_count(struct grid *grid, const json_t *object, const char *key)
{
    if (json_is_integer(json_object_get(object, key)))
        grid_add(grid, "%llu", (unsigned long long)fleet_number(object, key));
    else
        grid_add(grid, "-");
}

static const char *state_of(const struct fleet_member *member)
{
    const json_t *status = member->status;
    return status == NULL                                      ? "unreachable"
           : json_is_true(json_object_get(status, "draining")) ? "draining"
           : json_is_true(json_object_get(status, "ready"))    ? "ready"
                                                               : "not ready";
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
        grid_add(&grid, "%s", state_of(member));
        add_count(&grid, member->status, "epoch");
        grid_add(&grid, "%s", *store ? store : "-");
        add_count(&grid, requests, "total");
        add_count(&grid, requests, "in_flight");
        add_count(&grid, requests, "connections");
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

static const char *broker_state(const json_t *unit)
{
    const json_t *up = json_object_get(json_object_get(unit, "broker"), "up");
    return json_is_true(up) ? "up" : json_is_false(up) ? "away" : "?";
}

static void print_units(const struct fleet *fleet)
{
    const json_t *units = json_object_get(fleet->view, "units");
    struct grid grid;
    grid_begin(&grid, "UNIT|KIND|DATACENTER|AGENT|>EPOCH|BROKER|NODES|>WEIGHTS|>REQUESTS|>IN FLIGHT|>LAG");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i), *weights = json_object_get(unit, "weights");
        const json_t *agent = fleet_agent_of(fleet, ctl_text(unit, "name"));
        grid_add(&grid, "%s", ctl_text(unit, "name"));
        grid_add(&grid, "%s", ctl_text(unit, "kind"));
        grid_add(&grid, "%s", ctl_text(unit, "datacenter"));
        grid_add(&grid, "%s", agent ? "up" : "away");
        add_count(&grid, agent, "epoch");
        grid_add(&grid, "%s", broker_state(unit));
        add_nodes(&grid, unit);
        grid_add(&grid, "%llu:%llu", (unsigned long long)fleet_number(weights, "blue"),
                 (unsigned long long)fleet_number(weights, "green"));
        grid_add(&grid, "%llu", (unsigned long long)fleet_unit_requests(fleet, ctl_text(unit, "name")));
        add_count(&grid, unit, "in_flight");
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
    printf("\nepoch %llu%s\n", (unsigned long long)epoch,
           all_serve(fleet, epoch) ? ", served by all" : "; NOT served by all");
    if (faults.len > 0)
        printf("\n%s", faults.base);
    buf_free(&faults);
}

static json_t *member_json(const struct fleet_member *member)
{
    static const char *const told[] = {"epoch",    "ready",  "draining", "store", "refused",
                                       "requests", "broker", "nodes",    "lag"};
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:s,s:I,s:b,s:s}", "name", member->member.name, "unit", member->member.unit,
                  "datacenter", member->member.datacenter, "admin", member->member.admin, "pid",
                  (json_int_t)member->member.pid, "reachable", member->status != NULL, "fault", member->fault);
    for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++)
        if (json_object_get(member->status, told[i]) != NULL)
            json_object_set(json, told[i], json_object_get(member->status, told[i]));
    return json;
}

static json_t *lines_of(const struct buf *text)
{
    json_t *list = json_array();
    struct str rest = buf_str(text), line;
    while (str_next(&rest, '\n', &line))
        if (line.len > 0)
            json_array_append_new(list, json_stringn(line.base, line.len));
    return list;
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
                  "gateways", gateways, "agents", agents, "units", units, "faults", lines_of(&faults));
    buf_free(&faults);
    return json;
}

/* Finds the deployment, asks everybody, and hands the answers to PRINT. */
static enum ctl_exit ask_and(const struct ctl *ctl,
                             enum ctl_exit (*print)(const struct ctl *ctl, const struct fleet *fleet,
                                                    struct deployment *deployment))
{
    struct deployment deployment;
    struct fleet fleet = {0};
    struct error err = {0};
    enum ctl_exit result;
    if (deployment_find(&ctl->args, &deployment, &err) != 0 || fleet_ask(&fleet, &deployment, &err) != 0)
        result = ctl_fail(&err);
    else
        result = print(ctl, &fleet, &deployment);
    fleet_free(&fleet);
    deployment_free(&deployment);
    return result;
}

static enum ctl_exit show_status(const struct ctl *ctl, const struct fleet *fleet, struct deployment *deployment)
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
    return ask_and(ctl, show_status);
}

/* --- top ---------------------------------------------------------------------------------------------------------- */

/* What was counted since BEFORE, a second. A process that began anew meanwhile counts from nothing. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
    return (double)(now >= before ? now - before : now) / seconds;
}

static const json_t *status_before(const struct fleet *before, const struct fleet_member *member)
{
    for (size_t i = 0; i < before->count; i++)
        if (strcmp(before->members[i].member.admin, member->member.admin) == 0)
            return before->members[i].status;
    return NULL;
}

static json_t *gateway_rates(const struct fleet *before, const struct fleet *now, double seconds)
{
    json_t *list = json_array();
    for (size_t i = 0; i < now->count; i++) {
        const struct fleet_member *member = &now->members[i];
        if (!fleet_is_gateway(member))
            continue;
        const json_t *requests = json_object_get(member->status, "requests");
        const json_t *earlier = json_object_get(status_before(before, member), "requests");
        double rps = rate(fleet_number(earlier, "total"), fleet_number(requests, "total"), seconds);
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:I,s:f,s:I,s:I}", "name", member->member.name, "state",
                                        state_of(member), "epoch", (json_int_t)fleet_number(member->status, "epoch"),
                                        "rps", earlier != NULL && requests != NULL ? rps : 0.0, "in_flight",
                                        (json_int_t)fleet_number(requests, "in_flight"), "connections",
                                        (json_int_t)fleet_number(requests, "connections")));
    }
    return list;
}

static json_t *unit_rates(const struct fleet *before, const struct fleet *now, double seconds)
{
    json_t *list = json_array();
    const json_t *units = json_object_get(now->view, "units");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const char *name = ctl_text(json_array_get(units, i), "name");
        const json_t *agent = fleet_agent_of(now, name);
        double rps = rate(fleet_unit_requests(before, name), fleet_unit_requests(now, name), seconds);
        json_array_append_new(list, json_pack("{s:s,s:f,s:s,s:o}", "name", name, "rps", rps, "broker",
                                              broker_state(json_array_get(units, i)), "lag",
                                              agent ? json_integer((json_int_t)fleet_pending(agent)) : json_null()));
    }
    return list;
}

static void print_rates(const json_t *gateways, const json_t *units)
{
    struct grid grid;
    grid_begin(&grid, "GATEWAY|STATE|>EPOCH|>REQUESTS/S|>IN FLIGHT|>CONNECTIONS");
    for (size_t i = 0; i < json_array_size(gateways); i++) {
        const json_t *gateway = json_array_get(gateways, i);
        grid_add(&grid, "%s", ctl_text(gateway, "name"));
        grid_add(&grid, "%s", ctl_text(gateway, "state"));
        add_count(&grid, gateway, "epoch");
        grid_add(&grid, "%.0f", json_number_value(json_object_get(gateway, "rps")));
        add_count(&grid, gateway, "in_flight");
        add_count(&grid, gateway, "connections");
    }
    grid_print(&grid);
    puts("");
    grid_begin(&grid, "UNIT|>REQUESTS/S|BROKER|>LAG");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i);
        grid_add(&grid, "%s", ctl_text(unit, "name"));
        grid_add(&grid, "%.0f", json_number_value(json_object_get(unit, "rps")));
        grid_add(&grid, "%s", ctl_text(unit, "broker"));
        add_count(&grid, unit, "lag");
    }
    grid_print(&grid);
}

static void show_rates(const struct ctl *ctl, const struct fleet *before, const struct fleet *now, double seconds)
{
    json_t *gateways = gateway_rates(before, now, seconds), *units = unit_rates(before, now, seconds);
    if (ctl->json) {
        ctl_print_json(json_pack("{s:O,s:O}", "gateways", gateways, "units", units));
    } else {
        if (isatty(STDOUT_FILENO))
            fputs("\033[H\033[J", stdout);
        print_rates(gateways, units);
        fflush(stdout);
    }
    json_decref(gateways);
    json_decref(units);
}

static enum ctl_exit show_top(const struct ctl *ctl, const struct fleet *first, struct deployment *deployment)
{
    struct fleet before = *first;
    struct error err;
    bool again = isatty(STDOUT_FILENO) && !ctl->json;
    uint64_t before_us = clock_monotonic_us();
    do {
        struct fleet now;
        poll(NULL, 0, TOP_INTERVAL_MS);
        if (fleet_ask(&now, deployment, &err) != 0) {
            fleet_free(&now);
            if (before.members != first->members)
                fleet_free(&before);
            return ctl_fail(&err);
        }
        uint64_t now_us = clock_monotonic_us();
        show_rates(ctl, &before, &now, (double)(now_us - before_us) / 1000000);
        if (before.members != first->members)
            fleet_free(&before);
        before = now;
        before_us = now_us;
    } while (again);
    fleet_free(&before);
    return CTL_DONE;
}

enum ctl_exit verb_top(const struct ctl *ctl)
{
    return ask_and(ctl, show_top);
}

/* --- queue lag ---------------------------------------------------------------------------------------------------- */

static json_t *queues_of(const struct fleet *fleet)
{
    json_t *list = json_array();
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_member *member = &fleet->members[i];
        const json_t *partitions = json_object_get(member->status, "partitions");
        for (size_t j = 0; j < json_array_size(partitions); j++) {
            json_t *queue = json_pack("{s:s}", "unit", member->member.unit);
            json_object_update(queue, json_array_get(partitions, j));
            json_array_append_new(list, queue);
        }
    }
    return list;
}

static enum ctl_exit show_lag(const struct ctl *ctl, const struct fleet *fleet, struct deployment *deployment)
{
    (void)deployment;
    json_t *queues = queues_of(fleet);
    uint64_t total = 0;
    struct grid grid;
    grid_begin(&grid, "UNIT|TOPIC|>PARTITION|>PENDING|>IN FLIGHT|>BACKING OFF|>OLDEST");
    for (size_t i = 0; i < json_array_size(queues); i++) {
        const json_t *queue = json_array_get(queues, i);
        total += fleet_number(queue, "pending");
        grid_add(&grid, "%s", ctl_text(queue, "unit"));
        grid_add(&grid, "%s", ctl_text(queue, "topic"));
        add_count(&grid, queue, "partition");
        add_count(&grid, queue, "pending");
        add_count(&grid, queue, "in_flight");
        add_count(&grid, queue, "backing_off");
        grid_add(&grid, "%.1f s", (double)fleet_number(queue, "oldest_ms") / 1000);
    }
    struct buf table = {0}, faults = {0};
    grid_end(&grid, &table);
    fleet_faults(fleet, &faults);
    if (ctl->json)
        ctl_print_json(
            json_pack("{s:I,s:O,s:o}", "pending", (json_int_t)total, "queues", queues, "faults", lines_of(&faults)));
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
    return ask_and(ctl, show_lag);
}
