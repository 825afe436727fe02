/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/store_json.h"
#include "common/version.h"
#include "gateway/admin.h"
#include "common/diag_json.h"
#include "gateway/failover.h"
#include "gateway/follow.h"
#include "gateway/queue.h"
#include "gateway/workers.h"

#define TRANSITIONS_MOST 20 /* /v1/transitions has more */

#define SUM(control, field) workers_sum((control)->gateway, offsetof(struct gateway_stats, field))

static json_t *time_of(uint64_t wall_us)
{
    char text[CLOCK_UTC_SIZE];
    clock_format_utc(wall_us, text);
    return json_string(text);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *text_of(struct str text)
{
    return json_stringn(text.base ? text.base : "", text.len);
}

static json_t *store_of(const struct control *control)
{
    const struct rollout *rollout = &control->rollout;
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:s}", "location", control->gateway->config.store.location, "state",
                     rollout_store_name(rollout->state), "fault", rollout->fault, "since", time_of(rollout->since_us),
                     "epoch", number(stat_get(&control->stats.store_epoch)), "register_fault", control->register_fault);
}

static json_t *rules_of(const struct control *control)
{
    const struct rollout *rollout = &control->rollout;
    if (rollout->view == NULL)
        return json_null();
    json_t *rules = store_record_to_json(&rollout->record);
    json_object_set_new(rules, "from_cache", json_boolean(stat_get(&control->stats.rules_from_cache)));
    json_object_set_new(rules, "cache_fault", json_string(rollout->cache_fault));
    return rules;
}

void admin_get_ready(struct httpd_request *request, void *context)
{
    const struct control *control = context;
    bool ready = control_ready(control);
    json_t *json =
        json_pack("{s:b,s:b,s:o,s:o,s:o}", "ready", ready, "draining", control->drain_until_us != 0, "epoch",
                  number(rollout_epoch(&control->rollout)), "rules", rules_of(control), "store", store_of(control));
    char *text = json_dumps(json, JSON_COMPACT);
    httpd_respond(request, ready ? 200 : 503, "application/json", str_of(text));
    free(text);
    json_decref(json);
}

static json_t *refused_of(struct control *control)
{
    struct rollout_refusal *refusal = &control->rollout.refusal;
    if (refusal->record.epoch == 0)
        return json_null();
    return json_pack("{s:o,s:o,s:o}", "record", store_record_to_json(&refusal->record), "at", time_of(refusal->at_us),
                     "diagnostics", diag_to_json(&refusal->diags));
}

static json_t *workers_of(const struct control *control)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < control->gateway->worker_count; i++) {
        const struct worker *worker = &control->gateway->workers[i];
        json_array_append_new(list, json_pack("{s:i,s:o,s:o,s:o,s:o}", "index", (int)i, "epoch",
                                              number(atomic_load(&worker->epoch)), "connections",
                                              number(stat_get(&worker->stats.connections_open)), "in_flight",
                                              number(stat_get(&worker->stats.requests_in_flight)), "requests",
                                              number(stat_get(&worker->stats.requests_total))));
    }
    return list;
}

static json_t *requests_of(const struct control *control)
{
    json_t *verdicts = json_object();
    for (int i = 0; i < VERDICT_COUNT; i++) {
        uint64_t count =
            workers_sum(control->gateway, offsetof(struct gateway_stats, verdicts) + (size_t)i * sizeof(stat_value));
        if (count > 0)
            json_object_set_new(verdicts, verdict_info((enum verdict)i)->name, number(count));
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:o}", "total", number(SUM(control, requests_total)), "in_flight",
                     number(SUM(control, requests_in_flight)), "malformed",
                     number(SUM(control, requests_malformed_total)), "connections",
                     number(SUM(control, connections_open)), "verdicts", verdicts);
}

/* --- agents ------------------------------------------------------------------------------------------------------- */

static void add_agent(const struct follow_agent *agent, void *arg)
{
    json_t *report = agent->report != NULL ? json_deep_copy(agent->report) : json_null();
    json_array_append_new(arg, json_pack("{s:s,s:s,s:b,s:o,s:s,s:o}", "unit", agent->unit, "url", agent->url, "heard",
                                         agent->heard, "age_ms", json_integer(agent->age_ms), "fault", agent->fault,
                                         "report", report));
}

static bool is_of(const json_t *agent, struct str unit)
{
    return str_equal(str_of(json_string_value(json_object_get(agent, "unit"))), unit);
}

