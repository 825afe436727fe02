/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/report.h"

#include <unistd.h>

#include "common/clock.h"
#include "common/store_json.h"
#include "common/version.h"

#define LAG_WHOLE 256

static json_t *report_broker(const struct duty *duty)
{
    const char *url = inbox_broker_url(duty->inbox), *fault = inbox_broker_fault(duty->inbox);
    return json_pack("{s:s,s:b,s:s}", "url", url ? url : "", "up", fault == NULL, "fault", fault ? fault : "");
}

static json_t *report_nodes(const struct agent *agent)
{
    json_t *list = json_array();
    for (const struct node *node = nodes_first(agent->duties->nodes); node != NULL; node = node->next)
        if (node->listed)
            json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s}", "url", node->url, "color",
                                                  color_name(node->color), "up", node->up, "fault", node->fault));
    return list;
}

/* Of many partitions only those where something waits: this goes to every gateway each second. */
static json_t *report_lag(const struct agent *agent)
{
    const struct partition_list *partitions = inbox_partitions(agent->duties->inbox);
    json_t *list = json_array();
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        uint64_t pending = partition_pending(partition);
        if (!partition->owned || (pending == 0 && partitions->count > LAG_WHOLE))
            continue;
        json_array_append_new(list, json_pack("{s:s,s:I,s:s,s:I}", "topic", partition->topic, "partition",
                                              (json_int_t)partition->number, "subscription", partition->place,
                                              "pending", (json_int_t)pending));
    }
    return list;
}

/* Counts since the agent began, which gateways follow. */
static json_t *report_colors(const struct agent_stats *stats)
{
    json_t *colors = json_object();
    for (int color = 0; color < COLOR_COUNT; color++)
        json_object_set_new(colors, color_name((enum color)color),
                            json_pack("{s:I,s:I}", "judged", (json_int_t)stat_get(&stats->judged[color]), "failed",
                                      (json_int_t)stat_get(&stats->judged_badly[color])));
    return colors;
}

json_t *report_health(const struct agent *agent, uint64_t seq)
{
    return json_pack("{s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:I}", "unit", agent->config.unit, "agent", agent->name, "seq",
                     (json_int_t)seq, "broker", report_broker(agent->duties), "nodes", report_nodes(agent), "lag",
                     report_lag(agent), "colors", report_colors(&agent->duties->stats), "epoch",
                     (json_int_t)agent->rules.record.rules_epoch);
}

/* --- status ------------------------------------------------------------------------------------------------------ */

static size_t count_state(const struct partition *partition, enum message_state first, enum message_state last)
{
    size_t count = 0;
    for (const struct span *span = partition->head; span != NULL; span = span->after)
        count += span->message != NULL && span->message->state >= first && span->message->state <= last;
    for (const struct message *head = partition->park.heads; head != NULL; head = head->next)
        count += head->state >= first && head->state <= last;
    return count;
}

static json_t *report_partition(const struct partition *partition)
{
    char watermark[STREAM_ID_TEXT], last_read[STREAM_ID_TEXT];
    uint64_t now_us = clock_wall_us(), oldest_us = partition_oldest_us(partition);
    stream_id_format(watermark, partition->recorded);
    stream_id_format(last_read, partition->last_read);
    return json_pack("{s:s,s:I,s:s,s:b,s:b,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "topic", partition->topic,
                     "partition", (json_int_t)partition->number, "subscription", partition->place, "owned",
                     partition->owned, "linked", partition->linked, "watermark", watermark, "last_read", last_read,
                     "pending", (json_int_t)partition_pending(partition), "held", (json_int_t)partition->undone,
                     "in_flight", (json_int_t)count_state(partition, MESSAGE_IN_FLIGHT, MESSAGE_IN_FLIGHT),
                     "backing_off", (json_int_t)count_state(partition, MESSAGE_BACKING_OFF, MESSAGE_BACKING_OFF),
                     "parked", (json_int_t)partition->park.messages, "parked_users",
                     (json_int_t)partition->park.user_count, "dead", (json_int_t)partition->park.dead, "oldest_ms",
                     (json_int_t)(oldest_us > 0 && now_us > oldest_us ? (now_us - oldest_us) / 1000 : 0));
}

static json_t *report_partitions(const struct duty *duty)
{
    const struct partition_list *partitions = inbox_partitions(duty->inbox);
    json_t *list = json_array();
    for (size_t i = 0; i < partitions->count; i++)
        json_array_append_new(list, report_partition(partitions->items[i]));
    return list;
}

