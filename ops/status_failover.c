/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/status_failover.h"

#include <stdio.h>

#define TRANSITIONS_SHOWN 8

/* --- brokers, as their agents tell -------------------------------------------------------------------------------- */

static const char *state_of(const json_t *broker)
{
    if (json_is_true(json_object_get(broker, "gone")))
        return "gone";
    return json_is_true(json_object_get(broker, "healthy")) ? "well" : "unwell";
}

static const json_t *record_of(const struct fleet *fleet, const char *unit)
{
    const json_t *units = json_object_get(fleet->view, "units");
    for (size_t i = 0; i < json_array_size(units); i++)
        if (strcmp(ctl_text(json_array_get(units, i), "name"), unit) == 0)
            return json_object_get(json_array_get(units, i), "broker_record");
    return NULL;
}

static bool is_in_sync(const json_t *record, const char *url)
{
    const json_t *members = json_object_get(record, "in_sync");
    for (size_t i = 0; i < json_array_size(members); i++)
        if (strcmp(json_string_value(json_array_get(members, i)), url) == 0)
            return true;
    return false;
}

static void add_broker(struct grid *grid, const struct fleet *fleet, const json_t *agent, const json_t *broker)
{
    const char *unit = ctl_text(broker, "unit"), *url = ctl_text(broker, "url");
    const json_t *record = record_of(fleet, unit);
    bool leads = strcmp(ctl_text(record, "primary"), url) == 0;
    grid_add(grid, "%s", unit);
    grid_add(grid, "%s", url);
    grid_add(grid, "%s", ctl_text(broker, "role"));
    grid_add(grid, "%s", leads ? "primary" : is_in_sync(record, url) ? "in sync" : "-");
    grid_add(grid, "%s", state_of(broker));
    fleet_add_count(grid, broker, "epoch");
    fleet_add_count(grid, broker, "offset");
    grid_add(grid, "%s%s", ctl_text(agent, "name"), json_is_true(json_object_get(agent, "heard")) ? "" : " (silent)");
    fleet_add_count(grid, agent, "epoch");
}

static void print_brokers(const struct fleet *fleet)
{
    const json_t *agents = json_object_get(json_object_get(fleet->view, "pulses"), "agents");
    struct grid grid;
    grid_begin(&grid, "UNIT|BROKER|ROLE|RECORD|STATE|>EPOCH|>OFFSET|GUARDED BY|>KNOWS");
    for (size_t i = 0; i < json_array_size(agents); i++) {
        const json_t *agent = json_array_get(agents, i), *brokers = json_object_get(agent, "brokers");
        for (size_t j = 0; j < json_array_size(brokers); j++)
            add_broker(&grid, fleet, agent, json_array_get(brokers, j));
    }
    puts("");
    grid_print(&grid);
}

/* --- who suspects whom -------------------------------------------------------------------------------------------- */

static const json_t *failover_of(const json_t *status, const char *unit)
{
    const json_t *units = json_object_get(status, "units");
    for (size_t i = 0; i < json_array_size(units); i++)
        if (strcmp(ctl_text(json_array_get(units, i), "name"), unit) == 0)
            return json_object_get(json_array_get(units, i), "failover");
    return NULL;
}

static void add_reason(struct buf *text, const char *gateway, const char *matter, const json_t *reasons)
{
    const char *reason = ctl_text(reasons, matter);
    if (*reason != '\0' && strcmp(reason, "fine") != 0)
        buf_printf(text, "%s%s: %s %s", text->len > 0 ? "; " : "", gateway, matter, reason);
}

/* What every gateway that answered thinks by itself; what the gateways tell each other is in their votes. */
static void add_suspicions(struct grid *grid, const struct fleet *fleet, const char *unit)
{
    struct buf text = {0};
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *seen = json_object_get(failover_of(fleet->members[i].status, unit), "suspicion");
        add_reason(&text, fleet->members[i].member.name, "primary", seen);
        add_reason(&text, fleet->members[i].member.name, "consumers", seen);
    }
    grid_add(grid, "%s", text.len > 0 ? text.base : "-");
    buf_free(&text);
}

