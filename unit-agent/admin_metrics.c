/* SPDX-License-Identifier: Apache-2.0 */
#include "common/version.h"
#include "unit-agent/admin.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define BLOCKS_MOST 64 /* duties that are summed up */

/* A metric with a value for each partition, or for each node. */
struct series {
    const char *name, *type, *labels, *help;
    uint64_t (*of_partition)(const struct partition *partition);
    uint64_t (*of_node)(const struct node *node);
};

static uint64_t pending(const struct partition *partition)
{
    return partition_pending(partition);
}

static uint64_t held(const struct partition *partition)
{
    return partition->undone;
}

static uint64_t parked(const struct partition *partition)
{
    return partition->park.messages;
}

static uint64_t parked_users(const struct partition *partition)
{
    return partition->park.user_count;
}

static uint64_t dead(const struct partition *partition)
{
    return partition->park.dead;
}

static uint64_t node_up(const struct node *node)
{
    return node->up;
}

static const struct series all_series[] = {
    {"agent_queue_pending", "gauge", "unit, topic, partition, subscription",
     "Messages that are not acknowledged, but for those that are parked.", pending, NULL},
    {"agent_queue_held", "gauge", "unit, topic, partition, subscription",
     "Those of them that are in this agent's memory.", held, NULL},
    {"agent_queue_parked", "gauge", "unit, topic, partition, subscription", "Messages that wait in their users' parks.",
     parked, NULL},
    {"agent_queue_parked_users", "gauge", "unit, topic, partition, subscription", "Users that are parked.",
     parked_users, NULL},
    {"agent_queue_dead", "gauge", "unit, topic, partition, subscription", "Dead letters.", dead, NULL},
    {"agent_node_up", "gauge", "color, node", "1 while the node answers.", NULL, node_up},
};

#define LATENCY_NAME "agent_delivery_latency_seconds"
#define LATENCY_HELP "From the whole request at the gateway to the app's 2xx."

static void print_partitions(const struct duty *duty, const struct series *series, struct buf *out)
{
    const struct partition_list *partitions = inbox_partitions(duty->inbox);
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        if (partition->owned)
            buf_printf(out, "ldcgate_%s{unit=\"%s\",topic=\"%s\",partition=\"%u\",subscription=\"%s\"} %lu\n",
                       series->name, duty->unit, partition->topic, partition->number, partition->place,
                       (unsigned long)series->of_partition(partition));
    }
}

static void print_nodes(const struct agent *agent, const struct series *series, struct buf *out)
{
    for (const struct node *node = nodes_first(agent->duties->nodes); node != NULL; node = node->next)
        if (node->listed)
            buf_printf(out, "ldcgate_%s{color=\"%s\",node=\"%s\"} %lu\n", series->name, color_name(node->color),
                       node->url, (unsigned long)series->of_node(node));
}

void admin_get_metrics(struct httpd_request *request, void *context)
{
    struct agent *agent = context;
    struct buf out = {0};
    const void *blocks[BLOCKS_MOST] = {&agent->stats}, *pulses = &agent->pulse_stats;
    const struct stat_histogram *latencies[BLOCKS_MOST] = {&agent->stats.latency};
    size_t count = 1;
    for (const struct duty *duty = agent->duties; duty != NULL && count < BLOCKS_MOST; duty = duty->next) {
        blocks[count] = &duty->stats;
        latencies[count++] = &duty->stats.latency;
    }
    agent_refresh(agent);
    stats_print(agent_stat_rows, agent_stat_row_count, blocks, count, "", &out);
    stats_print(pulse_stat_rows, pulse_stat_row_count, &pulses, 1, "", &out);
    stats_print_histogram(LATENCY_NAME, LATENCY_HELP, latencies, count, "", &out);
    stats_print_head("build_info", "gauge", "1; the label tells which build this is.", &out);
    buf_printf(&out, "ldcgate_build_info{version=\"" LDCGATE_VERSION "\"} 1\n");
    for (const struct series *series = all_series; series < all_series + COUNT_OF(all_series); series++) {
        stats_print_head(series->name, series->type, series->help, &out);
        if (series->of_partition != NULL)
            for (const struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
                print_partitions(duty, series, &out);
        else
            print_nodes(agent, series, &out);
    }
    httpd_respond(request, 200, "text/plain; version=0.0.4", buf_str(&out));
    buf_free(&out);
}

void admin_document_metrics(struct buf *out)
{
    buf_printf(out, "| Metric | Kind | Meaning |\n|---|---|---|\n");
    stats_document(agent_stat_rows, agent_stat_row_count, out);
    stats_document(pulse_stat_rows, pulse_stat_row_count, out);
    buf_printf(out, "| `ldcgate_%s` | histogram | %s |\n", LATENCY_NAME, LATENCY_HELP);
    buf_printf(out, "| `ldcgate_build_info` (version) | gauge | 1; the label tells which build this is. |\n");
    for (const struct series *series = all_series; series < all_series + COUNT_OF(all_series); series++)
        buf_printf(out, "| `ldcgate_%s` (%s) | %s | %s |\n", series->name, series->labels, series->type, series->help);
}
