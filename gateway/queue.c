/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/protocol.h"
#include "gateway/broker_h2o.h"
#include "gateway/envelope.h"
#include "gateway/gateway.h"

/* What may wait for one broker in one thread: beyond, the broker is slower than its clients, who must hear of it. */
#define MOST_MESSAGES 20000
#define MOST_BYTES    (64u << 20)

/* The way to one unit's broker. A line whose broker the rules no longer name is retired: it takes no more messages
 * and goes when its last one is answered. */
struct line {
    struct queue *queue;
    char *url, *unit;
    struct broker *broker;
    size_t bytes;
    bool retired;
    struct line *next_retired;
    uint64_t refusals, told_us; /* since the log was told of them, and when that was */
    char fault[160];            /* for other threads, under the queue's lock; "": ready */
};

struct queue {
    struct worker *worker;
    struct broker_h2o brokers;
    struct broker_loop loop;
    struct line **lines; /* by unit id; NULL where the unit has no broker */
    uint32_t line_count;
    struct line *retired;
    struct message *spare;
    pthread_mutex_t lock; /* of `lines` against readers in other threads, and of the faults */
};

/* A message between its write and the broker's word on it. Outlives its exchange when the client goes away, or when
 * the route waits for less time than the broker is given. */
struct message {
    struct line *line;
    struct exchange *exchange; /* NULL: nobody waits any more */
    uint32_t partition;
    size_t bytes;
    h2o_timeout_entry_t impatience; /* of the route; linked only where it has a timeout below the broker's */
    struct message *next_spare;
};

/* --- lines ------------------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct line *line = arg;
    char fault[160];
    snprintf(fault, sizeof(fault), "%s", state == BROKER_READY ? "" : broker_fault(broker));
    pthread_mutex_lock(&line->queue->lock);
    bool news = strcmp(fault, line->fault) != 0;
    memcpy(line->fault, fault, sizeof(fault));
    pthread_mutex_unlock(&line->queue->lock);
    if (news && state == BROKER_READY)
        log_info("broker.ready", "unit %s: broker %s takes messages", line->unit, line->url);
    else if (news && state == BROKER_DOWN)
        log_warning("broker.away", "unit %s: broker %s: %s", line->unit, line->url, fault);
}

static struct line *create_line(struct queue *queue, struct str unit, struct str url)
{
    const struct gateway *gateway = queue->worker->gateway;
    struct line *line = mem_calloc(1, sizeof(*line));
    line->queue = queue;
    line->url = str_dup(url);
    line->unit = str_dup(unit);
    snprintf(line->fault, sizeof(line->fault), "not connected yet");
    struct broker_config config = {.url = line->url,
                                   .user = gateway->config.broker.user,
                                   .password = gateway->broker_password,
                                   .command_timeout_ms = gateway->config.broker.timeout,
                                   .must_be_durable = gateway->config.broker.must_be_durable,
                                   .must_be_primary = true};
    line->broker = broker_create(&queue->loop, &config, on_state, line);
    return line;
}

static void destroy_line(struct line *line)
{
    broker_destroy(&line->broker);
    free(line->url);
    free(line->unit);
    free(line);
}

static void retire(struct queue *queue, struct line *line)
{
    line->retired = true;
    line->next_retired = queue->retired;
    queue->retired = line;
}

/* Not from a broker's callback: a line must not go while its broker is calling. */
static void sweep_retired(struct queue *queue)
{
    for (struct line **slot = &queue->retired, *line; (line = *slot) != NULL;) {
        if (broker_in_flight(line->broker) == 0 || broker_state(line->broker) != BROKER_READY) {
            *slot = line->next_retired;
            destroy_line(line);
        } else {
            slot = &line->next_retired;
        }
    }
}

static void make_room(struct queue *queue, uint32_t id)
{
    if (id < queue->line_count)
        return;
    queue->lines = mem_realloc(queue->lines, (id + 1) * sizeof(struct line *));
    while (queue->line_count <= id)
        queue->lines[queue->line_count++] = NULL;
}

