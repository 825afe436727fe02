/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/broker_stamp.h"
#include "common/clock.h"
#include "common/log.h"
#include "gateway/failover.h"
#include "gateway/gateway.h"
#include "gateway/group_commit.h"
#include "gateway/unit_lines.h"

#define WIRE_KEPT (256u << 10) /* bytes of the buffer that are kept for the next call */

/* --- the connection ----------------------------------------------------------------------------------------------- */

static const char *name_of(const struct line *line)
{
    return line->home->unit->name;
}

static void tell_failover(struct line *line, enum broker_state state)
{
    struct failover *failover = line->lines->worker->gateway->failover;
    if (failover != NULL && state != BROKER_GREETING)
        failover_line(failover, line->home->unit, str_of(line->url),
                      state == BROKER_READY              ? CORE_LINE_OK
                      : broker_was_refused(line->broker) ? CORE_LINE_REFUSED
                                                         : CORE_LINE_RESET);
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct line *line = arg;
    char fault[160];
    snprintf(fault, sizeof(fault), "%s", state == BROKER_READY ? "" : broker_fault(broker));
    pthread_mutex_lock(&line->lines->lock);
    bool news = strcmp(fault, line->fault) != 0;
    memcpy(line->fault, fault, sizeof(fault));
    pthread_mutex_unlock(&line->lines->lock);
    tell_failover(line, state);
    if (news && state == BROKER_READY && line->primary)
        log_info("broker.ready", "unit %s: broker %s takes messages", name_of(line), line->url);
    else if (news && state == BROKER_READY)
        log_info("broker.connected", "unit %s: broker %s is connected, and serves nothing", name_of(line), line->url);
    else if (news && state == BROKER_DOWN)
        log_warning("broker.away", "unit %s: broker %s: %s", name_of(line), line->url, fault);
}

struct line *line_create(struct unit_lines *home, struct str url)
{
    struct lines *lines = home->lines;
    const struct gateway *gateway = lines->worker->gateway;
    struct line *line = mem_calloc(1, sizeof(*line));
    line->lines = lines;
    line->home = home;
    line->url = str_dup(url);
    snprintf(line->fault, sizeof(line->fault), "not connected yet");
    struct broker_config config = {.url = line->url,
                                   .user = gateway->config.broker.user,
                                   .password = gateway->broker_password,
                                   .command_timeout_ms = gateway->config.broker.timeout,
                                   .must_be_durable = gateway->config.broker.must_be_durable,
                                   .must_be_primary = !home->replicas,
                                   .functions = true,
                                   .ends_former = home->replicas};
    line->broker = broker_create(&lines->loop, &config, on_state, line);
    if (home->replicas)
        line->commit = group_commit_create(line, &config);
    return line;
}

void line_step_up(struct line *line)
{
    line->primary = true;
    memory_guard_start(&line->guard, &line->lines->loop, line->broker, line->home->unit);
    line_watch_start(&line->watch, line);
    if (broker_state(line->broker) == BROKER_READY)
        log_info("broker.ready", "unit %s: broker %s takes messages", name_of(line), line->url);
}

void line_step_down(struct line *line)
{
    line->primary = false;
    memory_guard_stop(&line->guard);
    line_watch_stop(&line->watch);
}

void line_destroy(struct line **slot)
{
    struct line *line = *slot;
    *slot = NULL;
    if (line == NULL)
        return;
    if (line->primary)
        line_step_down(line);
    group_commit_destroy(&line->commit);
    broker_destroy(&line->broker);
    buf_free(&line->wire);
    free(line->url);
    free(line);
}

bool line_over(const struct line *line)
{
    return line->messages == 0 && (broker_in_flight(line->broker) == 0 || broker_state(line->broker) != BROKER_READY);
}

const struct broker_record *line_record(const struct line *line)
{
    return &line->home->record;
}

uint64_t line_epoch(const struct line *line)
{
    return unit_lines_epoch(line->home);
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
        log_warning("broker.refuses", "unit %s: broker %s refuses messages (%" PRIu64 "): %s", name_of(line), line->url,
                    count, text);
}

void line_tell_uncovered(struct line *line, const char *why)
{
    uint64_t count;
    if (is_due(&line->uncovered, &count))
        log_warning("broker.uncovered",
                    "unit %s: what broker %s stores is not known to be replicated (%" PRIu64 "): %s", name_of(line),
                    line->url, count, why);
}

static void on_stamped(void *arg, const redisReply *reply)
{
    struct line *line = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        line_tell_refusal(line, reply->str);
    else if (reply != NULL)
        log_warning("broker.stamped", "unit %s: no agent has told broker %s of its record: it is stamped with %s",
                    name_of(line), line->url, reply->str);
}