/* What a living agent of UNIT says of its broker; null where none does. A new reference. */
static json_t *reported_broker(const json_t *agents, struct str unit)
{
    size_t i;
    json_t *agent;
    json_array_foreach(agents, i, agent) {
        json_t *broker = json_object_get(json_object_get(agent, "report"), "broker");
        if (is_of(agent, unit) && json_is_true(json_object_get(agent, "heard")) && broker != NULL)
            return json_incref(broker);
    }
    return json_null();
}

/* Why an agent calls the node URL down. */
static const char *reported_fault(const json_t *agents, const char *url)
{
    size_t i, j;
    json_t *agent, *node;
    json_array_foreach(agents, i, agent) {
        json_array_foreach(json_object_get(json_object_get(agent, "report"), "nodes"), j, node) {
            const char *named = json_string_value(json_object_get(node, "url"));
            const char *fault = json_string_value(json_object_get(node, "fault"));
            if (named != NULL && strcmp(named, url) == 0 && json_is_false(json_object_get(node, "up")))
                return fault != NULL && fault[0] != '\0' ? fault : "its agent calls it down";
        }
    }
    return "its agent calls it down";
}

/* --- units -------------------------------------------------------------------------------------------------------- */

static json_t *node_of(const struct node *node, enum color color, const json_t *agents)
{
    bool refused = atomic_load_explicit(&node->refused, memory_order_relaxed);
    bool reported = atomic_load_explicit(&node->reported, memory_order_relaxed);
    const char *why = refused ? "a connection to it failed" : reported ? reported_fault(agents, node->url) : "";
    return json_pack("{s:s,s:s,s:b,s:s,s:i}", "url", node->url, "color", color_name(color), "usable", node_usable(node),
                     "why", why, "in_flight", (int)atomic_load_explicit(&node->in_flight, memory_order_relaxed));
}

/* As this gateway's own connections find it, one a thread, and as the unit's agent does. */
static json_t *broker_of(const struct control *control, const struct table_unit *rules, const struct unit *unit,
                         const json_t *agents)
{
    const struct gateway *gateway = control->gateway;
    char fault[256], first[256] = "";
    unsigned ready = 0;
    if (rules->broker_count == 0)
        return json_null();
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        bool up = queue_broker_ready(gateway->workers[i].queue, unit, fault, sizeof(fault));
        ready += up;
        if (!up && first[0] == '\0')
            memcpy(first, fault, sizeof(first));
    }
    return json_pack("{s:o,s:b,s:s,s:i,s:o,s:o}", "url", text_of(rules->brokers[0]), "up",
                     ready == gateway->worker_count, "fault", first, "connections", (int)ready, "memory_percent",
                     number(stat_get(&unit->memory_percent)), "agent", reported_broker(agents, rules->name));
}

static json_t *drained_of(const struct broker_record *record)
{
    const struct broker_drain *drained = &record->drained;
    return drained->at_us == 0
               ? json_null()
               : json_pack("{s:s,s:s,s:o}", "by", drained->by, "why", drained->why, "at", time_of(drained->at_us));
}

static json_t *moving_of(const struct broker_record *record)
{
    return record->moving.rules == 0
               ? json_null()
               : json_pack("{s:I,s:s}", "rules", (json_int_t)record->moving.rules, "slots", record->moving.slots);
}

json_t *admin_record_json(const struct broker_record *record)
{
    json_t *members = json_array();
    for (unsigned i = 0; i < record->member_count; i++)
        json_array_append_new(members, json_string(record->members[i].url));
    json_t *json = json_pack("{s:o,s:o,s:s,s:o,s:s}", "version", number(record->version), "epoch",
                             number(record->version), "primary", record->primary, "in_sync", members, "by", record->by);
    json_object_set_new(json, "at", record->version > 0 ? time_of(record->at_us) : json_null());
    json_object_set_new(json, "at_us", number(record->at_us));
    json_object_set_new(json, "consumer", json_string(record->consumer));
    json_object_set_new(json, "hold", json_boolean(record->hold));
    json_object_set_new(json, "target", json_string(record->target));
    json_object_set_new(json, "why", json_string(record->why));
    json_object_set_new(json, "drained", drained_of(record));
    json_object_set_new(json, "moving", moving_of(record));
    return json;
}

/* Who is in sync, as the unit's keeper wrote it; version 0 where nobody has. */
static json_t *record_of(struct unit *unit)
{
    struct broker_record record;
    unit_record(unit, &record);
    json_t *json = admin_record_json(&record);
    json_object_set_new(json, "fault", json_string(unit->record_fault));
    return json;
}

