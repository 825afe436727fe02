/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/unit_call.h"

#include <string.h>

/* The agents of UNIT, as something that can be asked one after the other. Borrows the fleet and the deployment. */
static struct deployment agents_of(const struct fleet *fleet, const struct deployment *deployment, const char *unit)
{
    struct deployment agents = {.token = deployment->token};
    for (size_t i = 0; i < fleet->count && agents.url_count < DEPLOYMENT_GATEWAYS; i++) {
        const struct store_member *member = &fleet->members[i].member;
        if (!fleet_is_gateway(&fleet->members[i]) && strcmp(member->unit, unit) == 0)
            agents.urls[agents.url_count++] = (char *)member->admin;
    }
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
    struct deployment agents = agents_of(fleet, deployment, unit);
    json_t *answer = NULL;
    int failed = deployment_ask(&agents, method, target, STR_LIT(""), &answer, err);
    if (failed == 0)
        append_items(answer, unit, items);
    json_decref(answer);
    return failed;
}

static bool seen_before(const struct fleet *fleet, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (!fleet_is_gateway(&fleet->members[i]) &&
            strcmp(fleet->members[i].member.unit, fleet->members[at].member.unit) == 0)
            return true;
    return false;
}

static enum ctl_exit call_all(const struct fleet *fleet, const struct deployment *deployment, const char *unit,
                              const char *method, const char *target, json_t *items)
{
    enum ctl_exit result = CTL_DONE;
    size_t asked = 0;
    struct error err;
    for (size_t i = 0; i < fleet->count; i++) {
        const char *name = fleet->members[i].member.unit;
        if (fleet_is_gateway(&fleet->members[i]) || seen_before(fleet, i) || (unit != NULL && strcmp(unit, name) != 0))
            continue;
        asked++;
        if (call_unit(fleet, deployment, name, method, target, items, &err) != 0) {
            enum ctl_exit failed = ctl_fail(&err);
            result = result == CTL_DONE ? failed : result;
        }
    }
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