/* Each copy that this agent writes. */
static json_t *report_copies(const struct duty *duty)
{
    uint64_t now_us = clock_wall_us();
    json_t *list = json_array();
    for (const struct copy *copy = duty->copies->first; copy != NULL; copy = copy->next) {
        if (!copy->owned || !copy->listed)
            continue;
        uint64_t lag = copy->origin_seq > copy->seq ? copy->origin_seq - copy->seq : 0;
        uint64_t lag_us = copy->beat_us > 0 && now_us > copy->beat_us ? now_us - copy->beat_us : 0;
        json_array_append_new(list, json_pack("{s:s%,s:b,s:b,s:I,s:I,s:I,s:s,s:s}", "collection", copy->rules.name.base,
                                              copy->rules.name.len, "live", copy->live, "open", copy_is_open(copy),
                                              "seq", (json_int_t)copy->seq, "seq_lag", (json_int_t)lag, "time_lag_ms",
                                              (json_int_t)(lag_us / 1000), "bad", copy->bad ? copy->bad : "", "fault",
                                              copy->fault));
    }
    return list;
}

/* The units that this agent may have to deliver for beside its own. */
static json_t *report_guests(const struct agent *agent)
{
    json_t *list = json_array();
    for (const struct duty *duty = agent->duties->next; duty != NULL; duty = duty->next)
        json_array_append_new(list,
                              json_pack("{s:s,s:b,s:o,s:o,s:o,s:o}", "unit", duty->unit, "serves", duty->serves,
                                        "broker", report_broker(duty), "partitions", report_partitions(duty),
                                        "broker_record", keeper_report(duty->keeper), "copies", report_copies(duty)));
    return list;
}

static json_t *report_rules(const struct rules_follow *rules)
{
    json_t *record = rules->record.version > 0 ? store_record_to_json(&rules->record) : json_null();
    json_t *refused = rules->refused.epoch > 0 ? json_pack("{s:o,s:s}", "record", store_record_to_json(&rules->refused),
                                                           "faults", rules->refusal)
                                               : json_null();
    return json_pack("{s:o,s:o}", "record", record, "refused", refused);
}

static json_t *report_store(const struct agent *agent)
{
    return json_pack("{s:b,s:s,s:I,s:s}", "up", agent->rules.up, "fault", agent->rules.fault, "since_us",
                     (json_int_t)agent->rules.since_us, "register_fault", agent->register_fault);
}

static json_t *report_counters(const struct agent *agent)
{
    json_t *counters = json_object();
    for (const struct stat_row *row = agent_stat_rows; row < agent_stat_rows + agent_stat_row_count; row++) {
        uint64_t sum = stat_get((const stat_value *)((const char *)&agent->stats + row->offset));
        for (const struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
            sum += stat_get((const stat_value *)((const char *)&duty->stats + row->offset));
        json_object_set_new(counters, row->name, json_integer((json_int_t)sum));
    }
    return counters;
}

static json_t *report_latency(const struct stat_histogram *latency)
{
    return json_pack("{s:I,s:I}", "p50", (json_int_t)stat_quantile_us(&latency, 1, 0.5), "p99",
                     (json_int_t)stat_quantile_us(&latency, 1, 0.99));
}

json_t *report_status(const struct agent *agent)
{
    const char *unready = agent_unready(agent);
    json_t *status =
        json_pack("{s:s,s:s,s:s,s:I,s:s,s:b,s:s,s:I,s:o,s:o,s:o,s:o,s:o}", "name", agent->name, "unit",
                  agent->config.unit, "datacenter", agent->config.datacenter ? agent->config.datacenter : "", "pid",
                  (json_int_t)getpid(), "version", LDCGATE_VERSION, "ready", unready == NULL, "unready",
                  unready ? unready : "", "epoch", (json_int_t)agent->rules.record.rules_epoch, "rules",
                  report_rules(&agent->rules), "store", report_store(agent), "broker", report_broker(agent->duties),
                  "nodes", report_nodes(agent), "partitions", report_partitions(agent->duties));
    json_object_set_new(status, "guarded", warden_report(agent->warden));
    json_object_set_new(status, "broker_record", keeper_report(agent->duties->keeper));
    json_object_set_new(status, "arrivals", arrivals_report(agent->duties->arrivals));
    json_object_set_new(status, "copies", report_copies(agent->duties));
    json_object_set_new(status, "guests", report_guests(agent));
    json_object_set_new(status, "counters", report_counters(agent));
    json_object_set_new(status, "latency_us", report_latency(&agent->duties->stats.latency));
    return status;
}
