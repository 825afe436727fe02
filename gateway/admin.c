/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/json_text.h"
#include "common/measure.h"
#include "common/protocol.h"
#include "common/store_backend.h"
#include "common/store_json.h"
#include "gateway/failover.h"
#include "gateway/sampler.h"
#include "gateway/workers.h"
#include "rules/rules.h"

#define MOST_MEMBERS 1024
#define MOST_USERS   1024
#define UNITS_SHOWN  16 /* to who names one that is not there */

/* --- answers ------------------------------------------------------------------------------------------------------ */

void admin_respond_error(struct httpd_request *request, const struct error *err)
{
    switch (err->code) {
    case ERROR_INPUT:
        httpd_respond_problem(request, 400, "bad-request", err->text);
        break;
    case ERROR_REFUSED:
        httpd_respond_problem(request, 404, "not-found", err->text);
        break;
    case ERROR_CONFLICT:
        httpd_respond_problem(request, 409, "conflict", err->text);
        break;
    default:
        httpd_respond_problem(request, 503, "store-unavailable", err->text);
    }
}

bool admin_query_number(struct httpd_request *request, const char *name, uint64_t *value)
{
    struct buf text = {NULL, 0, 0};
    char detail[100];
    snprintf(detail, sizeof(detail), "%s must be a decimal number.", name);
    bool valid = !httpd_request_query(request, name, &text) || str_to_u64(buf_str(&text), value);
    if (!valid)
        httpd_respond_problem(request, 400, "bad-request", detail);
    buf_free(&text);
    return valid;
}

static void respond_no_unit(struct httpd_request *request, const struct table *table, struct str name)
{
    struct buf detail = {NULL, 0, 0};
    struct str asked = name.len > 0 ? name : STR_LIT("(none was given)");
    asked.len = asked.len < PROTOCOL_NAME_MAX ? asked.len : PROTOCOL_NAME_MAX;
    buf_printf(&detail, "The rules in force name no unit %.*s.", STR_ARG(asked));
    for (uint32_t i = 0; table != NULL && i < table->unit_count && i < UNITS_SHOWN; i++)
        buf_printf(&detail, "%s%.*s", i == 0 ? " There are " : ", ", STR_ARG(table->units[i].name));
    if (table != NULL && table->unit_count > UNITS_SHOWN)
        buf_printf(&detail, " and %u others", table->unit_count - UNITS_SHOWN);
    httpd_respond_problem(request, 404, "not-found", detail.base);
    buf_free(&detail);
}

uint32_t admin_query_unit(struct control *control, struct httpd_request *request, struct buf *name)
{
    const struct table *table = control->rollout.view != NULL ? control->rollout.view->table : NULL;
    bool given = httpd_request_query(request, "unit", name);
    uint32_t unit = given && table != NULL ? table_unit_index(table, buf_str(name)) : NO_UNIT;
    if (unit == NO_UNIT)
        respond_no_unit(request, table, buf_str(name));
    return unit;
}

/* --- the small resources ------------------------------------------------------------------------------------------ */

static void get_members(struct httpd_request *request, void *context)
{
    struct control *control = context;
    struct store_member *members = mem_calloc(MOST_MEMBERS, sizeof(*members));
    struct error err;
    int count = store_members(control->rollout.store, members, MOST_MEMBERS, &err);
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, store_member_to_json(&members[i]));
    if (count == -1)
        admin_respond_error(request, &err);
    else
        httpd_admin_respond(request, 200, json_pack("{s:O}", "members", list));
    json_decref(list);
    free(members);
}

static struct str query(struct httpd_request *request, const char *name, struct buf *text)
{
    bool given = httpd_request_query(request, name, text);
    return given ? buf_str(text) : (struct str){NULL, 0};
}

static void get_explain(struct httpd_request *request, void *context)
{
    const struct rollout *rollout = &((struct control *)context)->rollout;
    struct buf user = {NULL, 0, 0}, method = {NULL, 0, 0}, path = {NULL, 0, 0}, out = {NULL, 0, 0};
    char file[40];
    if (rollout->view == NULL) {
        httpd_respond_problem(request, 503, "no-rules", "This gateway has no rules yet.");
        return;
    }
    snprintf(file, sizeof(file), "rules-%llu.yaml", (unsigned long long)rollout->record.version);
    rules_explain_split(rollout->view->table, rollout->view->splits, file, query(request, "user", &user),
                        query(request, "method", &method), query(request, "path", &path), &out);
    httpd_respond(request, 200, "application/json", buf_str(&out));
    buf_free(&user);
    buf_free(&method);
    buf_free(&path);
    buf_free(&out);
}

