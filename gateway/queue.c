/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/envelope.h"
#include "gateway/gateway.h"
#include "gateway/group_commit.h"
#include "gateway/hold.h"
#include "gateway/unit_lines.h"
#include "gateway/queue_answer.h"
#include "gateway/reply.h"

struct queue {
    struct lines lines;
    struct unit_lines **by_unit; /* by unit id; NULL: never named. Readers in other threads lock lines.lock */
    uint32_t unit_count;
};

/* --- lines come and go with the rules, and follow the records ----------------------------------------------------- */

static struct unit_lines *find_or_create(struct queue *queue, struct unit *unit)
{
    if (unit->id >= queue->unit_count) {
        queue->by_unit = mem_realloc(queue->by_unit, (unit->id + 1) * sizeof(struct unit_lines *));
        while (queue->unit_count <= unit->id)
            queue->by_unit[queue->unit_count++] = NULL;
    }
    if (queue->by_unit[unit->id] == NULL)
        queue->by_unit[unit->id] = unit_lines_create(&queue->lines, unit);
    return queue->by_unit[unit->id];
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
    pthread_mutex_lock(&queue->lines.lock);
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        unit_lines_adopt(find_or_create(queue, view->units[i].unit), &view->table->units[i]);
    for (uint32_t id = 0; id < queue->unit_count; id++)
        if (queue->by_unit[id] != NULL && !named_by(view, id))
            unit_lines_adopt(queue->by_unit[id], NULL);
    pthread_mutex_unlock(&queue->lines.lock);
}

static struct unit_lines *lines_of(const struct queue *queue, const struct unit *unit)
{
    return unit->id < queue->unit_count ? queue->by_unit[unit->id] : NULL;
}

static struct line *primary_of(const struct queue *queue, const struct unit *unit)
{
    const struct unit_lines *unit_lines = lines_of(queue, unit);
    return unit_lines != NULL ? unit_lines->primary : NULL;
}

void queue_follow(struct queue *queue, const struct unit *unit)
{
    struct unit_lines *unit_lines = lines_of(queue, unit);
    if (unit_lines != NULL)
        unit_lines_follow(unit_lines);
}

bool queue_broker_ready(struct queue *queue, const struct unit *unit, char *fault, size_t size)
{
    pthread_mutex_lock(&queue->lines.lock);
    const struct line *line = primary_of(queue, unit);
    snprintf(fault, size, "%s", line == NULL ? "the rules give the unit no broker" : line->fault);
    pthread_mutex_unlock(&queue->lines.lock);
    return fault[0] == '\0';
}

struct broker *queue_broker(struct queue *queue, const struct unit *unit)
{
    const struct line *line = primary_of(queue, unit);
    return line != NULL ? line->broker : NULL;
}

struct broker *queue_copy(struct queue *queue, const struct unit *unit, uint64_t *epoch)
{
    const struct line *line = primary_of(queue, unit);
    if (line == NULL || broker_state(line->broker) != BROKER_READY ||
        strcmp(line_record(line)->run_id, broker_run_id(line->broker)) != 0)
        return NULL;
    *epoch = line_epoch(line);
    return line->broker;
}

struct str queue_primary(struct queue *queue, const struct unit *unit)
{
    const struct line *line = primary_of(queue, unit);
    return line != NULL ? str_of(line->url) : (struct str){NULL, 0};
}

/* --- publishing ----------------------------------------------------------------------------------------------------
 */

struct message *queue_send(struct queue *queue, struct unit *unit, const struct publication *publication,
                           struct publish_result *refusal)
{
    struct unit_lines *unit_lines = lines_of(queue, unit);
    struct message *message = NULL;
    *refusal = (struct publish_result){.verdict = VERDICT_BROKER_AWAY, .detail = "The rules give the unit no broker"};
    if (unit_lines != NULL)
        message = unit_lines_send(unit_lines, publication, refusal);
    if (message != NULL || refusal->moves)
        return message;
    if (refusal->verdict == VERDICT_BROKER_AWAY)
        atomic_fetch_add_explicit(&unit->failed, 1, memory_order_relaxed);
    if (publication->call->kind != QUEUE_CALL_COLLECTION)
        stat_add(&queue->lines.worker->stats.queue_refused_total, 1);
    return NULL;
}

struct str queue_name_message(struct worker *worker, h2o_mem_pool_t *pool, const struct queue_target *target,
                              uint64_t received_us)
{
    char *id = h2o_mem_alloc_pool(pool, PROTOCOL_ID_MAX);
    size_t len = protocol_id_format(id, target->unit, target->topic->name, target->partition, received_us,
                                    worker_random(worker) >> 16);
    return (struct str){id, len};
}