static void adopt_unit(struct queue *queue, const struct unit *unit, const struct table_unit *rules)
{
    make_room(queue, unit->id);
    struct line *line = queue->lines[unit->id];
    if (line != NULL && rules->broker_count > 0 && str_equal(str_of(line->url), rules->brokers[0]))
        return;
    if (line != NULL)
        retire(queue, line);
    queue->lines[unit->id] = rules->broker_count > 0 ? create_line(queue, rules->name, rules->brokers[0]) : NULL;
}

static bool named_by(const struct view *view, uint32_t unit_id)
{
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        if (view->units[i].unit->id == unit_id)
            return true;
    return false;
}

void queue_adopt(struct queue *queue, struct view *view)
{
    pthread_mutex_lock(&queue->lock);
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        adopt_unit(queue, view->units[i].unit, &view->table->units[i]);
    for (uint32_t id = 0; id < queue->line_count; id++)
        if (queue->lines[id] != NULL && !named_by(view, id)) {
            retire(queue, queue->lines[id]);
            queue->lines[id] = NULL;
        }
    pthread_mutex_unlock(&queue->lock);
}

bool queue_broker_ready(struct queue *queue, const struct unit *unit, char *fault, size_t size)
{
    pthread_mutex_lock(&queue->lock);
    const struct line *line = unit->id < queue->line_count ? queue->lines[unit->id] : NULL;
    snprintf(fault, size, "%s", line == NULL ? "the rules give the unit no broker" : line->fault);
    pthread_mutex_unlock(&queue->lock);
    return fault[0] == '\0';
}

struct broker *queue_broker(struct queue *queue, const struct unit *unit)
{
    return unit->id < queue->line_count && queue->lines[unit->id] != NULL ? queue->lines[unit->id]->broker : NULL;
}

/* --- what the broker says ---------------------------------------------------------------------------------------- */

static char *put(char *at, struct str text)
{
    memcpy(at, text.base, text.len);
    return at + text.len;
}

/* Names are of the rules, so nothing in them needs escaping. */
static size_t format_accepted(const struct exchange *exchange, uint32_t partition, char *body)
{
    char *at = put(put(body, STR_LIT("{\"id\":\"")), exchange->message_id);
    at = put(put(at, STR_LIT("\",\"unit\":\"")), exchange->rules->name);
    at = put(put(at, STR_LIT("\",\"topic\":\"")), exchange->view->table->topics[exchange->route->topic].name);
    at = put(at, STR_LIT("\",\"partition\":"));
    at += str_from_u64(partition, at);
    return (size_t)(put(at, STR_LIT("}\n")) - body);
}

static void send_accepted(struct exchange *exchange, uint32_t partition)
{
    static const char prefix[] = "/-/messages/";
    h2o_req_t *req = exchange->req;
    struct str id = exchange->message_id;
    char body[3 * PROTOCOL_ID_MAX];
    size_t len = format_accepted(exchange, partition, body);
    h2o_iovec_t location =
        h2o_concat(&req->pool, h2o_iovec_init(prefix, sizeof(prefix) - 1), h2o_iovec_init(id.base, id.len));
    req->res.status = 202;
    req->res.reason = "Accepted";
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_LOCATION, NULL, location.base, location.len);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-message-id"), 0, NULL, id.base, id.len);
    exchange_add_headers(exchange);
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, body, len);
}

static void count_failure(struct exchange *exchange)
{
    atomic_fetch_add_explicit(&exchange->unit->failed, 1, memory_order_relaxed);
}

/* It is certain that nothing was stored. */
static void refuse(struct exchange *exchange, enum verdict verdict, const char *detail)
{
    stat_add(&exchange->worker->stats.queue_refused_total, 1);
    exchange->message_id = (struct str){NULL, 0};
    exchange_fail(exchange, verdict, detail);
}

/* The broker's own words go to the log, one line a second and not one for each message; the client hears what they
 * mean. */
static void tell_refusal(struct line *line, const char *text)
{
    uint64_t now_us = clock_monotonic_us();
    line->refusals++;
    if (line->told_us != 0 && now_us - line->told_us < 1000000)
        return;
    log_warning("broker.refuses", "unit %s: broker %s refuses messages (%" PRIu64 "): %s", line->unit, line->url,
                line->refusals, text);
    line->told_us = now_us;
    line->refusals = 0;
}