static void get_config(struct httpd_request *request, void *context)
{
    const struct control *control = context;
    httpd_admin_respond_config(request, control->config_path, gateway_options, gateway_option_count,
                               &control->gateway->config);
}

static void get_transitions(struct httpd_request *request, void *context)
{
    const struct control *control = context;
    uint64_t most = 100;
    if (admin_query_number(request, "most", &most))
        httpd_admin_respond(request, 200,
                            json_pack("{s:s,s:o}", "gateway", control->gateway->name, "transitions",
                                      failover_transitions(control->gateway->failover, most)));
}

/* --- traffic ------------------------------------------------------------------------------------------------------ */

static void collect(struct worker *worker, void *arg)
{
    struct traffic *parts = arg;
    sampler_collect(worker->sampler, clock_monotonic_us(), &parts[worker->index]);
}

static void print_users(struct buf *out, const char *key, const struct traffic_user *users, size_t count)
{
    buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s{\"user\":", i > 0 ? "," : "");
        json_append_text(out, (struct str){users[i].text, users[i].len});
        buf_printf(out, ",\"requests\":%llu}", (unsigned long long)users[i].requests);
    }
    buf_printf(out, "]");
}

/* What the samplers remember, in seconds: less while the gateway is younger than that. */
static uint64_t window_s(const struct control *control)
{
    uint64_t age_s = (clock_wall_us() - control->started_us) / 1000000 + 1;
    uint64_t most_s = sampler_window_us(clock_monotonic_us()) / 1000000;
    return age_s < most_s ? age_s : most_s;
}

