/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "common/measure.h"
#include "common/version.h"
#include "gateway/admin.h"
#include "gateway/failover.h"
#include "gateway/follow.h"
#include "gateway/queue.h"
#include "gateway/workers.h"

static const struct stat_row worker_rows[] = {
#define STAT(name, kind, help) {#name, kind, help, offsetof(struct gateway_stats, name)},
#include "gateway/gateway_stats_tbl.h"
#undef STAT
};

static const struct stat_row control_rows[] = {
#define STAT(name, kind, help) {#name, kind, help, offsetof(struct control_stats, name)},
#include "gateway/control_stats_tbl.h"
#undef STAT
};

/* A metric with labels: PRINT writes its lines. */
struct printing;
struct series {
    const char *name, *type, *labels, *help;
    void (*print)(struct printing *printing);
};

struct printing {
    struct control *control;
    const struct series *series;
    struct buf *out;
    uint64_t (*unit_value)(struct unit *unit);
};

static void line(struct printing *printing, const char *labels, uint64_t value)
{
    buf_printf(printing->out, "ldcgate_%s{%s} %llu\n", printing->series->name, labels, (unsigned long long)value);
}

static void print_build(struct printing *printing)
{
    line(printing, "version=\"" LDCGATE_VERSION "\"", 1);
}

static void print_responses(struct printing *printing)
{
    char labels[80];
    for (int i = 0; i < VERDICT_COUNT; i++) {
        snprintf(labels, sizeof(labels), "verdict=\"%s\"", verdict_info((enum verdict)i)->name);
        line(printing, labels,
             workers_sum(printing->control->gateway,
                         offsetof(struct gateway_stats, verdicts) + (size_t)i * sizeof(stat_value)));
    }
}

/* --- units and nodes ---------------------------------------------------------------------------------------------- */

static void print_unit(struct unit *unit, void *arg)
{
    struct printing *printing = arg;
    char labels[160];
    snprintf(labels, sizeof(labels), "unit=\"%s\"", unit->name);
    line(printing, labels, printing->unit_value(unit));
}

static void print_units(struct printing *printing, uint64_t (*value)(struct unit *unit))
{
    printing->unit_value = value;
    registry_each_unit(printing->control->gateway->registry, print_unit, printing);
}

#define PRINT_UNITS(field)                                                                                             \
    static uint64_t unit_##field(struct unit *unit)                                                                    \
    {                                                                                                                  \
        return atomic_load_explicit(&unit->field, memory_order_relaxed);                                               \
    }                                                                                                                  \
    static void print_unit_##field(struct printing *printing)                                                          \
    {                                                                                                                  \
        print_units(printing, unit_##field);                                                                           \
    }
PRINT_UNITS(requests)
PRINT_UNITS(refused)
PRINT_UNITS(failed)
PRINT_UNITS(in_flight)
PRINT_UNITS(memory_percent)

static uint64_t record_version(struct unit *unit)
{
    struct broker_record record;
    unit_record(unit, &record);
    return record.version;
}

static uint64_t in_sync(struct unit *unit)
{
    struct broker_record record;
    unit_record(unit, &record);
    return record.member_count;
}

static void print_record_versions(struct printing *printing)
{
    print_units(printing, record_version);
}

static void print_in_sync(struct printing *printing)
{
    print_units(printing, in_sync);
}

static void print_brokers(struct printing *printing)
{
    const struct gateway *gateway = printing->control->gateway;
    const struct view *view = printing->control->rollout.view;
    char labels[160], fault[256];
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        uint64_t ready = 0;
        for (unsigned j = 0; j < gateway->worker_count; j++)
            ready += queue_broker_ready(gateway->workers[j].queue, view->units[i].unit, fault, sizeof(fault));
        snprintf(labels, sizeof(labels), "unit=\"%s\"", view->units[i].unit->name);
        if (view->table->units[i].broker_count > 0)
            line(printing, labels, ready);
    }
}