static void send_refused(struct line *line, struct exchange *exchange, const redisReply *reply)
{
    const char *text = reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer of another type";
    bool full = strncmp(text, "OOM", 3) == 0 || strncmp(text, "MISCONF", 7) == 0;
    tell_refusal(line, text);
    if (exchange == NULL)
        return;
    count_failure(exchange);
    refuse(exchange, full ? VERDICT_BROKER_FULL : VERDICT_BROKER_AWAY,
           full ? "The message was not stored: the broker is out of memory or disk"
                : "The message was not stored: the broker takes no writes now");
}

static void send_unknown(struct exchange *exchange)
{
    stat_add(&exchange->worker->stats.queue_unknown_total, 1);
    count_failure(exchange);
    exchange_fail(exchange, VERDICT_OUTCOME_UNKNOWN, "Look the message up before you send it again");
}

static void send_stored(struct line *line, struct exchange *exchange, uint32_t partition)
{
    struct gateway_stats *stats = &line->queue->worker->stats;
    stat_add(&stats->queue_accepted_total, 1);
    if (exchange == NULL)
        return;
    stat_observe(&stats->queue_latency, clock_monotonic_us() - exchange->received_mono_us);
    send_accepted(exchange, partition);
}

static void free_message(struct message *message)
{
    struct queue *queue = message->line->queue;
    message->line->bytes -= message->bytes;
    timers_disarm(&message->impatience);
    message->next_spare = queue->spare;
    queue->spare = message;
}

/* Answers may make the client's connection send its next request at once: the message is free by then. */
static struct exchange *let_go(struct message *message)
{
    struct exchange *exchange = message->exchange;
    message->exchange = NULL;
    if (exchange != NULL)
        exchange->detach = NULL;
    return exchange;
}

static void on_stored(void *arg, const redisReply *reply)
{
    struct message *message = arg;
    struct line *line = message->line;
    struct exchange *exchange = let_go(message);
    uint32_t partition = message->partition;
    free_message(message);
    if (reply != NULL && reply->type == REDIS_REPLY_STRING)
        send_stored(line, exchange, partition);
    else if (reply != NULL)
        send_refused(line, exchange, reply);
    else if (exchange != NULL)
        send_unknown(exchange);
}

static void on_impatience(h2o_timeout_entry_t *entry)
{
    struct message *message = H2O_STRUCT_FROM_MEMBER(struct message, impatience, entry);
    struct exchange *exchange = let_go(message);
    if (exchange != NULL)
        send_unknown(exchange);
}

static void detach(struct exchange *exchange)
{
    struct message *message = exchange->carrier;
    message->exchange = NULL;
}

/* --- what the broker is told ------------------------------------------------------------------------------------- */

static struct message *take_message(struct line *line, struct exchange *exchange, size_t bytes)
{
    struct queue *queue = line->queue;
    struct message *message = queue->spare;
    if (message != NULL)
        queue->spare = message->next_spare;
    else
        message = mem_alloc(sizeof(*message));
    *message = (struct message){.line = line, .exchange = exchange, .bytes = bytes, .impatience.cb = on_impatience};
    line->bytes += bytes;
    return message;
}

/* How long the broker may take. It is given its own time at least: a route that waits for less must not cost the
 * others their connection. */
static int64_t set_deadline(struct message *message, const struct table_route *route)
{
    struct queue *queue = message->line->queue;
    int64_t timeout_ms = queue->worker->gateway->config.broker.timeout;
    if (route->timeout_ms > 0 && route->timeout_ms < timeout_ms)
        timers_arm(&queue->brokers.timers, &message->impatience, (uint64_t)route->timeout_ms);
    return route->timeout_ms > timeout_ms ? route->timeout_ms : timeout_ms;
}

#define XADD_WORDS 3 /* before the fields: XADD key id */

