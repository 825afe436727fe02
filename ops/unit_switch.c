/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/unit_switch.h"

#include <stdio.h>
#include <stdlib.h>

#include "ops/fleet.h"
#include "ops/poll.h"

#define EACH_MS 2000
#define PACE_MS 20

/* --- waiting ------------------------------------------------------------------------------------------------------ */

/* Its record is no older than the one that began it, nothing waits any more, and its primary serves. */
static bool is_through(const struct unit_switch *unit_switch, const json_t *item)
{
    const json_t *record = json_object_get(item, "broker_record");
    return fleet_number(record, "version") >= unit_switch->epoch && !json_is_true(json_object_get(record, "hold")) &&
           json_is_true(json_object_get(json_object_get(item, "failover"), "serves"));
}

static enum poll_next on_units(void *arg, const struct poll_answer *answer)
{
    struct unit_switch *unit_switch = arg;
    json_t *item = ctl_find(json_object_get(answer->json, "units"), "name", unit_switch->unit);
    if (item == NULL)
        return POLL_AGAIN;
    json_decref(unit_switch->last[answer->index]);
    unit_switch->last[answer->index] = json_incref(item);
    if (!is_through(unit_switch, item))
        return POLL_AGAIN;
    unit_switch->followed++;
    return POLL_ENOUGH;
}

static void poll_gateways(struct unit_switch *unit_switch, const struct deployment *deployment, int64_t timeout_ms)
{
    struct poll_question question = {.urls = (const char *const *)deployment->urls,
                                     .url_count = deployment->url_count,
                                     .path = "/v1/units",
                                     .token = deployment->token,
                                     .each_ms = EACH_MS,
                                     .interval_ms = PACE_MS,
                                     .deadline_ms = timeout_ms};
    poll_all(&question, on_units, unit_switch);
}

/* --- the steps ---------------------------------------------------------------------------------------------------- */

static bool is_step(const struct unit_switch *unit_switch, const json_t *entry)
{
    const char *event = ctl_text(entry, "event");
    return strcmp(ctl_text(entry, "unit"), unit_switch->unit) == 0 &&
           fleet_number(entry, "epoch") >= unit_switch->epoch && strcmp(event, "won") != 0 &&
           strcmp(event, "lost") != 0;
}

/* As the gateway that was asked saw them; the newest come first there. */
static void collect_steps(struct unit_switch *unit_switch, struct deployment *deployment)
{
    struct error ignored; /* what is done stays done, whoever can tell of it */
    json_t *answer = deployment_get(deployment, "/v1/transitions?most=200", &ignored);
    const json_t *list = json_object_get(answer, "transitions");
    for (size_t i = json_array_size(list); i-- > 0;) {
        const json_t *entry = json_array_get(list, i);
        double ms = ((double)fleet_number(entry, "at_us") - (double)unit_switch->since_us) / 1000;
        if (is_step(unit_switch, entry))
            json_array_append_new(unit_switch->steps,
                                  json_pack("{s:f,s:s,s:I,s:s}", "ms", ms, "event", ctl_text(entry, "event"), "epoch",
                                            (json_int_t)fleet_number(entry, "epoch"), "text", ctl_text(entry, "text")));
    }
    json_decref(answer);
}

bool unit_switch_wait(struct unit_switch *unit_switch, struct deployment *deployment, const char *unit,
                      const json_t *answer, int64_t timeout_ms)
{
    const json_t *record = json_object_get(answer, "record");
    *unit_switch = (struct unit_switch){.unit = unit,
                                        .epoch = fleet_number(record, "version"),
                                        .since_us = fleet_number(record, "at_us"),
                                        .gateways = deployment->url_count,
                                        .last = mem_calloc(deployment->url_count, sizeof(json_t *)),
                                        .steps = json_array()};
    poll_gateways(unit_switch, deployment, timeout_ms);
    collect_steps(unit_switch, deployment);
    return unit_switch->followed == unit_switch->gateways;
}

void unit_switch_free(struct unit_switch *unit_switch)
{
    for (size_t i = 0; i < unit_switch->gateways; i++)
        json_decref(unit_switch->last[i]);
    free(unit_switch->last);
    json_decref(unit_switch->steps);
    *unit_switch = (struct unit_switch){.unit = NULL};
}

/* --- what came of it ---------------------------------------------------------------------------------------------- */

const json_t *unit_switch_record(const struct unit_switch *unit_switch)
{
    const json_t *newest = NULL;
    for (size_t i = 0; i < unit_switch->gateways; i++) {
        const json_t *record = json_object_get(unit_switch->last[i], "broker_record");
        if (fleet_number(record, "version") > fleet_number(newest, "version"))
            newest = record;
    }
    return newest;
}

json_t *unit_switch_held(const struct unit_switch *unit_switch)
{
    uint64_t requests = 0;
    double longest_ms = 0;
    for (size_t i = 0; i < unit_switch->gateways; i++) {
        const json_t *held = json_object_get(unit_switch->last[i], "held");
        double ms = json_number_value(json_object_get(held, "longest_ms"));
        requests += fleet_number(held, "requests");
        longest_ms = ms > longest_ms ? ms : longest_ms;
    }
    return json_pack("{s:I,s:f}", "requests", (json_int_t)requests, "longest_ms", longest_ms);
}

void unit_switch_print(const struct unit_switch *unit_switch)
{
    struct grid grid;
    json_t *held = unit_switch_held(unit_switch);
    grid_begin(&grid, ">MS|EVENT|>EPOCH|WHAT");
    for (size_t i = 0; i < json_array_size(unit_switch->steps); i++) {
        const json_t *step = json_array_get(unit_switch->steps, i);
        grid_add(&grid, "%+.1f", json_number_value(json_object_get(step, "ms")));
        grid_add(&grid, "%s", ctl_text(step, "event"));
        fleet_add_count(&grid, step, "epoch");
        grid_add(&grid, "%s", ctl_text(step, "text"));
    }
    grid_print(&grid);
    printf("%zu of %zu gateways follow; %lld requests waited, the longest for %.1f ms\n", unit_switch->followed,
           unit_switch->gateways, (long long)fleet_number(held, "requests"),
           json_number_value(json_object_get(held, "longest_ms")));
    json_decref(held);
}
