/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/gateway.h"

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

struct line *line_create(struct lines *lines, struct unit *unit, struct str url)
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
    return line;
}

void line_destroy(struct line **slot)
{
    struct line *line = *slot;
    *slot = NULL;
    if (line == NULL)
        return;
    broker_destroy(&line->broker);
    buf_free(&line->wire);
    free(line->url);
    free(line);
}

bool line_over(const struct line *line)
{
    return broker_in_flight(line->broker) == 0 || broker_state(line->broker) != BROKER_READY;
}

void line_tell_refusal(struct line *line, const char *text)
{
    uint64_t now_us = clock_monotonic_us();
    line->refusals++;
    if (line->told_us != 0 && now_us - line->told_us < 1000000)
        return;
    log_warning("broker.refuses", "unit %s: broker %s refuses messages (%" PRIu64 "): %s", line->unit->name, line->url,
                line->refusals, text);
    line->told_us = now_us;
    line->refusals = 0;
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

static bool may_send(struct line *line, struct publish_result *refusal)
{
    if (broker_state(line->broker) != BROKER_READY)
        return refuse(line, refusal, VERDICT_BROKER_AWAY, NULL);
    if (line->messages >= MOST_MESSAGES || line->bytes >= MOST_BYTES)
        return refuse(line, refusal, VERDICT_UNIT_BUSY, "Too many messages wait for the unit's broker");
    return true;
}

static bool send_now(struct line *line, struct message *message, const struct publication *publication)
{
    line->wire.len = 0;
    message->bytes = queue_call_format(publication->call, 0, &line->wire);
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
    if (!may_send(line, refusal))
        return NULL;
    struct message *message = message_take(line->lines, line, publication);
    if (send_now(line, message, publication))
        return message;
    message_forget(message);
    message_conclude(message);
    refuse(line, refusal, VERDICT_BROKER_AWAY, NULL);
    return NULL;
}
