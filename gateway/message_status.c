/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /-/messages/ID: where the message is, and what happened to it.
 */
#include <stdlib.h>

#include "common/clock.h"
#include "common/lookup.h"
#include "common/protocol.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"
#include "gateway/timers.h"

/* Messages come first: a broker that is this far behind answers no questions. */
#define MOST_IN_FLIGHT     1000
#define MOST_SUBSCRIPTIONS 64

/* One request, in its pool. A broker that is away, of several, is asked for as long as its place may be taken. */
struct look {
    struct exchange *exchange;
    struct str id;
    uint32_t unit; /* index */
    lookup_done_fn done;
    struct lookup *lookup;     /* NULL: none is under way */
    h2o_timeout_entry_t timer; /* to ask again */
};

#define RETRY_MS 20

static void detach(struct exchange *exchange)
{
    struct look *look = exchange->carrier;
    if (look->lookup != NULL)
        lookup_forget(look->lookup);
    timers_disarm(&look->timer);
}

static void send_document(struct exchange *exchange, const json_t *document)
{
    h2o_req_t *req = exchange->req;
    char *text = json_dumps(document, JSON_COMPACT);
    struct buf body = {0};
    buf_append_str(&body, str_of(text));
    buf_append(&body, "\n", 1);
    req->res.status = 200;
    req->res.reason = "OK";
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    exchange_add_headers(exchange);
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, body.base, body.len);
    buf_free(&body);
    free(text);
}

static void fail(struct exchange *exchange, enum lookup_verdict verdict)
{
    if (verdict == LOOKUP_NOTHING)
        exchange_fail(exchange, VERDICT_NOT_FOUND,
                      "No such message: it was never stored, or it was delivered and its traces are gone");
    else
        exchange_fail(exchange, VERDICT_BROKER_AWAY, NULL);
}

static bool may_come_back(const struct look *look)
{
    const struct exchange *exchange = look->exchange;
    uint64_t hold_us = (uint64_t)exchange->worker->gateway->config.failover.hold * 1000;
    return exchange->view->table->units[look->unit].broker_count > 1 &&
           clock_monotonic_us() - exchange->received_mono_us < hold_us;
}

/* The broker gave no answer. */
static void again(struct look *look)
{
    struct exchange *exchange = look->exchange;
    if (may_come_back(look)) {
        timers_arm(&exchange->worker->timers, &look->timer, RETRY_MS);
        return;
    }
    exchange->detach = NULL;
    fail(exchange, LOOKUP_AWAY);
}

/* What it found is left to its caller; all else is dealt with here. */
static bool has_found(struct look *look, enum lookup_verdict verdict)
{
    look->lookup = NULL;
    if (verdict == LOOKUP_AWAY) {
        again(look);
        return false;
    }
    look->exchange->detach = NULL;
    if (verdict != LOOKUP_FOUND)
        fail(look->exchange, verdict);
    return verdict == LOOKUP_FOUND;
}

static void on_found(void *arg, enum lookup_verdict verdict, const json_t *document)
{
    struct look *look = arg;
    if (has_found(look, verdict))
        send_document(look->exchange, document);
}

static void on_conflict(void *arg, enum lookup_verdict verdict, const json_t *document)
{
    struct look *look = arg;
    struct exchange *exchange = look->exchange;
    if (!has_found(look, verdict))
        return;
    struct str state = str_of(json_string_value(json_object_get(document, "state")));
    h2o_iovec_t copy = h2o_strdup(&exchange->req->pool, state.base, state.len);
    exchange->message_state = (struct str){copy.base, copy.len};
    exchange_fail(exchange, VERDICT_MESSAGE_STATE, "The message has gone to its stream");
}

static size_t subscriptions_of(const struct table *table, struct str name, struct lookup_subscription *subscriptions)
{
    size_t count = 0;
    for (uint32_t i = 0; i < table->topic_count; i++) {
        const struct table_topic *topic = &table->topics[i];
        if (!str_equal(topic->name, name))
            continue;
        for (; count < topic->subscription_count && count < MOST_SUBSCRIPTIONS; count++)
            subscriptions[count] =
                (struct lookup_subscription){topic->subscriptions[count].name, topic->subscriptions[count].broadcast};
    }
    return count;
}

static void ask(struct look *look)
{
    struct lookup_subscription subscriptions[MOST_SUBSCRIPTIONS];
    struct exchange *exchange = look->exchange;
    const struct view *view = exchange->view;
    struct protocol_id parts = {.partition = 0};
    (void)!protocol_id_parse(look->id, &parts);
    size_t count = subscriptions_of(view->table, parts.topic, subscriptions);
    if (count == 0) /* a topic that the rules do not name any more */
        subscriptions[count++] = (struct lookup_subscription){STR_LIT(PROTOCOL_DEFAULT_SUBSCRIPTION), false};
    struct broker *broker = queue_broker(exchange->worker->queue, view->units[look->unit].unit);
    look->lookup = broker != NULL ? lookup_start(broker, look->id, subscriptions, count, look->done, look) : NULL;
    if (look->lookup == NULL)
        again(look);
}

static void on_time(h2o_timeout_entry_t *entry)
{
    ask(H2O_STRUCT_FROM_MEMBER(struct look, timer, entry));
}

static void look_up(struct exchange *exchange, struct str id, lookup_done_fn done)
{
    const struct table *table = exchange->view->table;
    struct protocol_id parts;
    uint32_t unit = protocol_id_parse(id, &parts) ? table_unit_index(table, parts.unit) : NO_UNIT;
    struct broker *broker =
        unit == NO_UNIT ? NULL : queue_broker(exchange->worker->queue, exchange->view->units[unit].unit);
    if (broker == NULL) {
        exchange_fail(exchange, VERDICT_NOT_FOUND, "That is no message id of a unit of these rules");
    } else if (broker_in_flight(broker) > MOST_IN_FLIGHT) {
        exchange_fail(exchange, VERDICT_UNIT_BUSY, "The unit's broker has many messages to store");
    } else {
        struct look *look = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*look));
        *look = (struct look){.exchange = exchange, .id = id, .unit = unit, .done = done, .timer.cb = on_time};
        exchange->carrier = look;
        exchange->detach = detach;
        ask(look);
    }
}

void queue_message_status(struct exchange *exchange, struct str id)
{
    look_up(exchange, id, on_found);
}

void queue_message_conflict(struct exchange *exchange, struct str id)
{
    look_up(exchange, id, on_conflict);
}
