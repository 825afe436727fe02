/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/gateway.h"
#include "gateway/group_commit.h"

/* What may wait for one broker in one thread: beyond, the broker is slower than its clients, who must hear of it. */
#define MOST_MESSAGES 20000
#define MOST_BYTES    (64u << 20)

#define WIRE_KEPT (256u << 10) /* bytes of the buffer that are kept for the next call */

/* --- the connection ----------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct line *line = arg;
    char fault[160];
    snprintf(fault, sizeof(fault), "%s", state == BROKER_READY ? "" : broker_fault(broker));
    pthread_mutex_lock(&line->lines->lock);
    bool news = strcmp(fault, line->fault) != 0;
    memcpy(line->fault, fault, sizeof(fault));
    pthread_mutex_unlock(&line->lines->lock);
    if (news && state == BROKER_READY)
        log_info("broker.ready", "unit %s: broker %s takes messages", line->unit->name, line->url);
    else if (news && state == BROKER_DOWN)
        log_warning("broker.away", "unit %s: broker %s: %s", line->unit->name, line->url, fault);
}

struct line *line_create(struct lines *lines, struct unit *unit, struct str url, bool replicas)
{
    const struct gateway *gateway = lines->worker->gateway;
    struct line *line = mem_calloc(1, sizeof(*line));
    line->lines = lines;
    line->unit = unit;
    line->url = str_dup(url);
    snprintf(line->fault, sizeof(line->fault), "not connected yet");
    struct broker_config config = {.url = line->url,
                                   .user = gateway->config.broker.user,
                                   .password = gateway->broker_password,
                                   .command_timeout_ms = gateway->config.broker.timeout,
                                   .must_be_durable = gateway->config.broker.must_be_durable,
                                   .must_be_primary = true,
                                   .functions = true};
    line->broker = broker_create(&lines->loop, &config, on_state, line);
    memory_guard_start(&line->guard, &lines->loop, line->broker, unit);
    if (replicas)
        line->commit = group_commit_create(line, &config);
    return line;
}

void line_destroy(struct line **slot)
{
    struct line *line = *slot;
    *slot = NULL;
    if (line == NULL)
        return;
    memory_guard_stop(&line->guard);
    group_commit_destroy(&line->commit);
    broker_destroy(&line->broker);
    buf_free(&line->wire);
    free(line->url);
    free(line);
}

void line_retire(struct line *line)
{
    memory_guard_stop(&line->guard);
}

bool line_over(const struct line *line)
{
    return line->messages == 0 && (broker_in_flight(line->broker) == 0 || broker_state(line->broker) != BROKER_READY);
}

const struct broker_record *line_record(struct line *line)
{
    if (atomic_load_explicit(&line->unit->record_version, memory_order_acquire) != line->record.version)
        unit_record(line->unit, &line->record);
    return &line->record;
}

static bool is_due(struct line_notice *notice, uint64_t *count)
{
    uint64_t now_us = clock_monotonic_us();
    notice->count++;
    if (notice->told_us != 0 && now_us - notice->told_us < 1000000)
        return false;
    *count = notice->count;
    *notice = (struct line_notice){.told_us = now_us};
    return true;
}

void line_tell_refusal(struct line *line, const char *text)
{
    uint64_t count;
    if (is_due(&line->refusals, &count))
        log_warning("broker.refuses", "unit %s: broker %s refuses messages (%" PRIu64 "): %s", line->unit->name,
                    line->url, count, text);
}

void line_tell_uncovered(struct line *line, const char *why)
{
    uint64_t count;
    if (is_due(&line->uncovered, &count))
        log_warning("broker.uncovered",
                    "unit %s: what broker %s stores is not known to be replicated (%" PRIu64 "): %s", line->unit->name,
                    line->url, count, why);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

static void on_reply(void *arg, const redisReply *reply)
{
    struct message *message = arg;
    message_read_reply(message, reply);
    message_conclude(message);
}

/* How long the broker may take. It is given its own time at least: a route that waits for less must not cost the
 * others their connection. */