static void detach(struct exchange *exchange)
{
    message_forget(exchange->carrier);
    reply_forget(exchange);
}

static void conclude(struct exchange *exchange, const struct publish_result *result)
{
    reply_forget(exchange);
    queue_answer(exchange, result);
}

static void leave_unit(struct exchange *exchange)
{
    reply_forget(exchange);
    exchange->detach = NULL;
    hold_leaving(exchange);
}

/* A replay was answered, or will be, where its first request waits. */
static void on_done(void *arg, const struct publish_result *result)
{
    struct exchange *exchange = arg;
    if (result->moves)
        leave_unit(exchange);
    else if (exchange->wait != NULL && result->verdict == VERDICT_OK && !result->replayed)
        reply_wait(exchange, result->durability);
    else
        conclude(exchange, result);
}

/* What the app gets later, if ever, is not worth a client's wait. */
static struct str reply_stream(struct exchange *exchange, const struct publish_options *options)
{
    bool later = options->due_us > 0 || options->prepares;
    return options->waits && !later ? reply_expect(exchange, options->wait_ms) : STR_LIT("");
}

static void publish(struct exchange *exchange, const struct publish_options *options)
{
    const struct table_topic *topic = &exchange->view->table->topics[exchange->route->topic];
    struct queue_target target = {.unit = exchange->rules->name,
                                  .topic = topic,
                                  .partition = table_partition(topic, exchange->decision.slot, exchange->user)};
    struct queue_call call;
    struct publish_result refusal;
    h2o_mem_pool_t *pool = &exchange->req->pool;
    exchange->message_id = queue_name_message(exchange->worker, pool, &target, exchange->received_us);
    envelope_of_exchange(exchange, &call.envelope);
    call.envelope.fields[ENVELOPE_REPLY] = reply_stream(exchange, options);
    queue_call_init(&call, pool, &target, options);
    struct publication publication = {.call = &call,
                                      .durability = exchange->route->durability,
                                      .timeout_ms = exchange->route->timeout_ms,
                                      .routed = exchange->view->table->epoch,
                                      .slot = exchange_slot(exchange),
                                      .done = on_done,
                                      .arg = exchange};
    exchange->carrier = queue_send(exchange->worker->queue, exchange->unit, &publication, &refusal);
    if (exchange->carrier != NULL)
        exchange->detach = detach;
    else if (refusal.moves)
        leave_unit(exchange);
    else
        conclude(exchange, &refusal);
}

/* Of what comes with another target ("OPTIONS *") no node could be told where it goes. */
static bool has_path(const struct exchange *exchange)
{
    return exchange->req->path.len > 0 && exchange->req->path.base[0] == '/';
}

void queue_publish(struct exchange *exchange)
{
    struct publish_options options;
    const char *fault;
    if (!has_path(exchange))
        exchange_fail(exchange, VERDICT_BAD_REQUEST, "A message needs a path to be delivered to");
    else if (publish_options_read(exchange->req, &exchange->worker->gateway->config, exchange->received_us, &options,
                                  &fault))
        publish(exchange, &options);
    else
        exchange_fail(exchange, VERDICT_BAD_REQUEST, fault);
}

/* --- its life ------------------------------------------------------------------------------------------------------
 */

void queue_flush(struct queue *queue)
{
    group_commit_flush(&queue->lines);
    broker_h2o_flush(&queue->lines.brokers);
    for (uint32_t id = 0; id < queue->unit_count; id++)
        if (queue->by_unit[id] != NULL && queue->by_unit[id]->retired != NULL)
            unit_lines_sweep(queue->by_unit[id]);
}

struct queue *queue_create(struct worker *worker)
{
    struct queue *queue = mem_calloc(1, sizeof(*queue));
    struct lines *lines = &queue->lines;
    lines->worker = worker;
    broker_h2o_init(&lines->brokers, worker->h2o.loop);
    lines->loop = broker_h2o_loop(&lines->brokers);
    pthread_mutex_init(&lines->lock, NULL);
    return queue;
}

void queue_destroy(struct queue **slot)
{
    struct queue *queue = *slot;
    if (queue == NULL)
        return;
    struct unit_lines **by_unit = queue->by_unit;
    uint32_t unit_count = queue->unit_count;
    queue->unit_count = 0; /* what is concluded now finds no way any more */
    for (uint32_t id = 0; id < unit_count; id++)
        unit_lines_destroy(&by_unit[id]);
    *slot = NULL; /* until here those who conclude ask it */
    message_dispose_spare(&queue->lines);
    timers_dispose(&queue->lines.brokers.timers);
    pthread_mutex_destroy(&queue->lines.lock);
    free(queue->by_unit);
    free(queue);
}
