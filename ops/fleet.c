/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/fleet.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/store_json.h"
#include "ops/poll.h"

#define STATUS_TIMEOUT_MS 1500

static bool is_listed(const struct fleet *fleet, const char *admin)
{
    for (size_t i = 0; i < fleet->count; i++)
        if (strcmp(fleet->members[i].member.admin, admin) == 0)
            return true;
    return false;
}

static void list_members(struct fleet *fleet, const json_t *list, const struct deployment *deployment)
{
    fleet->members = mem_calloc(json_array_size(list) + deployment->url_count, sizeof(*fleet->members));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (store_member_from_json(json_array_get(list, i), &fleet->members[fleet->count].member))
            fleet->count++;
    for (size_t i = 0; i < deployment->url_count; i++) {
        const char *url = deployment->urls[i];
        if (is_listed(fleet, url))
            continue;
        struct store_member *member = &fleet->members[fleet->count++].member;
        snprintf(member->role, sizeof(member->role), "gateway");
        snprintf(member->name, sizeof(member->name), "%.63s", url);
        snprintf(member->admin, sizeof(member->admin), "%.127s", url);
    }
}

static enum poll_next on_status(void *arg, const struct poll_answer *answer)
{
    struct fleet_member *member = &((struct fleet *)arg)->members[answer->index];
    member->status = json_incref((json_t *)answer->json);
    snprintf(member->fault, sizeof(member->fault), "%s", answer->json ? "" : answer->fault);
    return POLL_ENOUGH;
}

static void ask_all(struct fleet *fleet, const char *token)
{
    const char **urls = mem_calloc(fleet->count, sizeof(*urls));
    for (size_t i = 0; i < fleet->count; i++) {
        urls[i] = fleet->members[i].member.admin;
        snprintf(fleet->members[i].fault, sizeof(fleet->members[i].fault), "does not answer");
    }
    struct poll_question question = {.urls = urls,
                                     .url_count = fleet->count,
                                     .path = "/v1/status",
                                     .token = token,
                                     .each_ms = STATUS_TIMEOUT_MS,
                                     .deadline_ms = STATUS_TIMEOUT_MS + 100};
    poll_all(&question, on_status, fleet);
    free(urls);
    for (size_t i = 0; i < fleet->count && fleet->view == NULL; i++)
        if (fleet_is_gateway(&fleet->members[i]))
            fleet->view = fleet->members[i].status;
}

int fleet_ask(struct fleet *fleet, struct deployment *deployment, struct error *err)
{
    *fleet = (struct fleet){0};
    json_t *answer = deployment_get(deployment, "/v1/members", err);
    /* The store may be away: then the gateways that are known by their URLs still tell of themselves. */
    if (answer == NULL && err->code != ERROR_REFUSED)
        return -1;
    list_members(fleet, json_object_get(answer, "members"), deployment);
    json_decref(answer);
    ask_all(fleet, deployment->token);
    if (fleet->view != NULL)
        return 0;
    return answer == NULL ? -1 : error_set(err, ERROR_UNREACHABLE, "no gateway tells its status");
}

void fleet_free(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->count; i++)
        json_decref(fleet->members[i].status);
    free(fleet->members);
    *fleet = (struct fleet){0};
}

bool fleet_is_gateway(const struct fleet_member *member)
{
    return strcmp(member->member.role, "gateway") == 0;
}

uint64_t fleet_number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

uint64_t fleet_unit_requests(const struct fleet *fleet, const char *unit)
{
    uint64_t requests = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *units = json_object_get(fleet->members[i].status, "units");
        for (size_t j = 0; j < json_array_size(units); j++)
            if (strcmp(ctl_text(json_array_get(units, j), "name"), unit) == 0)
                requests += fleet_number(json_array_get(units, j), "requests");
    }
    return requests;
}

const json_t *fleet_agent_of(const struct fleet *fleet, const char *unit)
{
    for (size_t i = 0; i < fleet->count; i++) {
        const struct fleet_member *member = &fleet->members[i];
        if (!fleet_is_gateway(member) && member->status != NULL && strcmp(member->member.unit, unit) == 0)
            return member->status;
    }
    return NULL;
}

uint64_t fleet_pending(const json_t *agent)
{
    const json_t *partitions = json_object_get(agent, "partitions");
    uint64_t pending = 0;
    for (size_t i = 0; i < json_array_size(partitions); i++)
        pending += fleet_number(json_array_get(partitions, i), "pending");
    return pending;
}

