/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl top: what is going on, a second.
 */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "ops/fleet.h"
#include "ops/grid.h"

#define INTERVAL_MS 1000

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
                                        fleet_state(member), "epoch", (json_int_t)fleet_number(member->status, "epoch"),
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
                                              fleet_broker_state(json_array_get(units, i)), "lag",
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
        fleet_add_count(&grid, gateway, "epoch");
        grid_add(&grid, "%.0f", json_number_value(json_object_get(gateway, "rps")));
        fleet_add_count(&grid, gateway, "in_flight");
        fleet_add_count(&grid, gateway, "connections");
    }
    grid_print(&grid);
    puts("");
    grid_begin(&grid, "UNIT|>REQUESTS/S|BROKER|>LAG");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i);
        grid_add(&grid, "%s", ctl_text(unit, "name"));
        grid_add(&grid, "%.0f", json_number_value(json_object_get(unit, "rps")));
        grid_add(&grid, "%s", ctl_text(unit, "broker"));
        fleet_add_count(&grid, unit, "lag");
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

/* One interval: asks again, shows the rates since FLEET, and puts what came in its place. */
static int show_interval(const struct ctl *ctl, struct fleet *fleet, uint64_t *at_us, struct deployment *deployment,
                         struct error *err)
{
    struct fleet now;
    poll(NULL, 0, INTERVAL_MS);
    int result = fleet_ask(&now, deployment, err);
    uint64_t now_us = clock_monotonic_us();
    if (result == 0)
        show_rates(ctl, fleet, &now, (double)(now_us - *at_us) / 1000000);
    fleet_free(fleet);
    *fleet = now;
    *at_us = now_us;
    return result;
}

static enum ctl_exit show_top(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment)
{
    struct error err;
    uint64_t at_us = clock_monotonic_us();
    bool again = isatty(STDOUT_FILENO) && !ctl->json;
    do
        if (show_interval(ctl, fleet, &at_us, deployment, &err) != 0)
            return ctl_fail(&err);
    while (again);
    return CTL_DONE;
}

enum ctl_exit verb_top(const struct ctl *ctl)
{
    return fleet_run(ctl, show_top);
}
