/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ops/drill_parts.h"

struct str drill_unit_of(const struct drill_run *run, const struct drill_step *step)
{
    return step->unit.value.base != NULL ? step->unit.value : run->drill->parameters.unit.value;
}

uint32_t drill_unit_index(const struct drill_run *run, const struct drill_step *step)
{
    return table_unit_index(run->rules.table, drill_unit_of(run, step));
}

const json_t *drill_unit_status(const struct fleet *fleet, struct str unit)
{
    const json_t *units = json_object_get(fleet->view, "units");
    for (size_t i = 0; i < json_array_size(units); i++)
        if (str_equal(str_of(ctl_text(json_array_get(units, i), "name")), unit))
            return json_array_get(units, i);
    return NULL;
}

static const char *address_of(const json_t *process)
{
    const char *address = ctl_text(process, "address");
    return *address ? address : "127.0.0.1";
}

static void listener(const json_t *process, const char *scheme, const char *port, char *url, size_t size)
{
    snprintf(url, size, "%s://%s:%llu", scheme, address_of(process),
             (unsigned long long)fleet_number(json_object_get(process, "ports"), port));
}

void drill_url(const json_t *process, const char *port, char *url, size_t size)
{
    listener(process, "http", port, url, size);
}

/* --- roles -------------------------------------------------------------------------------------------------------- */

struct choosing {
    struct str unit, datacenter;
    const char *primary; /* the broker that leads now */
};

static bool is(const json_t *process, const char *role)
{
    return strcmp(ctl_text(process, "role"), role) == 0;
}

static bool is_app(const json_t *process, const char *color)
{
    const char *name = ctl_text(process, "name"), *dash = strrchr(name, '-');
    return is(process, "app") && (color == NULL || (dash != NULL && strcmp(dash + 1, color) == 0));
}

static bool leads(const json_t *process, const struct choosing *choosing)
{
    char url[80];
    listener(process, "redis", "redis", url, sizeof(url));
    return strcmp(url, choosing->primary) == 0;
}

static bool stands_there(const json_t *process, const struct choosing *choosing)
{
    return str_equal(str_of(ctl_text(process, "datacenter")), choosing->datacenter);
}

static bool is_meant(const json_t *process, enum drill_part part, const struct choosing *choosing)
{
    bool own = str_equal(str_of(ctl_text(process, "unit")), choosing->unit);
    switch (part) {
    case DRILL_ALL:
        return own && stands_there(process, choosing);
    case DRILL_PRIMARY:
        return own && is(process, "broker") && leads(process, choosing);
    case DRILL_STANDBY:
        return own && is(process, "broker") && !leads(process, choosing);
    case DRILL_AGENTS:
        return own && is(process, "agent");
    case DRILL_APPS:
        return own && is_app(process, NULL);
    case DRILL_BLUE:
        return own && is_app(process, "blue");
    case DRILL_GREEN:
        return own && is_app(process, "green");
    case DRILL_DATACENTER:
        return stands_there(process, choosing);
    case DRILL_STORE:
        return is(process, "store");
    }
    return false;
}

int drill_targets(const struct drill_run *run, const struct drill_step *step, const struct fleet *fleet,
                  const json_t *targets[DRILL_TARGETS_MOST], struct error *err)
{
    struct str unit = drill_unit_of(run, step);
    const struct table_unit *rules = &run->rules.table->units[drill_unit_index(run, step)];
    const json_t *record = json_object_get(drill_unit_status(fleet, unit), "broker_record");
    struct choosing choosing = {unit, rules->datacenter, ctl_text(record, "primary")};
    const json_t *all = json_object_get(run->topology, "processes");
    int count = 0;
    for (size_t i = 0; i < json_array_size(all) && count < DRILL_TARGETS_MOST; i++)
        if (is_meant(json_array_get(all, i), (enum drill_part)step->part.value, &choosing))
            targets[count++] = json_array_get(all, i);
    if (count == 0)
        return error_set(err, ERROR_INPUT, "there is nobody who is %s of %.*s%s",
                         drill_part_name((enum drill_part)step->part.value), STR_ARG(unit),
                         step->part.value == DRILL_STORE ? ": start the playground with --store etcd" : "");
    return count;
}