uint64_t fleet_refusal(const json_t *status, struct buf *why)
{
    const json_t *refused = json_object_get(status, "refused");
    if (refused == NULL) /* agents tell it as text */
        refused = json_object_get(json_object_get(status, "rules"), "refused");
    const json_t *diags = json_object_get(refused, "diagnostics");
    uint64_t epoch = fleet_number(json_object_get(refused, "record"), "rules_epoch");
    for (size_t i = 0; i < json_array_size(diags); i++) {
        const json_t *diag = json_array_get(diags, i);
        if (strcmp(ctl_text(diag, "severity"), "error") == 0)
            buf_printf(why, "; line %llu: %s", (unsigned long long)fleet_number(diag, "line"),
                       ctl_text(diag, "message"));
    }
    struct str rest = str_of(ctl_text(refused, "faults")), line;
    while (str_next(&rest, '\n', &line))
        if (line.len > 0)
            buf_printf(why, "; %.*s", STR_ARG(line));
    return epoch;
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static void add_refusal(const struct fleet_member *member, struct buf *out)
{
    struct buf why = {0};
    uint64_t epoch = fleet_refusal(member->status, &why);
    if (epoch != 0)
        buf_printf(out, "%s refuses the rules of epoch %llu%s\n", member->member.name, (unsigned long long)epoch,
                   why.base ? why.base : "");
    buf_free(&why);
}

/* Why a broker is not in sync, or worse. */
static void add_record_faults(const struct fleet_member *member, struct buf *out)
{
    const json_t *record = json_object_get(member->status, "broker_record");
    const char *alarm = ctl_text(record, "alarm"), *why = ctl_text(record, "why");
    if (*alarm)
        buf_printf(out, "%s: ALARM: %s\n", member->member.unit, alarm);
    else if (*why)
        buf_printf(out, "%s: %s\n", member->member.unit, why);
}

static void add_member_faults(const struct fleet_member *member, struct buf *out)
{
    const json_t *store = json_object_get(member->status, "store");
    if (member->status == NULL) {
        buf_printf(out, "%s (%s) is unreachable: %s\n", member->member.name, member->member.admin, member->fault);
        return;
    }
    if (*ctl_text(store, "fault"))
        buf_printf(out, "%s: its store is %s: %s\n", member->member.name, ctl_text(store, "state"),
                   ctl_text(store, "fault"));
    if (*ctl_text(store, "register_fault"))
        buf_printf(out, "%s: the store does not list it: %s\n", member->member.name, ctl_text(store, "register_fault"));
    if (*ctl_text(member->status, "reload_fault"))
        buf_printf(out, "%s: its last reload failed: %s\n", member->member.name,
                   ctl_text(member->status, "reload_fault"));
    add_refusal(member, out);
    add_record_faults(member, out);
}

static void add_node_faults(const json_t *unit, struct buf *out)
{
    const json_t *nodes = json_object_get(unit, "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (json_is_false(json_object_get(node, "usable")))
            buf_printf(out, "%s: its %s node %s is out: %s\n", ctl_text(unit, "name"), ctl_text(node, "color"),
                       ctl_text(node, "url"), ctl_text(node, "why"));
    }
}

static void add_broker_fault(const json_t *unit, struct buf *out)
{
    const json_t *broker = json_object_get(unit, "broker");
    if (json_is_false(json_object_get(broker, "up")))
        buf_printf(out, "%s: its broker is away: %s\n", ctl_text(unit, "name"), ctl_text(broker, "fault"));
}

void fleet_faults(const struct fleet *fleet, struct buf *out)
{
    const json_t *agents = json_object_get(fleet->view, "agents"), *units = json_object_get(fleet->view, "units");
    for (size_t i = 0; i < fleet->count; i++)
        add_member_faults(&fleet->members[i], out);
    for (size_t i = 0; i < json_array_size(agents); i++) {
        const json_t *agent = json_array_get(agents, i);
        if (json_is_false(json_object_get(agent, "heard")))
            buf_printf(out, "%s: its agent %s is not heard: %s\n", ctl_text(agent, "unit"), ctl_text(agent, "url"),
                       ctl_text(agent, "fault"));
    }
    for (size_t i = 0; i < json_array_size(units); i++) {
        add_broker_fault(json_array_get(units, i), out);
        add_node_faults(json_array_get(units, i), out);
    }
}

/* --- for the verbs ------------------------------------------------------------------------------------------------ */

enum ctl_exit fleet_run(const struct ctl *ctl, fleet_show_fn show)
{
    struct deployment deployment;
    struct fleet fleet = {0};
    struct error err = {0};
    enum ctl_exit result;
    if (deployment_find(&ctl->args, &deployment, &err) != 0 || fleet_ask(&fleet, &deployment, &err) != 0)
        result = ctl_fail(&err);
    else
        result = show(ctl, &fleet, &deployment);
    fleet_free(&fleet);
    deployment_free(&deployment);
    return result;
}

const char *fleet_state(const struct fleet_member *member)
{
    const json_t *status = member->status;
    return status == NULL                                      ? "unreachable"
           : json_is_true(json_object_get(status, "draining")) ? "draining"
           : json_is_true(json_object_get(status, "ready"))    ? "ready"
                                                               : "not ready";
}

const char *fleet_broker_state(const json_t *unit)
{
    const json_t *up = json_object_get(json_object_get(unit, "broker"), "up");
    return json_is_true(up) ? "up" : json_is_false(up) ? "away" : "?";
}

void fleet_add_count(struct grid *grid, const json_t *object, const char *key)
{
    if (json_is_integer(json_object_get(object, key)))
        grid_add(grid, "%llu", (unsigned long long)fleet_number(object, key));
    else
        grid_add(grid, "-");
}
