/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/request.h"

#include <stdio.h>

#include "common/clock.h"
#include "gateway/access_log.h"
#include "gateway/batch.h"
#include "gateway/collections.h"
#include "gateway/exchange.h"
#include "gateway/field.h"
#include "gateway/gateway.h"
#include "gateway/h2_fields.h"
#include "gateway/identity.h"
#include "gateway/message_end.h"
#include "gateway/peer.h"
#include "gateway/queue.h"
#include "gateway/sampler.h"

#define RESERVED "/-/"
#define MESSAGES "/-/messages/"

static void leave_unit(struct exchange *exchange)
{
    if (exchange->unit != NULL)
        atomic_fetch_sub_explicit(&exchange->unit->in_flight, 1, memory_order_relaxed);
}

/* Runs when the request's pool goes, whichever way it ended. */
static void dispose(void *chunk)
{
    struct exchange *exchange = chunk;
    struct gateway_stats *stats = &exchange->worker->stats;
    if (exchange->detach != NULL)
        exchange->detach(exchange);
    if (exchange->worker->access_log != NULL)
        access_log_write(exchange->worker->access_log, exchange);
    leave_unit(exchange);
    if (exchange->answer_bytes > 0)
        atomic_fetch_sub_explicit(&exchange->worker->gateway->answer_bytes, exchange->answer_bytes,
                                  memory_order_relaxed);
    view_unref(&exchange->view);
    stat_set(&stats->requests_in_flight, stat_get(&stats->requests_in_flight) - 1);
}

static struct exchange *begin(h2o_req_t *req)
{
    struct worker *worker = worker_of(req);
    struct exchange *exchange = h2o_mem_alloc_shared(&req->pool, sizeof(*exchange), dispose);
    *exchange = (struct exchange){.req = req,
                                  .worker = worker,
                                  .view = worker->view,
                                  .received_us = clock_wall_us(),
                                  .received_mono_us = clock_monotonic_us(),
                                  .decision = {.unit = NO_UNIT, .slot = UINT32_MAX}};
    if (exchange->view != NULL)
        view_ref(exchange->view);
    stat_add(&worker->stats.requests_total, 1);
    stat_add(&worker->stats.requests_in_flight, 1);
    return exchange;
}

/* Headers in LDC-* steer the gateway and tell the apps who asked: they count only from peers that may say so. Some apps
 * read LDC_ as the same. */
