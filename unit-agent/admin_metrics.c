/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "common/measure.h"
#include "common/version.h"
#include "unit-agent/admin.h"
#include "unit-agent/copy_push.h"
#include "unit-agent/copy_scrub.h"

#define BLOCKS_MOST 64 /* duties that are summed up */

/* A metric with a value for each partition, node, or copy of a collection that this agent keeps. */
struct series {
    const char *name, *type, *labels, *help;
    uint64_t (*of_partition)(const struct partition *partition);
    uint64_t (*of_node)(const struct node *node);
    double (*of_copy)(const struct copy *copy);
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

static double applied(const struct copy *copy)
{
    return (double)copy->seq;
}

static double behind(const struct copy *copy)
{
    uint64_t known = copy->read.ms > copy->origin_seq ? copy->read.ms : copy->origin_seq;
    return known > copy->seq ? (double)(known - copy->seq) : 0;
}

static double lag_seconds(const struct copy *copy)
{
    uint64_t now_us = clock_wall_us();
    return now_us > copy->beat_us && copy->beat_us > 0 ? (double)(now_us - copy->beat_us) / 1e6 : 0;
}

static double is_open(const struct copy *copy)
{
    return copy_is_open(copy);
}

static double wrong(const struct copy *copy)
{
    return (double)copy_scrub_wrong(copy->scrub);
}

static double untold(const struct copy *copy)
{
    return (double)copy_push_pending(copy->push);
}

static const struct series all_series[] = {
    {"agent_queue_pending", "gauge", "unit, topic, partition, subscription",
     "Messages that are not acknowledged, but for those that are parked.", pending, NULL, NULL},
    {"agent_queue_held", "gauge", "unit, topic, partition, subscription",
     "Those of them that are in this agent's memory.", held, NULL, NULL},
    {"agent_queue_parked", "gauge", "unit, topic, partition, subscription", "Messages that wait in their users' parks.",
     parked, NULL, NULL},
    {"agent_queue_parked_users", "gauge", "unit, topic, partition, subscription", "Users that are parked.",
     parked_users, NULL, NULL},
    {"agent_queue_dead", "gauge", "unit, topic, partition, subscription", "Dead letters.", dead, NULL, NULL},
    {"agent_node_up", "gauge", "color, node", "1 while the node answers.", NULL, node_up, NULL},
    {"agent_copy_sequence", "gauge", "unit, collection", "The last change that the unit's copy of the collection has.",
     NULL, NULL, applied},
    {"agent_copy_behind", "gauge", "unit, collection", "Changes that it is known to lack.", NULL, NULL, behind},
    {"agent_copy_lag_seconds", "gauge", "unit, collection", "It holds all that was written until so long ago.", NULL,
     NULL, lag_seconds},
    {"agent_copy_open", "gauge", "unit, collection", "1 while it may be read.", NULL, NULL, is_open},
    {"agent_copy_wrong", "gauge", "unit, collection", "Its buckets that are known to be wrong, and not repaired yet.",
     NULL, NULL, wrong},
    {"agent_copy_untold", "gauge", "unit, collection", "Changes that the app was not told of yet by push.", NULL, NULL,
     untold},
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

static void print_copies(const struct duty *duty, const struct series *series, struct buf *out)
{
    for (const struct copy *copy = duty->copies->first; copy != NULL; copy = copy->next)
        if (copy->owned)
            buf_printf(out, "ldcgate_%s{unit=\"%s\",collection=\"%.*s\"} %.15g\n", series->name, duty->unit,
                       STR_ARG(copy->rules.name), series->of_copy(copy));
}

static void print_duty(const struct duty *duty, const struct series *series, struct buf *out)
{
    if (series->of_partition != NULL)
        print_partitions(duty, series, out);
    else if (series->of_copy != NULL)
        print_copies(duty, series, out);
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
        for (const struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
            print_duty(duty, series, &out);
        if (series->of_node != NULL)
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
