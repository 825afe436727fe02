/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/unit_call.h"

#include <string.h>

/* Every agent of a unit's standby has a guest's duty for it, and reaches its broker: it is asked where the unit's own
 * agents are gone. */
static bool is_guest_of(const struct fleet_member *agent, const char *unit)
{
    const json_t *guests = json_object_get(agent->status, "guests");
    for (size_t i = 0; i < json_array_size(guests); i++)
        if (strcmp(ctl_text(json_array_get(guests, i), "unit"), unit) == 0)
            return true;
    return false;
}

static void add_agents(struct deployment *agents, const struct fleet *fleet, const char *unit, bool own)
{
    for (size_t i = 0; i < fleet->count && agents->url_count < DEPLOYMENT_GATEWAYS; i++) {
        const struct fleet_member *agent = &fleet->members[i];
        if (fleet_is_gateway(agent))
            continue;
        if (own ? strcmp(agent->member.unit, unit) == 0 : is_guest_of(agent, unit))
            agents->urls[agents->url_count++] = (char *)agent->member.admin;
    }
}

struct deployment unit_agents(const struct fleet *fleet, const struct deployment *deployment, const char *unit)
{
    struct deployment agents = {.token = deployment->token};
    add_agents(&agents, fleet, unit, true);
    add_agents(&agents, fleet, unit, false);
    return agents;
}

static void append_items(const json_t *answer, const char *unit, json_t *items)
{
    const json_t *list = json_object_get(answer, "items");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_pack("{s:s}", "unit", unit);
        json_object_update(item, json_array_get(list, i));
        json_array_append_new(items, item);
    }
}

static int call_unit(const struct fleet *fleet, const struct deployment *deployment, const char *unit,
                     const char *method, const char *target, json_t *items, struct error *err)
{
    struct deployment agents = unit_agents(fleet, deployment, unit);
    json_t *answer = NULL;
    struct buf whole = {0};
    buf_printf(&whole, "%s", target);
    deployment_add_query(&whole, "unit", unit);
    int failed = deployment_ask(&agents, method, whole.base, STR_LIT(""), &answer, err);
    if (failed == 0)
        append_items(answer, unit, items);
    json_decref(answer);
    buf_free(&whole);
    return failed;
}

static void add_name(json_t *names, const char *name, const char *wanted)
{
    bool known = wanted != NULL && strcmp(wanted, name) != 0;
    for (size_t i = 0; i < json_array_size(names) && !known; i++)
        known = strcmp(json_string_value(json_array_get(names, i)), name) == 0;
    if (!known)
        json_array_append_new(names, json_string(name));
}

json_t *unit_names(const struct fleet *fleet, const char *wanted)
{
    json_t *names = json_array();
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_member *agent = &fleet->members[i];
        if (!fleet_is_gateway(agent))
            add_name(names, agent->member.unit, wanted);
    }
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *guests = json_object_get(fleet->members[i].status, "guests");
        for (size_t j = 0; j < json_array_size(guests); j++)
            add_name(names, ctl_text(json_array_get(guests, j), "unit"), wanted);
    }
    return names;
}

static enum ctl_exit call_all(const struct fleet *fleet, const struct deployment *deployment, const char *unit,
                              const char *method, const char *target, json_t *items)
{
    enum ctl_exit result = CTL_DONE;
    struct error err;
    json_t *names = unit_names(fleet, unit);
    size_t asked = json_array_size(names);
    for (size_t i = 0; i < asked; i++)
        if (call_unit(fleet, deployment, json_string_value(json_array_get(names, i)), method, target, items, &err) !=
            0) {
            enum ctl_exit failed = ctl_fail(&err);
            result = result == CTL_DONE ? failed : result;
        }
    json_decref(names);
    if (asked > 0)
        return result;
    error_set(&err, ERROR_UNREACHABLE, unit ? "the store lists no agent of %s" : "the store lists no agents", unit);
    return ctl_fail(&err);
}

enum ctl_exit unit_call(const struct ctl *ctl, const char *unit, const char *method, const char *target, json_t *items)
{
    struct deployment deployment;
    struct fleet fleet = {0};
    struct error err = {0};
    enum ctl_exit result;
    if (deployment_find(&ctl->args, &deployment, &err) != 0 || fleet_ask(&fleet, &deployment, &err) != 0)
        result = ctl_fail(&err);
    else
        result = call_all(&fleet, &deployment, unit, method, target, items);
    fleet_free(&fleet);
    deployment_free(&deployment);
    return result;
}

enum ctl_exit unit_call_show(const struct ctl *ctl, const char *unit, const char *method, struct buf *target,
                             void (*show)(const json_t *items))
{
    json_t *items = json_array();
    enum ctl_exit result = unit_call(ctl, unit, method, target->base, items);
    if (ctl->json)
        ctl_print_json(json_pack("{s:O}", "items", items));
    else if (result == CTL_DONE || json_array_size(items) > 0)
        show(items);
    json_decref(items);
    buf_free(target);
    return result;
}
