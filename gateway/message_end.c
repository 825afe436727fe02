/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/message_end.h"

#include <string.h>

#include "common/measure.h"
#include "common/protocol.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"

/* What the broker's function answers where the end is the wanted one. */
static const struct ending {
    struct str verb, function, state;
} endings[] = {
    {STR_LIT("commit"), STR_LIT("ldc1_tx_end"), STR_LIT("committed")},
    {STR_LIT("rollback"), STR_LIT("ldc1_tx_end"), STR_LIT("rolled-back")},
    {STR_LIT("cancel"), STR_LIT("ldc1_cancel"), STR_LIT("cancelled")},
};

/* One request, in the request's pool. */
struct end_request {
    struct exchange *exchange;
    const struct ending *ending;
    struct protocol_id parts;
};

static void detach(struct exchange *exchange)
{
    message_forget(exchange->carrier);
}

static void send_state(const struct end_request *request, const struct publish_result *result)
{
    struct exchange *exchange = request->exchange;
    h2o_req_t *req = exchange->req;
    struct buf body = {0};
    const char *durability = durability_name(result->durability);
    buf_printf(&body, "{\"id\":\"%.*s\",\"unit\":\"%.*s\",\"topic\":\"%.*s\",\"partition\":%u,\"state\":\"%.*s\"}\n",
               STR_ARG(exchange->message_id), STR_ARG(request->parts.unit), STR_ARG(request->parts.topic),
               request->parts.partition, STR_ARG(result->entry));
    req->res.status = 200;
    req->res.reason = "OK";
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-durability"), 0, NULL, durability,
                          strlen(durability));
    exchange_add_headers(exchange);
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, body.base, body.len);
    buf_free(&body);
}

static void on_done(void *arg, const struct publish_result *result)
{
    struct end_request *request = arg;
    struct exchange *exchange = request->exchange;
    bool cancels = str_equal(request->ending->verb, STR_LIT("cancel"));
    bool gone = result->verdict == VERDICT_NOT_FOUND ||
                (result->verdict == VERDICT_OK && str_equal(result->entry, STR_LIT("stored")));
    exchange->detach = NULL;
    if (gone && cancels) {
        queue_message_conflict(exchange, exchange->message_id);
    } else if (result->verdict == VERDICT_OUTCOME_UNKNOWN) {
        exchange_fail(exchange, result->verdict, "Ask again: the answer tells what became of it");
    } else if (result->verdict != VERDICT_OK) {
        exchange_fail(exchange, result->verdict, result->verdict == VERDICT_NOT_FOUND ? result->detail : NULL);
    } else if (str_equal(result->entry, request->ending->state)) {
        send_state(request, result);
    } else {
        exchange->message_state = result->entry;
        exchange_fail(exchange, VERDICT_MESSAGE_STATE, NULL);
    }
}

/* As the first route that leads to the topic. */
static enum durability durability_of(const struct table *table, struct str topic)
{
    for (uint32_t i = 0; i < table->route_count; i++) {
        const struct table_route *route = &table->routes[i];
        if (route->action == ACTION_QUEUE && str_equal(table->topics[route->topic].name, topic))
            return route->durability;
    }
    return DURABILITY_AUTO;
}

static struct str argument_of(struct exchange *exchange, const struct ending *ending)
{
    if (!str_equal(ending->verb, STR_LIT("cancel")))
        return ending->verb;
    char *text = h2o_mem_alloc_pool(&exchange->req->pool, 20);
    int64_t remember_ms = exchange->worker->gateway->config.transactions.remember;
    return (struct str){text, str_from_u64((uint64_t)remember_ms, text)};
}

static void publish(struct end_request *request, struct unit *unit)
{
    struct exchange *exchange = request->exchange;
    struct queue_call call;
    struct publish_result refusal;
    queue_call_init_end(&call, &exchange->req->pool, request->ending->function, exchange->message_id,
                        argument_of(exchange, request->ending));
    struct publication publication = {.call = &call,
                                      .durability = durability_of(exchange->view->table, request->parts.topic),
                                      .slot = UINT32_MAX,
                                      .done = on_done,
                                      .arg = request};
    exchange->carrier = queue_send(exchange->worker->queue, unit, &publication, &refusal);
    if (exchange->carrier != NULL)
        exchange->detach = detach;
    else
        exchange_fail(exchange, refusal.verdict, refusal.detail);
}

static const struct ending *ending_of(struct str verb)
{
    for (size_t i = 0; i < COUNT_OF(endings); i++)
        if (str_equal(verb, endings[i].verb))
            return &endings[i];
    return NULL;
}

void message_end(struct exchange *exchange, struct str id, struct str verb)
{
    const struct table *table = exchange->view->table;
    struct end_request *request = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*request));
    *request = (struct end_request){.exchange = exchange, .ending = ending_of(verb)};
    uint32_t unit = protocol_id_parse(id, &request->parts) ? table_unit_index(table, request->parts.unit) : NO_UNIT;
    if (request->ending == NULL) {
        exchange_fail(exchange, VERDICT_NOT_FOUND, NULL);
    } else if (!exchange->trusted_peer) {
        exchange_fail(exchange, VERDICT_UNTRUSTED_PEER, NULL);
    } else if (unit == NO_UNIT) {
        exchange_fail(exchange, VERDICT_NOT_FOUND, "That is no message id of a unit of these rules");
    } else {
        exchange->message_id = id;
        exchange->rules = &table->units[unit];
        publish(request, exchange->view->units[unit].unit);
    }
}