static int64_t set_deadline(struct message *message, int64_t wanted_ms)
{
    struct lines *lines = message->line->lines;
    int64_t timeout_ms = lines->worker->gateway->config.broker.timeout;
    if (wanted_ms > 0 && wanted_ms < timeout_ms)
        timers_arm(&lines->brokers.timers, &message->impatience, (uint64_t)wanted_ms);
    return wanted_ms > timeout_ms ? wanted_ms : timeout_ms;
}

static bool refuse(struct line *line, struct publish_result *refusal, enum verdict verdict, const char *detail)
{
    *refusal = (struct publish_result){.verdict = verdict, .detail = detail};
    stat_add(&line->lines->worker->stats.queue_refused_total, 1);
    if (verdict == VERDICT_BROKER_AWAY)
        atomic_fetch_add_explicit(&line->unit->failed, 1, memory_order_relaxed);
    return false;
}

static bool refuse_away(struct line *line, struct publish_result *refusal, const char *detail)
{
    return refuse(line, refusal, VERDICT_BROKER_AWAY, detail);
}

/* Where the store says that the unit has replicas, a broker that was restarted stays closed until the keeper has looked
 * at it: it may lack what its replicas have. */
static bool record_fits(struct line *line, enum durability durability, struct publish_result *refusal)
{
    const struct broker_record *record = &line->record;
    if (record->member_count > 0 && strcmp(record->primary, line->url) != 0)
        return refuse_away(line, refusal, "The store names another broker as the unit's primary");
    if (record->member_count >= 2 && strcmp(record->run_id, broker_run_id(line->broker)) != 0)
        return refuse_away(line, refusal, "The unit's broker was restarted, and is not known to be whole yet");
    if (durability == DURABILITY_LOCAL)
        return true;
    const char *fault = line->commit == NULL ? "The unit has no replica" : group_commit_fault(line->commit);
    if (fault != NULL)
        return refuse_away(line, refusal, fault);
    return true;
}

static bool memory_full(const struct line *line)
{
    return stat_get(&line->unit->memory_percent) >= (uint64_t)line->lines->worker->gateway->config.broker.memory_limit;
}

static bool may_send(struct line *line, enum durability durability, struct publish_result *refusal)
{
    if (broker_state(line->broker) != BROKER_READY)
        return refuse_away(line, refusal, NULL);
    if (line->messages >= MOST_MESSAGES || line->bytes >= MOST_BYTES)
        return refuse(line, refusal, VERDICT_UNIT_BUSY, "Too many messages wait for the unit's broker");
    if (memory_full(line))
        return refuse(line, refusal, VERDICT_BROKER_FULL, "The broker's memory has reached the limit for messages");
    return record_fits(line, durability, refusal);
}

/* What is to be met, of what the route asks for. */
static enum durability resolve(const struct line *line, enum durability wanted)
{
    if (wanted == DURABILITY_AUTO)
        return line->commit != NULL ? DURABILITY_REPLICATED : DURABILITY_LOCAL;
    if (wanted == DURABILITY_AVAILABLE)
        return line->record.member_count >= 2 ? DURABILITY_REPLICATED : DURABILITY_LOCAL;
    return wanted;
}

static bool send_now(struct line *line, struct message *message, const struct publication *publication)
{
    line->wire.len = 0;
    message->bytes = queue_call_format(publication->call, line->record.epoch, &line->wire);
    line->bytes += message->bytes;
    message->phase = MESSAGE_SENT;
    bool sent = broker_command_made(line->broker, set_deadline(message, publication->timeout_ms), on_reply, message,
                                    buf_str(&line->wire));
    if (line->wire.capacity > WIRE_KEPT)
        buf_free(&line->wire);
    return sent;
}

struct message *line_send(struct line *line, const struct publication *publication, struct publish_result *refusal)
{
    line_record(line);
    enum durability durability = resolve(line, publication->durability);
    if (!may_send(line, durability, refusal))
        return NULL;
    struct message *message = message_take(line->lines, line, publication);
    if (durability == DURABILITY_REPLICATED) {
        group_commit_add(line->commit, message, publication);
        return message;
    }
    if (send_now(line, message, publication))
        return message;
    message_forget(message);
    message_conclude(message);
    refuse_away(line, refusal, NULL);
    return NULL;
}