/* Where it is another run, or not there, a later refusal comes back to it. */
void line_stamp(struct line *line)
{
    const struct broker_record *record = line_record(line);
    if (strcmp(record->primary, line->url) == 0)
        (void)!broker_stamp(line->broker, str_of(name_of(line)), record, record->run_id, record->version, on_stamped,
                            line);
}

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* A unit with one broker has nobody else to ask: then it is over. */
static void on_reply(void *arg, const redisReply *reply)
{
    struct message *message = arg;
    message_read_reply(message, reply);
    unit_lines_felt(message->home, message);
    if (message->phase == MESSAGE_STORED || message->phase == MESSAGE_REFUSED)
        message_conclude(message);
    else
        unit_lines_hold(message->home, message);
}

/* How long the broker may take. It is given its own time at least: a route that waits for less must not cost the
 * others their connection. */
static int64_t set_deadline(struct message *message)
{
    struct lines *lines = message->line->lines;
    int64_t wanted_ms = message->timeout_ms, timeout_ms = lines->worker->gateway->config.broker.timeout;
    if (wanted_ms > 0 && wanted_ms < timeout_ms && !h2o_timeout_is_linked(&message->impatience))
        timers_arm(&lines->brokers.timers, &message->impatience, (uint64_t)wanted_ms);
    return wanted_ms > timeout_ms ? wanted_ms : timeout_ms;
}

/* Where the store says that the unit has replicas, a broker that was restarted stays closed until the keeper has looked
 * at it: it may lack what its replicas have. */
static bool run_fits(const struct line *line)
{
    const struct broker_record *record = line_record(line);
    return record->member_count < 2 || strcmp(record->run_id, broker_run_id(line->broker)) == 0;
}

/* A majority that is missing is soon there again, where a broker follows the one that has just taken over. */
static enum line_way way_by_replicas(const struct line *line, enum durability durability, const char **detail)
{
    bool quorum = durability == DURABILITY_QUORUM;
    *detail = "The unit has no replica";
    if (line->commit == NULL)
        return LINE_CLOSED;
    *detail = quorum ? "No majority of the unit's brokers is in sync" : "No replica is in sync";
    if (line_record(line)->member_count < unit_lines_members(line->home, durability))
        return quorum ? LINE_BLOCKED : LINE_CLOSED;
    *detail = group_commit_fault(line->commit);
    return *detail == NULL ? LINE_PASSABLE : LINE_BLOCKED;
}

enum line_way line_way(const struct line *line, enum durability durability, const char **detail)
{
    *detail = NULL;
    if (broker_state(line->broker) != BROKER_READY)
        return LINE_BLOCKED;
    *detail = "The unit's broker was restarted, and is not known to be whole yet";
    if (!run_fits(line))
        return LINE_BLOCKED;
    *detail = NULL;
    return durability == DURABILITY_LOCAL ? LINE_PASSABLE : way_by_replicas(line, durability, detail);
}

bool line_has_ended_former(const struct line *line)
{
    return broker_has_ended_former(line->broker) &&
           (line->commit == NULL || group_commit_has_ended_former(line->commit));
}

void line_write(const struct line *line, struct message *message, const struct queue_call *call, struct buf *wire)
{
    uint64_t epoch = line_epoch(line);
    size_t bytes = call != NULL ? queue_call_format(call, epoch, wire)
                                : queue_call_format_again(message->made, message->tried, epoch, wire);
    message->epoch = epoch;
    message_set_bytes(message, bytes);
}

static bool send_now(struct line *line, struct message *message, const struct queue_call *call)
{
    line->wire.len = 0;
    line_write(line, message, call, &line->wire);
    message_keep(message, buf_str(&line->wire));
    bool sent = broker_command_made(line->broker, set_deadline(message), on_reply, message, buf_str(&line->wire));
    if (line->wire.capacity > WIRE_KEPT)
        buf_free(&line->wire);
    if (sent)
        message->phase = MESSAGE_SENT;
    return sent;
}

bool line_send(struct line *line, struct message *message, enum durability durability, const struct queue_call *call)
{
    message->line = line;
    line->messages++;
    message->sent_as = durability;
    if (durability == DURABILITY_LOCAL)
        return send_now(line, message, call);
    group_commit_add(line->commit, message, call);
    return true;
}

void line_withdraw_replicated(struct line *line)
{
    if (line->commit != NULL)
        group_commit_withdraw(line->commit);
}

void line_withdraw(struct line *line)
{
    line_withdraw_replicated(line);
    if (broker_in_flight(line->broker) > 0)
        broker_reset(line->broker);
}
