/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/admin.h"

#include "common/measure.h"
#include "unit-agent/collections_admin.h"
#include "unit-agent/health.h"
#include "unit-agent/prepared.h"
#include "unit-agent/report.h"

#define MOST_BODY 4096

static void get_ready(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    const char *unready = agent_unready(agent);
    if (unready != NULL)
        httpd_respond_problem(request, 503, "not-ready", unready);
    else
        httpd_admin_respond(request, 200,
                            json_pack("{s:b,s:I}", "ready", 1, "epoch", (json_int_t)agent->rules.record.rules_epoch));
}

static void get_status(struct httpd_request *request, void *context)
{
    agent_refresh(context);
    httpd_admin_respond(request, 200, report_status(context));
}

static void get_stats(struct httpd_request *request, void *context)
{
    agent_refresh(context);
    httpd_admin_respond_stats(request, report_status(context));
}

static void get_health_stream(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    health_open(agent->health, request);
}

static void get_config(struct httpd_request *request, void *context)
{
    const struct agent *agent = context;
    httpd_admin_respond_config(request, agent->config_path, agent_options, agent_option_count, &agent->config);
}

/* The unit that the query names, or the agent's own. NULL: it was answered that this agent does nothing for it. */
static struct duty *duty_asked(const struct agent *agent, struct httpd_request *request)
{
    struct buf unit = {0};
    struct duty *duty = agent->duties;
    if (httpd_request_query(request, "unit", &unit))
        duty = agent_duty(agent, unit.base != NULL ? unit.base : "");
    buf_free(&unit);
    if (duty == NULL)
        httpd_respond_problem(request, 404, "not-found", "This agent does nothing for that unit");
    return duty;
}

#define FORWARD(function)                                                                                              \
    static void function(struct httpd_request *request, void *context)                                                 \
    {                                                                                                                  \
        struct duty *duty = duty_asked(context, request);                                                              \
        if (duty != NULL)                                                                                              \
            operations_##function(duty->operations, request);                                                          \
    }
FORWARD(dead)
FORWARD(redrive)
FORWARD(purge)
FORWARD(reset)
FORWARD(flow)
FORWARD(trace)

static void list_transactions(struct httpd_request *request, void *context)
{
    const struct duty *duty = duty_asked(context, request);
    if (duty != NULL)
        prepared_list(operations_broker(duty->operations), duty->unit, request);
}

static void end_transaction(struct httpd_request *request, void *context)
{
    const struct duty *duty = duty_asked(context, request);
    if (duty != NULL)
        prepared_end(operations_broker(duty->operations), duty->unit, keeper_record(duty->keeper)->version, request);
}

#define COLLECTIONS(function)                                                                                          \
    static void collections_##function(struct httpd_request *request, void *context)                                   \
    {                                                                                                                  \
        const struct duty *duty = duty_asked(context, request);                                                        \
        if (duty != NULL)                                                                                              \
            collections_admin_##function(duty, request);                                                               \
    }
COLLECTIONS(list)
COLLECTIONS(entries)
COLLECTIONS(changes)
COLLECTIONS(repair)