static void print_nodes(struct printing *printing, uint64_t (*value)(const struct node *node))
{
    const struct view *view = printing->control->rollout.view;
    char labels[400];
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        for (int color = 0; color < COLOR_COUNT; color++) {
            for (uint32_t j = 0; j < view->table->units[i].nodes[color].count; j++) {
                const struct node *node = view->units[i].nodes[color][j];
                snprintf(labels, sizeof(labels), "unit=\"%s\",color=\"%s\",node=\"%s\"", view->units[i].unit->name,
                         color_name((enum color)color), node->authority);
                line(printing, labels, value(node));
            }
        }
    }
}

static void print_colors(struct printing *printing,
                         uint64_t (*value)(const struct view *view, uint32_t unit, int color))
{
    const struct view *view = printing->control->rollout.view;
    char labels[160];
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        for (int color = 0; color < COLOR_COUNT; color++) {
            snprintf(labels, sizeof(labels), "unit=\"%s\",color=\"%s\"", view->units[i].unit->name,
                     color_name((enum color)color));
            line(printing, labels, value(view, i, color));
        }
    }
}

static uint64_t color_weight(const struct view *view, uint32_t unit, int color)
{
    return view->splits[unit].weights[color];
}

static uint64_t color_requests(const struct view *view, uint32_t unit, int color)
{
    const struct color_tally *tally = &view->units[unit].unit->tallies[color];
    uint64_t requests = 0;
    for (unsigned i = 0; i < STAT_BUCKETS; i++)
        requests += stat_get(&tally->latency.buckets[i]);
    return requests;
}

static uint64_t color_failed(const struct view *view, uint32_t unit, int color)
{
    return stat_get(&view->units[unit].unit->tallies[color].failed);
}

static void print_color_weights(struct printing *printing)
{
    print_colors(printing, color_weight);
}

static void print_color_requests(struct printing *printing)
{
    print_colors(printing, color_requests);
}

static void print_color_failed(struct printing *printing)
{
    print_colors(printing, color_failed);
}

static void print_ramp(struct unit *unit, void *arg)
{
    struct printing *printing = arg;
    char labels[160];
    snprintf(labels, sizeof(labels), "unit=\"%s\"", unit->name);
    line(printing, labels, unit->colors.record.ramp.state == COLOR_RAMP_RUNNING);
}

static void print_ramps(struct printing *printing)
{
    registry_each_unit(printing->control->gateway->registry, print_ramp, printing);
}

static uint64_t usable(const struct node *node)
{
    return node_usable(node);
}

static uint64_t node_in_flight(const struct node *node)
{
    return atomic_load_explicit(&node->in_flight, memory_order_relaxed);
}

static void print_node_usable(struct printing *printing)
{
    print_nodes(printing, usable);
}

static void print_node_in_flight(struct printing *printing)
{
    print_nodes(printing, node_in_flight);
}

/* --- agents ------------------------------------------------------------------------------------------------------- */

static void print_agent_heard(const struct follow_agent *agent, void *arg)
{
    char labels[400];
    snprintf(labels, sizeof(labels), "unit=\"%s\",agent=\"%s\"", agent->unit, agent->url);
    line(arg, labels, agent->heard);
}

static void print_agents(struct printing *printing)
{
    follow_each(printing->control->follow, print_agent_heard, printing);
}

static void print_agent_broker(const struct follow_agent *agent, void *arg)
{
    char labels[400];
    const json_t *broker = json_object_get(agent->report, "broker");
    snprintf(labels, sizeof(labels), "unit=\"%s\",agent=\"%s\"", agent->unit, agent->url);
    if (agent->heard && broker != NULL)
        line(arg, labels, json_is_true(json_object_get(broker, "up")));
}

static void print_agent_brokers(struct printing *printing)
{
    follow_each(printing->control->follow, print_agent_broker, printing);
}

/* An agent is another program: what it calls a topic must not break the text. */
static bool is_name(const char *text)
{
    return text != NULL && strlen(text) <= 64 &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] == '\0';
}