static void strip_ldc_headers(h2o_req_t *req)
{
    for (size_t i = 0; i < req->headers.size;) {
        h2o_iovec_t *name = req->headers.entries[i].name;
        if (name->len >= 4 && memcmp(name->base, "ldc", 3) == 0 && (name->base[3] == '-' || name->base[3] == '_'))
            h2o_delete_header(&req->headers, (ssize_t)i);
        else
            i++;
    }
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Hex digits that are not all zero. */
static bool hex_run(const char *text, size_t len)
{
    bool nonzero = false;
    for (size_t i = 0; i < len; i++) {
        if (!is_hex(text[i]))
            return false;
        nonzero |= text[i] != '0';
    }
    return nonzero;
}

/* W3C Trace Context, version 00: 00-<32 hex>-<16 hex>-<2 hex>; another version may be longer. */
static bool traceparent_valid(struct str text)
{
    return text.len >= 55 && text.base[2] == '-' && text.base[35] == '-' && text.base[52] == '-' &&
           memcmp(text.base, "ff", 2) != 0 && (text.len == 55 || memcmp(text.base, "00", 2) != 0) &&
           hex_run(text.base + 3, 32) && hex_run(text.base + 36, 16) && is_hex(text.base[53]) &&
           is_hex(text.base[54]) && (text.len == 55 || text.base[55] == '-');
}

static void put_hex(char *text, uint64_t value)
{
    for (int i = 15; i >= 0; i--, value >>= 4)
        text[i] = "0123456789abcdef"[value & 15];
}

static void set_traceparent(struct exchange *exchange)
{
    exchange->traceparent = field_of(exchange->req, STR_LIT("traceparent"));
    if (exchange->traceparent.base != NULL && traceparent_valid(exchange->traceparent))
        return;
    struct worker *worker = exchange->worker;
    char *text = h2o_mem_alloc_pool(&exchange->req->pool, 55);
    memcpy(text, "00-", 3);
    put_hex(text + 3, worker_random(worker));
    put_hex(text + 19, worker_random(worker) | 1); /* neither identifier may be all zero */
    text[35] = '-';
    put_hex(text + 36, worker_random(worker) | 1);
    memcpy(text + 52, "-00", 3);
    exchange->traceparent = (struct str){text, 55};
}

static void add_allow(struct exchange *exchange, struct str path)
{
    char allow[64] = "";
    uint32_t route;
#define ALLOW_METHOD(name)                                                                                             \
    if (table_match(exchange->view->table, STR_LIT(#name), path, &route) == VERDICT_OK)                                \
        snprintf(allow + strlen(allow), sizeof(allow) - strlen(allow), "%s" #name, allow[0] ? ", " : "");
    TABLE_METHODS(ALLOW_METHOD)
#undef ALLOW_METHOD
    h2o_iovec_t value = h2o_strdup(&exchange->req->pool, allow, strlen(allow));
    h2o_add_header_by_str(&exchange->req->pool, &exchange->req->res.headers, H2O_STRLIT("allow"), 1, NULL, value.base,
                          value.len);
}

/* Of a batch each item is measured. */
static bool is_batch(const struct exchange *exchange)
{
    const h2o_req_t *req = exchange->req;
    return batch_wanted(exchange) || (exchange->route->action == ACTION_ZONE_C &&
                                      h2o_memis(req->method.base, req->method.len, H2O_STRLIT("POST")));
}

static enum verdict match_route(struct exchange *exchange, uint32_t *route)
{
    h2o_req_t *req = exchange->req;
    struct str method = {req->method.base, req->method.len};
    struct str path = {req->path_normalized.base, req->path_normalized.len};
    enum verdict verdict = table_match(exchange->view->table, method, path, route);
    if (verdict == VERDICT_METHOD_NOT_ALLOWED)
        add_allow(exchange, path);
    if (verdict != VERDICT_OK)
        return verdict;
    exchange->route = &exchange->view->table->routes[*route];
    if (exchange->route->max_body != 0 && req->entity.len > exchange->route->max_body && !is_batch(exchange))
        return VERDICT_BODY_TOO_LARGE;
    return VERDICT_OK;
}

static enum verdict read_identity(struct exchange *exchange, struct identity *identity, struct routing *routing)
{
    const struct table_route *route = exchange->route;
    enum verdict verdict = identity_user(identity, &routing->user);
    for (uint32_t i = 0; verdict == VERDICT_OK && i < route->participant_count; i++)
        verdict = identity_participant(identity, &route->participants[i], &routing->participants[i]);
    routing->participant_count = route->participant_count;
    exchange->user = routing->user;
    return verdict;
}

/* Sets the unit where the verdict is OK; FAULT is the sentence of what was wrong with the identity. */
static enum verdict decide(struct exchange *exchange, struct identity *identity, uint32_t route)
{
    struct routing routing = {.route = route,
                              .datacenter = str_of(exchange->worker->gateway->config.datacenter),
                              .splits = exchange->view->splits};
    enum verdict verdict = read_identity(exchange, identity, &routing);
    if (verdict != VERDICT_OK)
        return verdict;
    routing.color = field_of(exchange->req, STR_LIT("ldc-color"));
    verdict = table_route(exchange->view->table, &routing, &exchange->decision);
    if (verdict != VERDICT_OK)
        return verdict;
    exchange->rules = &exchange->view->table->units[exchange->decision.unit];
    return exchange_check_epoch(exchange, exchange->decision.unit);
}

/* The bulkhead: one slow unit must not hold all that this gateway can hold. */
static bool enter_unit(struct exchange *exchange)
{
    struct unit *unit = exchange->view->units[exchange->decision.unit].unit;
    uint32_t limit = exchange->rules->max_in_flight;
    if (limit == 0)
        limit = (uint32_t)exchange->worker->gateway->config.limits.in_flight_each_unit;
    if (atomic_fetch_add_explicit(&unit->in_flight, 1, memory_order_relaxed) >= limit) {
        atomic_fetch_sub_explicit(&unit->in_flight, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&unit->refused, 1, memory_order_relaxed);
        return false;
    }
    atomic_fetch_add_explicit(&unit->requests, 1, memory_order_relaxed);
    exchange->unit = unit;
    return true;
}

static void dispatch(struct exchange *exchange)
{
    if (exchange->user.base != NULL)
        sampler_observe(exchange->worker->sampler, exchange->user, exchange->received_mono_us);
    if (!enter_unit(exchange)) {
        exchange_fail(exchange, VERDICT_UNIT_BUSY, NULL);
    } else if (exchange->route->action == ACTION_QUEUE) {
        queue_publish(exchange);
    } else {
        proxy_forward(exchange);
    }
}

static void route_one(struct exchange *exchange, uint32_t route)
{
    struct identity identity = {
        .req = exchange->req, .table = exchange->view->table, .jwt_key = exchange->view->jwt_key};
    enum verdict verdict = decide(exchange, &identity, route);
    if (verdict == VERDICT_OK)
        dispatch(exchange);
    else
        exchange_fail(exchange, verdict, identity.fault);
    identity_dispose(&identity);
}

static void carry(struct exchange *exchange, enum verdict verdict, uint32_t route)
{
    if (verdict != VERDICT_OK)
        exchange_fail(exchange, verdict, NULL);
    else if (exchange->route->action == ACTION_ZONE_C)
        collections_serve(exchange);
    else if (batch_wanted(exchange))
        batch_publish(exchange);
    else
        route_one(exchange, route);
}

static void route(struct exchange *exchange)
{
    uint32_t route = 0;
    enum verdict verdict = match_route(exchange, &route);
    carry(exchange, verdict, route);
}

static enum verdict renew(struct exchange *exchange, uint32_t *route)
{
    leave_unit(exchange);
    exchange->unit = NULL;
    exchange->rules = NULL;
    exchange->route = NULL;
    exchange->decision = (struct decision){.unit = NO_UNIT, .slot = UINT32_MAX};
    exchange->message_id = (struct str){NULL, 0};
    view_unref(&exchange->view);
    exchange->view = exchange->worker->view;
    view_ref(exchange->view);
    return match_route(exchange, route);
}

enum verdict exchange_renew(struct exchange *exchange)
{
    uint32_t ignored;
    return renew(exchange, &ignored);
}

void exchange_route_again(struct exchange *exchange)
{
    uint32_t route = 0;
    enum verdict verdict = renew(exchange, &route);
    carry(exchange, verdict, route);
}

static bool is_method(const struct exchange *exchange, struct str method)
{
    return h2o_memis(exchange->req->method.base, exchange->req->method.len, method.base, method.len);
}

/* REST is what stands behind /-/messages/. */
static void serve_message(struct exchange *exchange, struct str rest)
{
    struct str id, verb = rest;
    if (is_method(exchange, STR_LIT("GET")))
        queue_message_status(exchange, rest);
    else if (is_method(exchange, STR_LIT("DELETE")))
        message_end(exchange, rest, STR_LIT("cancel"));
    else if (is_method(exchange, STR_LIT("POST")) && str_next(&verb, '/', &id) && verb.base != NULL)
        message_end(exchange, id, verb);
    else
        exchange_fail(exchange, VERDICT_NOT_FOUND, NULL);
}

/* Paths of the gateway's own, which no route can take, but for zone C's, which the rules place. */
static bool serve_reserved(struct exchange *exchange)
{
    struct str path = {exchange->req->path_normalized.base, exchange->req->path_normalized.len};
    if (!str_starts(path, STR_LIT(RESERVED)) || str_starts(path, STR_LIT("/-/c/")))
        return false;
    if (str_starts(path, STR_LIT(MESSAGES)))
        serve_message(exchange, (struct str){path.base + sizeof(MESSAGES) - 1, path.len - (sizeof(MESSAGES) - 1)});
    else
        exchange_fail(exchange, VERDICT_NOT_FOUND, NULL);
    return true;
}

static bool path_plain(const h2o_req_t *req)
{
    size_t len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;
    return identity_path_plain((struct str){req->path.base, len});
}

static enum verdict check(h2o_req_t *req, const char **fault)
{
    enum verdict verdict = req->version >= 0x200 ? h2_fields_check(req, fault) : VERDICT_OK;
    if (verdict != VERDICT_OK || path_plain(req))
        return verdict;
    *fault = "The path has dot segments, NUL or malformed escapes";
    return VERDICT_BAD_REQUEST;
}

int request_on_req(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    struct exchange *exchange = begin(req);
    const char *fault = NULL;
    enum verdict verdict = check(req, &fault);
    if (verdict != VERDICT_OK) {
        exchange_fail(exchange, verdict, fault);
        return 0;
    }
    exchange->trusted_peer = peer_trusted(exchange->worker->gateway, req->conn);
    if (!exchange->trusted_peer)
        strip_ldc_headers(req);
    set_traceparent(exchange);
    if (exchange->view == NULL)
        exchange_fail(exchange, VERDICT_NO_RULES, "Apply rules with `ldcctl rules apply`");
    else if (!serve_reserved(exchange))
        route(exchange);
    return 0;
}