static const struct httpd_route routes[] = {
    {"GET", "/healthz", httpd_admin_health, true, "200 while the process lives."},
    {"GET", "/readyz", get_ready, true,
     "200 while the rules name this agent's unit and its broker serves, 503 with the reason otherwise."},
    {"GET", "/metrics", admin_get_metrics, false, "Everything that is counted, as Prometheus text."},
    {"GET", "/v1/status", get_status, false,
     "`{name, unit, datacenter, pid, version, ready, unready, epoch, rules, store, broker, nodes, partitions, "
     "broker_record, arrivals, copies, guests, counters, latency_us}`; a guest is `{unit, serves, broker, partitions, "
     "broker_record, copies}`; a copy is `{collection, live, open, seq, seq_lag, time_lag_ms, bad, fault}`, of those "
     "that this agent writes; a "
     "partition is `{topic, partition, subscription, owned, linked, watermark, last_read, "
     "pending, "
     "held, "
     "in_flight, backing_off, oldest_ms}`."},
    {"GET", "/v1/health/stream", get_health_stream, false,
     "Server-sent events `health`: `{unit, agent, seq, broker, nodes, lag, colors, epoch}`, at once, on every change "
     "and each "
     "`health.interval`."},
    {"GET", "/v1/queue/dead", dead, false,
     "Dead letters, `{unit, count, items: [{topic, subscription, partition, id, user, method, path, color, reason, "
     "status, "
     "attempts, received, died, bytes}...]}`; the query's `unit` (the agent's own; a guest's), `topic`, "
     "`subscription`, `partition` and `limit` (100) "
     "select; "
     "`id` gives one message with `headers` and `body` (or `body_base64`). One that is given and empty is refused."},
    {"POST", "/v1/queue/redrive", redrive, false,
     "Brings dead letters back, for their subscription alone; the same selection, all where there is no `limit`."},
    {"POST", "/v1/queue/purge", purge, false, "Drops dead letters for good; the same selection."},
    {"POST", "/v1/queue/reset", reset, false,
     "Sets cursors: `to` is milliseconds since 1970, an entry id, or `end`; the same selection."},
    {"POST", "/v1/queue/flow", flow, false,
     "`rate` is `open`, `paused` or messages a second (of each agent), for the `topic` and `subscription`."},
    {"GET", "/v1/queue/trace", trace, false,
     "Where the message `id` is and what happened to it, as `GET /-/messages/ID` of a gateway says: `{unit, count, "
     "items: "
     "[{id, unit, topic, partition, state, entry, received, stored, gateway, subscriptions, hops, complete}]}`."},
    {"GET", "/v1/queue/transactions", list_transactions, false,
     "Prepared messages, `{unit, count, items: [{id, state, prepared, checks, url, parked or next_check}...]}`; the "
     "query's `state` is `parked` (where it is absent) or `prepared`, its `limit` 100 or more."},
    {"POST", "/v1/queue/transactions", end_transaction, false,
     "Ends the prepared message `id` by `verb`: `commit` or `rollback`. 409 where it has ended otherwise, 404 where no "
     "such message waits."},
    {"GET", "/v1/collections", collections_list, false,
     "The unit's collections, or the one of the query's `name`, as they stand in its broker: `{unit, count, items: "
     "[{collection, replication, role, state, open, seq, time_lag_ms, digest, digest_seq, digest_ok, bad, repaired, "
     "owner, keys, log, copy_bucket}]}`."},
    {"GET", "/v1/collections/entries", collections_entries, false,
     "Reads buckets of the collection `name` whole, `count` (1) of them `from` (0) on, each at a sequence of its own: "
     "`{unit, collection, count, items: [{bucket, seq, sum, made, entries, fingerprint, unsound}]}`; with `keys=1`, "
     "for 16 buckets at most, also `keys`: `{KEY: [version, fingerprint]}`."},
    {"GET", "/v1/collections/changes", collections_changes, false,
     "What the log of the collection `name` has of the changes `from` to `to`, the first 1000: `{unit, collection, "
     "count, items: [{seq, op, bucket, key, fingerprint}]}`."},
    {"POST", "/v1/collections/repair", collections_repair, false,
     "Has the `buckets` (such as `7,12`) of the unit's copy of `name` repaired from the origin, by whoever owns it. "
     "409 "
     "where the copy is not whole yet."},
    {"GET", "/stats", get_stats, false, "The figures of /v1/status as lines `STAT name value`, and END."},
    {"GET", "/v1/config", get_config, false, "`{file, options: [{name, value, default, reloadable, doc}...]}`."},
};

void admin_document(struct buf *out)
{
    httpd_admin_document(routes, COUNT_OF(routes), out);
}

struct httpd *admin_create(struct agent *agent, struct error *err)
{
    struct httpd_config config = {.listen = agent->config.admin.listen,
                                  .token = agent->admin_token,
                                  .routes = routes,
                                  .route_count = COUNT_OF(routes),
                                  .context = agent,
                                  .most_body = MOST_BODY};
    return httpd_admin_create(agent->loop, &config, err);
}