static json_t *held_of(const struct unit *unit)
{
    uint64_t held = atomic_load_explicit(&unit->held, memory_order_relaxed);
    uint64_t longest_us = atomic_load_explicit(&unit->held_longest_us, memory_order_relaxed);
    return json_pack("{s:o,s:f}", "requests", number(held), "longest_ms", (double)longest_us / 1000);
}

void admin_get_units(struct httpd_request *request, void *context)
{
    const struct control *control = context;
    const struct view *view = control->rollout.view;
    json_t *list = json_array();
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        struct unit *unit = view->units[i].unit;
        json_array_append_new(list, json_pack("{s:s,s:o,s:o,s:o}", "name", unit->name, "broker_record", record_of(unit),
                                              "failover", failover_unit_status(control->gateway->failover, unit),
                                              "held", held_of(unit)));
    }
    httpd_admin_respond(request, 200, json_pack("{s:s,s:o}", "gateway", control->gateway->name, "units", list));
}

static json_t *unit_of(const struct control *control, const struct view *view, uint32_t at, const json_t *agents)
{
    const struct table_unit *rules = &view->table->units[at];
    const struct view_unit *joined = &view->units[at];
    struct unit *unit = joined->unit;
    json_t *nodes = json_array(), *weights = json_object();
    for (int color = 0; color < COLOR_COUNT; color++) {
        json_object_set_new(weights, color_name((enum color)color), number(view->splits[at].weights[color]));
        for (uint32_t i = 0; i < rules->nodes[color].count; i++)
            json_array_append_new(nodes, node_of(joined->nodes[color][i], (enum color)color, agents));
    }
    return json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", text_of(rules->name), "kind",
                     zone_name(rules->kind), "datacenter", text_of(rules->datacenter), "in_flight",
                     number(atomic_load(&unit->in_flight)), "requests", number(stat_get(&unit->requests)), "refused",
                     number(stat_get(&unit->refused)), "failed", number(stat_get(&unit->failed)), "weights", weights,
                     "broker", broker_of(control, rules, unit, agents), "broker_record", record_of(unit), "nodes",
                     nodes, "failover", failover_unit_status(control->gateway->failover, unit));
}

static json_t *units_of(const struct control *control, const json_t *agents)
{
    json_t *list = json_array();
    const struct view *view = control->rollout.view;
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++)
        json_array_append_new(list, unit_of(control, view, i, agents));
    return list;
}

static json_t *status_of(struct control *control)
{
    const struct gateway *gateway = control->gateway;
    json_t *agents = json_array(), *status = json_object();
    follow_each(control->follow, add_agent, agents);
    json_object_set_new(status, "name", json_string(gateway->name));
    json_object_set_new(status, "datacenter",
                        json_string(gateway->config.datacenter ? gateway->config.datacenter : ""));
    json_object_set_new(status, "pid", json_integer((json_int_t)getpid()));
    json_object_set_new(status, "version", json_string(LDCGATE_VERSION));
    json_object_set_new(status, "started", time_of(control->started_us));
    json_object_set_new(status, "uptime_s", number((clock_wall_us() - control->started_us) / 1000000));
    json_object_set_new(status, "ready", json_boolean(control_ready(control)));
    json_object_set_new(status, "draining", json_boolean(control->drain_until_us != 0));
    json_object_set_new(status, "reload_fault", json_string(control->reload_fault));
    json_object_set_new(status, "epoch", number(rollout_epoch(&control->rollout)));
    json_object_set_new(status, "rules", rules_of(control));
    json_object_set_new(status, "store", store_of(control));
    json_object_set_new(status, "refused", refused_of(control));
    json_object_set_new(status, "workers", workers_of(control));
    json_object_set_new(status, "requests", requests_of(control));
    json_object_set_new(status, "units", units_of(control, agents));
    json_object_set_new(status, "agents", agents);
    json_object_set_new(status, "pulses", failover_status(gateway->failover));
    json_object_set_new(status, "transitions", failover_transitions(gateway->failover, TRANSITIONS_MOST));
    return status;
}

void admin_get_status(struct httpd_request *request, void *context)
{
    httpd_admin_respond(request, 200, status_of(context));
}

void admin_get_stats(struct httpd_request *request, void *context)
{
    httpd_admin_respond_stats(request, status_of(context));
}