static bool send_message(struct line *line, struct exchange *exchange, struct str topic, uint32_t partition)
{
    char key[PROTOCOL_KEY_MAX];
    size_t key_len = protocol_key(key, exchange->rules->name, topic, partition, "stream");
    struct envelope envelope;
    const char *words[XADD_WORDS + 2 * ENVELOPE_REQUIRED] = {"XADD", key, "*"};
    size_t lengths[XADD_WORDS + 2 * ENVELOPE_REQUIRED] = {4, key_len, 1}, bytes = 0;
    envelope_of_exchange(exchange, &envelope);
    for (int i = 0; i < ENVELOPE_REQUIRED; i++) {
        int at = XADD_WORDS + 2 * i;
        words[at] = envelope_names[i];
        lengths[at] = strlen(envelope_names[i]);
        words[at + 1] = envelope.fields[i].base ? envelope.fields[i].base : "";
        bytes += lengths[at + 1] = envelope.fields[i].len;
    }
    struct message *message = take_message(line, exchange, bytes);
    message->partition = partition;
    int64_t deadline_ms = set_deadline(message, exchange->route);
    if (!broker_command_for(line->broker, deadline_ms, on_stored, message, XADD_WORDS + 2 * ENVELOPE_REQUIRED, words,
                            lengths)) {
        free_message(message);
        return false;
    }
    exchange->carrier = message;
    exchange->detach = detach;
    return true;
}

static void name_message(struct exchange *exchange, struct str topic, uint32_t partition)
{
    char *id = h2o_mem_alloc_pool(&exchange->req->pool, PROTOCOL_ID_MAX);
    size_t len = protocol_id_format(id, exchange->rules->name, topic, partition, exchange->received_us,
                                    worker_random(exchange->worker) >> 16);
    exchange->message_id = (struct str){id, len};
}

static void refuse_away(struct line *line, struct exchange *exchange)
{
    count_failure(exchange);
    refuse(exchange, VERDICT_BROKER_AWAY, line == NULL ? "The rules give the unit no broker" : NULL);
}

void queue_publish(struct exchange *exchange)
{
    struct queue *queue = exchange->worker->queue;
    struct line *line = exchange->unit->id < queue->line_count ? queue->lines[exchange->unit->id] : NULL;
    const struct table_topic *topic = &exchange->view->table->topics[exchange->route->topic];
    uint32_t partition = table_partition(topic, exchange->decision.slot, exchange->user);
    if (line == NULL || broker_state(line->broker) != BROKER_READY) {
        refuse_away(line, exchange);
    } else if (broker_in_flight(line->broker) >= MOST_MESSAGES || line->bytes >= MOST_BYTES) {
        refuse(exchange, VERDICT_UNIT_BUSY, "Too many messages wait for the unit's broker");
    } else {
        name_message(exchange, topic->name, partition);
        if (!send_message(line, exchange, topic->name, partition))
            refuse_away(line, exchange);
    }
}

void queue_flush(struct queue *queue)
{
    broker_h2o_flush(&queue->brokers);
    if (queue->retired != NULL)
        sweep_retired(queue);
}

struct queue *queue_create(struct worker *worker)
{
    struct queue *queue = mem_calloc(1, sizeof(*queue));
    queue->worker = worker;
    broker_h2o_init(&queue->brokers, worker->h2o.loop);
    queue->loop = broker_h2o_loop(&queue->brokers);
    pthread_mutex_init(&queue->lock, NULL);
    return queue;
}

void queue_destroy(struct queue **slot)
{
    struct queue *queue = *slot;
    *slot = NULL;
    if (queue == NULL)
        return;
    for (uint32_t id = 0; id < queue->line_count; id++)
        if (queue->lines[id] != NULL)
            retire(queue, queue->lines[id]);
    for (struct line *line; (line = queue->retired) != NULL;) {
        queue->retired = line->next_retired;
        destroy_line(line);
    }
    for (struct message *message; (message = queue->spare) != NULL;) {
        queue->spare = message->next_spare;
        free(message);
    }
    timers_dispose(&queue->brokers.timers);
    pthread_mutex_destroy(&queue->lock);
    free(queue->lines);
    free(queue);
}