static void get_traffic(struct httpd_request *request, void *context)
{
    const struct control *control = context;
    struct gateway *gateway = control->gateway;
    struct traffic *parts = mem_calloc(gateway->worker_count, sizeof(*parts)), all = {0};
    workers_call(gateway, collect, parts);
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        traffic_merge(&all, &parts[i]);
        traffic_free(&parts[i]);
    }
    traffic_finish(&all, MOST_USERS);
    struct buf out = {NULL, 0, 0};
    buf_printf(&out, "{\"window_s\":%llu,\"requests\":%llu,\"distinct_users\":%llu",
               (unsigned long long)window_s(control), (unsigned long long)all.requests,
               (unsigned long long)traffic_distinct(&all));
    print_users(&out, "users", all.users, all.user_count);
    print_users(&out, "sample", all.sample, all.sample_count);
    buf_printf(&out, "}\n");
    httpd_respond(request, 200, "application/json", buf_str(&out));
    buf_free(&out);
    traffic_free(&all);
    free(parts);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static const struct httpd_route routes[] = {
    {"GET", "/healthz", httpd_admin_health, true, "200 while the process lives."},
    {"GET", "/readyz", admin_get_ready, true,
     "200 while this gateway has rules and listens and does not drain, 503 otherwise; with the store's state."},
    {"GET", "/metrics", admin_get_metrics, false, "Everything that is counted, as Prometheus text."},
    {"GET", "/v1/status", admin_get_status, false,
     "`{name, datacenter, pid, version, ready, epoch, rules, store, refused, workers, requests, units, agents, "
     "pulses, transitions}`: "
     "`epoch` is "
     "that of the rules which every thread serves; `refused` is the newest version of the store that was not taken, "
     "with its "
     "diagnostics, or null."},
    {"GET", "/stats", admin_get_stats, false, "The figures of /v1/status as lines `STAT name value`, and END."},
    {"GET", "/v1/rules", admin_get_rules, false,
     "`{record, rules}`: the record and the text of the rules in force; `?version=N`: of any version, with the record "
     "null where the history no longer tells."},
    {"GET", "/v1/rules/history", admin_get_history, false,
     "`{history: [record...]}`, the newest first; `?most=N`, 100 by default."},
    {"POST", "/v1/rules", admin_put_rules, false,
     "Puts the body (YAML) as a new version: `?expected_epoch=N&by=WHO&note=WHY`. Users who move do so in order. The "
     "new record with `diagnostics` (warnings) and `moved: {units, held_ms}`: how many units users left, and for how "
     "long their requests waited. 409 with the current `epoch` where other rules came into force since epoch N; 409 "
     "`move-refused` where a unit that users leave cannot be closed for them (`&unfenced=1` moves them at once, in "
     "whatever order); 422 with `diagnostics` where the rules are faulty."},
    {"POST", "/v1/rules/rollback", admin_roll_back, false,
     "Puts the text of the version before the current one, or of `?version=N`, as a new version; else as above."},
    {"GET", "/v1/arrivals", admin_get_arrivals, false,
     "`{arrivals: [{unit, from, epoch}...]}`: units that took users in from another one, by rules that replaced those "
     "of the epoch, and wait for what that one still has of them."},
    {"POST", "/v1/arrivals/open", admin_open_arrivals, false,
     "`?unit=U`: U waits no longer, in whatever order that lets messages be delivered. `{ended: [...]}`, as above."},
    {"GET", "/v1/colors", admin_get_colors, false,
     "`{colors: [{unit, version, weights, rules, override, before, salt, away, ramp, by, why, at, fault, seen}...]}`: "
     "how each unit's users share its colours now (`weights`), by the `rules`, and by operators and ramps "
     "(`override`); what this gateway has `seen` of each colour."},
    {"POST", "/v1/colors", admin_set_colors, false,
     "Sets weights: `?unit=U&blue=N&green=N&salt=TEXT&by=WHO`; both 0 give the unit back to the rules. As each of "
     "these, it answers with the unit as above, 404 where there is no such unit, 409 where it cannot be."},
    {"POST", "/v1/colors/ramp", admin_ramp_colors, false,
     "Begins a ramp: `?unit=U&to=COLOR&steps=5,25,100&dwell_ms=N&abort_errors=PERCENT&abort_latency=TIMES"
     "&min_requests=N&by=WHO`."},
    {"POST", "/v1/colors/rollback", admin_roll_back_colors, false,
     "Puts the weights back that were there before the ramp or the last change: `?unit=U&by=WHO`."},
    {"GET", "/v1/units", admin_get_units, false,
     "`{gateway, units: [{name, broker_record, failover, held}...]}`: of each unit the record, what this gateway makes "
     "of it, and how many requests have waited since the last planned switch began, the longest for `longest_ms`."},
    {"POST", "/v1/units/drain", admin_drain_unit, false,
     "The unit's standby takes its queue and its requests by a planned switch, and nothing returns by itself: "
     "`?unit=U&by=WHO&note=WHY`. As each of these, it answers `{unit, changed, record}` as soon as the record is "
     "written (the gateways see a switch through: until then its `hold` is true), 404 where there is no such unit, "
     "409 with the reason where it cannot be."},
    {"POST", "/v1/units/ready", admin_ready_unit, false,
     "Ends that, if the unit's broker is in sync and its agents and nodes are there; 409 says what is missing."},
    {"POST", "/v1/units/failback", admin_fail_back_unit, false,
     "The same, and the unit goes home by a planned switch."},
    {"POST", "/v1/units/fail", admin_fail_unit, false,
     "Another broker that is in sync leads at once, without a vote. `&broker=URL&run_id=ID`: this one does, whatever "
     "it lacks; it must be heard in that run."},
    {"GET", "/v1/members", get_members, false, "`{members: [...]}`: the living processes that follow the store."},
    {"GET", "/v1/explain", get_explain, false,
     "Where a request would go, and why: `?user=ID&path=P&method=M`, of which any may be missing."},
    {"GET", "/v1/traffic", get_traffic, false,
     "`{window_s, requests, distinct_users, users, sample}`: of the last minutes, a uniform sample of the distinct "
     "users with the requests of each, and a sample of the requests by user."},
    {"GET", "/v1/transitions", get_transitions, false,
     "`{gateway, transitions: [{at, at_us, unit, event, epoch, text}...]}`: what happened to units here, the newest "
     "first; `?most=N`, 100 by default. Events: suspected, cleared, voted, proposed, won, lost, unknown, record, "
     "promoted, planned, alarm, calm."},
    {"GET", "/v1/config", get_config, false, "`{file, options: [{name, value, default, reloadable, doc}...]}`."},
};

void admin_document(struct buf *out)
{
    httpd_admin_document(routes, COUNT_OF(routes), out);
}

struct httpd *admin_create(struct control *control, struct error *err)
{
    struct httpd_config config = {.listen = control->gateway->config.admin.listen,
                                  .token = control->admin_token,
                                  .routes = routes,
                                  .route_count = COUNT_OF(routes),
                                  .context = control,
                                  .most_body = STORE_RULES_MOST};
    return httpd_admin_create(control->loop, &config, err);
}