/* SUBSCRIPTION, or SUBSCRIPTION@AGENT. */
static bool is_listener(const char *text)
{
    return text != NULL && strlen(text) <= 130 &&
           text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:@")] == '\0';
}

static void print_agent_lag(const struct follow_agent *agent, void *arg)
{
    size_t i;
    json_t *lag;
    if (!agent->heard)
        return;
    json_array_foreach(json_object_get(agent->report, "lag"), i, lag) {
        char labels[512];
        const char *topic = json_string_value(json_object_get(lag, "topic"));
        const char *subscription = json_string_value(json_object_get(lag, "subscription"));
        if (!is_name(topic) || !is_listener(subscription))
            continue;
        snprintf(labels, sizeof(labels), "unit=\"%s\",topic=\"%s\",partition=\"%lld\",subscription=\"%s\"", agent->unit,
                 topic, (long long)json_integer_value(json_object_get(lag, "partition")), subscription);
        line(arg, labels, (uint64_t)json_integer_value(json_object_get(lag, "pending")));
    }
}

static void print_lag(struct printing *printing)
{
    follow_each(printing->control->follow, print_agent_lag, printing);
}

static const struct series all_series[] = {
    {"build_info", "gauge", "version", "1; the label tells which build this is.", print_build},
    {"responses_total", "counter", "verdict", "Answers by what became of the request.", print_responses},
    {"unit_requests_total", "counter", "unit", "Requests routed to the unit.", print_unit_requests},
    {"unit_refused_total", "counter", "unit", "Requests that the unit's bulkhead refused.", print_unit_refused},
    {"unit_failed_total", "counter", "unit", "Requests that the unit's broker or nodes failed.", print_unit_failed},
    {"unit_in_flight", "gauge", "unit", "Requests to the unit that wait for their answer now.", print_unit_in_flight},
    {"unit_record_version", "gauge", "unit", "Version of the broker record in force; 0: there is none.",
     print_record_versions},
    {"unit_in_sync_members", "gauge", "unit", "Brokers that are in sync by that record, with the primary.",
     print_in_sync},
    {"broker_connections", "gauge", "unit", "Threads whose connection to the unit's broker takes messages.",
     print_brokers},
    {"unit_memory_percent", "gauge", "unit",
     "Share of its maxmemory that the unit's broker uses; messages are refused at `broker.memory_limit`.",
     print_unit_memory_percent},
    {"unit_color_weight", "gauge", "unit, color", "Weight of the colour now: of the rules, of an operator or a ramp.",
     print_color_weights},
    {"unit_color_requests_total", "counter", "unit, color",
     "Proxied requests that the colour's nodes answered or failed.", print_color_requests},
    {"unit_color_failed_total", "counter", "unit, color",
     "Of these, the ones that were answered with a status from 500 on, or not to the end.", print_color_failed},
    {"unit_ramp_running", "gauge", "unit", "1 while a ramp goes from step to step.", print_ramps},
    {"node_usable", "gauge", "unit, color, node", "1 while the node takes requests.", print_node_usable},
    {"node_in_flight", "gauge", "unit, color, node", "Requests that the node has not answered.", print_node_in_flight},
    {"agent_heard", "gauge", "unit, agent", "1 while the agent's health reports arrive.", print_agents},
    {"agent_broker_up", "gauge", "unit, agent", "1 while the agent reaches its unit's broker.", print_agent_brokers},
    {"queue_pending", "gauge", "unit, topic, partition, subscription",
     "Messages that the unit's agent has not delivered.", print_lag},
};