/* Whether others do what the rules give to the unit's own broker and agents. */
static bool is_away(const json_t *unit, const json_t *record)
{
    const char *home = ctl_text(json_object_get(unit, "broker"), "url");
    const char *primary = ctl_text(record, "primary"), *consumer = ctl_text(record, "consumer");
    return (*home != '\0' && *primary != '\0' && strcmp(home, primary) != 0) ||
           (*consumer != '\0' && strcmp(consumer, ctl_text(unit, "name")) != 0);
}

/* What operators do to it, or have to. */
static void add_work(struct grid *grid, const json_t *unit)
{
    const json_t *record = json_object_get(unit, "broker_record"), *drained = json_object_get(record, "drained");
    const char *target = ctl_text(record, "target"), *why = ctl_text(drained, "why");
    if (json_is_true(json_object_get(record, "hold")))
        grid_add(grid, "%s, to %s", ctl_text(json_object_get(unit, "failover"), "plan"), *target ? target : "-");
    else if (json_is_object(drained))
        grid_add(grid, "drained by %s%s%s", ctl_text(drained, "by"), *why ? ": " : "", why);
    else
        grid_add(grid, "%s", is_away(unit, record) ? "moved: wants failback" : "-");
}

static void print_watch(const struct fleet *fleet)
{
    const json_t *units = json_object_get(fleet->view, "units");
    struct grid grid;
    grid_begin(&grid, "UNIT|>EPOCH|PRIMARY|CONSUMER|WORK|SUSPECTED BY|NOT MOVED, FOR|LAST CHANGE");
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i), *record = json_object_get(unit, "broker_record");
        const char *consumer = ctl_text(record, "consumer"), *why = ctl_text(record, "why");
        grid_add(&grid, "%s", ctl_text(unit, "name"));
        fleet_add_count(&grid, record, "version");
        grid_add(&grid, "%s", *ctl_text(record, "primary") ? ctl_text(record, "primary") : "-");
        grid_add(&grid, "%s", *consumer ? consumer : ctl_text(unit, "name"));
        add_work(&grid, unit);
        add_suspicions(&grid, fleet, ctl_text(unit, "name"));
        grid_add(&grid, "%s", ctl_text(json_object_get(unit, "failover"), "refusal"));
        grid_add(&grid, "%s%s%s", *ctl_text(record, "by") ? ctl_text(record, "by") : "-", *why ? ": " : "", why);
    }
    puts("");
    grid_print(&grid);
}

static void print_transitions(const struct fleet *fleet)
{
    const json_t *list = json_object_get(fleet->view, "transitions");
    size_t count = json_array_size(list) < TRANSITIONS_SHOWN ? json_array_size(list) : TRANSITIONS_SHOWN;
    struct grid grid;
    grid_begin(&grid, "AT|UNIT|>EPOCH|EVENT|WHAT");
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(list, i);
        grid_add(&grid, "%s", ctl_text(entry, "at"));
        grid_add(&grid, "%s", ctl_text(entry, "unit"));
        fleet_add_count(&grid, entry, "epoch");
        grid_add(&grid, "%s", ctl_text(entry, "event"));
        grid_add(&grid, "%s", ctl_text(entry, "text"));
    }
    printf("\nlast transitions, as %s saw them\n", ctl_text(fleet->view, "name"));
    grid_print(&grid);
}

void status_print_failover(const struct fleet *fleet)
{
    print_brokers(fleet);
    print_watch(fleet);
    print_transitions(fleet);
}

json_t *status_failover_json(const json_t *status)
{
    const json_t *units = json_object_get(status, "units");
    json_t *json = json_object();
    for (size_t i = 0; i < json_array_size(units); i++) {
        const json_t *unit = json_array_get(units, i);
        json_object_set(json, ctl_text(unit, "name"), json_object_get(unit, "failover"));
    }
    return json;
}