static const struct {
    const char *name, *help;
    size_t offset;
} histograms[] = {
    {"collection_read_latency_seconds", "From the whole request to its answer, of reads of collections.",
     offsetof(struct gateway_stats, collection_read_latency)},
    {"collection_write_latency_seconds", "From the whole request to the core unit's confirmation of the change.",
     offsetof(struct gateway_stats, collection_write_latency)},
    {"failover_held_seconds", "From when a message or request was held to when a broker answered it, or it went on.",
     offsetof(struct gateway_stats, failover_held_time)},
    {"queue_latency_seconds", "From the whole request to the broker's confirmation.",
     offsetof(struct gateway_stats, queue_latency)},
    {"reply_latency_seconds", "From the whole request to the app's answer, of those who wait for it.",
     offsetof(struct gateway_stats, reply_latency)},
    {"proxy_latency_seconds", "From the whole request to the first byte of the node's answer.",
     offsetof(struct gateway_stats, proxy_latency)},
};

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static void count_heard(const struct follow_agent *agent, void *arg)
{
    struct control_stats *stats = arg;
    stat_add(&stats->agents_followed, 1);
    stat_add(&stats->agents_heard, agent->heard);
}

static void refresh(struct control *control)
{
    stat_set(&control->stats.ready, control_ready(control));
    stat_set(&control->stats.rules_epoch, rollout_epoch(&control->rollout));
    stat_set(&control->stats.agents_followed, 0);
    stat_set(&control->stats.agents_heard, 0);
    follow_each(control->follow, count_heard, &control->stats);
}

static void print_worker_stats(const struct gateway *gateway, struct buf *out)
{
    const void **blocks = mem_calloc(gateway->worker_count, sizeof(*blocks));
    for (unsigned i = 0; i < gateway->worker_count; i++)
        blocks[i] = &gateway->workers[i].stats;
    stats_print(worker_rows, COUNT_OF(worker_rows), blocks, gateway->worker_count, "", out);
    for (size_t row = 0; row < COUNT_OF(histograms); row++) {
        for (unsigned i = 0; i < gateway->worker_count; i++)
            blocks[i] = (const char *)&gateway->workers[i].stats + histograms[row].offset;
        stats_print_histogram(histograms[row].name, histograms[row].help, (const struct stat_histogram *const *)blocks,
                              gateway->worker_count, "", out);
    }
    free(blocks);
}

void admin_get_metrics(struct httpd_request *request, void *context)
{
    struct control *control = context;
    struct buf out = {NULL, 0, 0};
    const void *block = &control->stats;
    refresh(control);
    stats_print(control_rows, COUNT_OF(control_rows), &block, 1, "", &out);
    print_worker_stats(control->gateway, &out);
    block = failover_stats(control->gateway->failover);
    stats_print(failover_stat_rows, failover_stat_row_count, &block, 1, "", &out);
    block = failover_pulse_stats(control->gateway->failover);
    stats_print(pulse_stat_rows, pulse_stat_row_count, &block, 1, "", &out);
    for (const struct series *series = all_series; series < all_series + COUNT_OF(all_series); series++) {
        stats_print_head(series->name, series->type, series->help, &out);
        series->print(&(struct printing){.control = control, .series = series, .out = &out});
    }
    httpd_respond(request, 200, "text/plain; version=0.0.4", buf_str(&out));
    buf_free(&out);
}

void admin_document_metrics(struct buf *out)
{
    buf_printf(out, "| Metric | Kind | Meaning |\n|---|---|---|\n");
    stats_document(control_rows, COUNT_OF(control_rows), out);
    stats_document(worker_rows, COUNT_OF(worker_rows), out);
    stats_document(failover_stat_rows, failover_stat_row_count, out);
    stats_document(pulse_stat_rows, pulse_stat_row_count, out);
    for (size_t i = 0; i < COUNT_OF(histograms); i++)
        buf_printf(out, "| `ldcgate_%s` | histogram | %s |\n", histograms[i].name, histograms[i].help);
    for (size_t i = 0; i < COUNT_OF(all_series); i++)
        buf_printf(out, "| `ldcgate_%s` by %s | %s | %s |\n", all_series[i].name, all_series[i].labels,
                   all_series[i].type, all_series[i].help);
}
