/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/proxy.h"

#include <stdlib.h>

#include "common/clock.h"
#include "gateway/balance.h"
#include "gateway/colors.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "gateway/pool.h"
#include "gateway/tunnel.h"

#define BUFFER_SIZE RESPONSE_HEAD_MAX
#define SPARE_MAX   16
#define SMALL_BODY  4096

struct proxy {
    struct worker *worker;
    struct timers timers;
    struct pool *pool;
    struct tunnels *tunnels;
    struct str via;         /* the gateway's name */
    char *spare[SPARE_MAX]; /* buffers that nobody uses: few, since most answers are read and sent in one turn */
    unsigned spare_count;
};

/* One request at a node.
 *
 * Lifecycle: in the request's pool. attempt() chooses a node and takes or opens a connection, sends the request and
 * waits; what the node says comes to on_readable(), which reads the head, begins the answer and relays the body. While
 * libh2o sends a piece (`sending`) nothing more is read, so the buffer holds one piece. The connection goes back to
 * the pool as soon as the answer has ended, the buffer when the request is disposed: until then libh2o may send from
 * it.
 *
 * h2o_send() and exchange_fail() may end the request: they come last in whatever calls them. */
struct forwarding {
    h2o_generator_t generator;
    struct proxy *proxy;
    struct exchange *exchange; /* NULL once the request is gone */
    struct upstream *upstream;
    struct node *node; /* counted in its in_flight while set */
    h2o_iovec_t request[2];
    struct balance_tried tried;
    uint32_t retries;
    char *buffer;
    size_t filled, scanned;
    unsigned informational;
    struct response_body body;
    bool upgrade, refreshed, responding, reusable, sending, paused;
    bool drained; /* the last read left nothing in the kernel */
};

static const struct upstream_events forwarding_events;

/* ---- what it holds ---- */

static char *take_buffer(struct proxy *proxy)
{
    return proxy->spare_count > 0 ? proxy->spare[--proxy->spare_count] : mem_alloc(BUFFER_SIZE);
}

static void give_buffer(struct forwarding *forwarding)
{
    struct proxy *proxy = forwarding->proxy;
    if (forwarding->buffer == NULL)
        return;
    if (proxy->spare_count < SPARE_MAX)
        proxy->spare[proxy->spare_count++] = forwarding->buffer;
    else
        free(forwarding->buffer);
    forwarding->buffer = NULL;
}

static void enter_node(struct forwarding *forwarding, struct node *node)
{
    forwarding->node = node;
    forwarding->exchange->node = str_of(node->authority);
    forwarding->exchange->attempts++;
    atomic_fetch_add_explicit(&node->in_flight, 1, memory_order_relaxed);
}

static void leave_node(struct forwarding *forwarding)
{
    if (forwarding->node != NULL)
        atomic_fetch_sub_explicit(&forwarding->node->in_flight, 1, memory_order_relaxed);
    forwarding->node = NULL;
}

static void drop_upstream(struct forwarding *forwarding)
{
    upstream_close(&forwarding->upstream);
    leave_node(forwarding);
}

static void on_detach(struct exchange *exchange)
{
    struct forwarding *forwarding = exchange->carrier;
    drop_upstream(forwarding);
    give_buffer(forwarding);
    forwarding->exchange = NULL;
}

/* ---- how it ends badly ---- */

static void count_failure(const struct exchange *exchange)
{
    if (exchange->unit != NULL)
        atomic_fetch_add_explicit(&exchange->unit->failed, 1, memory_order_relaxed);
}

static void count_for_color(const struct exchange *exchange, bool failed)
{
    if (exchange->unit != NULL)
        colors_count(exchange->unit, exchange->decision.color, failed,
                     clock_monotonic_us() - exchange->received_mono_us);
}

static void fail(struct forwarding *forwarding, enum verdict verdict, const char *detail)
{
    drop_upstream(forwarding);
    count_failure(forwarding->exchange);
    count_for_color(forwarding->exchange, true);
    exchange_fail(forwarding->exchange, verdict, detail);
}

/* To an HTTP/1.0 client the end of the connection is the end of the answer, unless it comes as a reset. */
static void end_with_reset(h2o_req_t *req)
{
    struct linger now = {.l_onoff = 1};
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    setsockopt(h2o_socket_get_fd(socket), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

/* The client has a part of the answer: its connection must end so that it cannot take the part for the whole. */
static void break_off(struct forwarding *forwarding, enum verdict verdict)
{
    struct exchange *exchange = forwarding->exchange;
    drop_upstream(forwarding);
    count_failure(exchange);
    if (exchange->unit != NULL)
        colors_count_broken(exchange->unit, exchange->decision.color);
    exchange->verdict = verdict;
    stat_add(&exchange->worker->stats.verdicts[verdict], 1);
    if (exchange->req->version < 0x101 && exchange->req->res.content_length == SIZE_MAX)
        end_with_reset(exchange->req);
    h2o_send(exchange->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void fail_or_break_off(struct forwarding *forwarding, enum verdict verdict, const char *detail)
{
    if (forwarding->responding)
        break_off(forwarding, verdict);
    else
        fail(forwarding, verdict, detail);
}

/* ---- attempts ---- */

static bool method_is(const struct forwarding *forwarding, const char *name)
{
    const h2o_iovec_t *method = &forwarding->exchange->req->method;
    return h2o_memis(method->base, method->len, name, strlen(name));
}

/* RFC 9110, section 9.2. */
static bool is_safe(const struct forwarding *forwarding)
{
    return method_is(forwarding, "GET") || method_is(forwarding, "HEAD") || method_is(forwarding, "OPTIONS");
}

static bool is_idempotent(const struct forwarding *forwarding)
{
    return is_safe(forwarding) || method_is(forwarding, "PUT") || method_is(forwarding, "DELETE");
}

static uint64_t timeout_of(const struct forwarding *forwarding)
{
    const struct exchange *exchange = forwarding->exchange;
    int64_t timeout = exchange->route->timeout_ms;
    return (uint64_t)(timeout > 0 ? timeout : exchange->worker->gateway->config.proxy.timeout);
}

static struct node *choose(struct forwarding *forwarding)
{
    struct exchange *exchange = forwarding->exchange;
    enum color color = exchange->decision.color;
    if (exchange->server == NO_UNIT)
        return NULL;
    uint32_t count = exchange->view->table->units[exchange->server].nodes[color].count;
    struct node *const *nodes = exchange->view->units[exchange->server].nodes[color];
    uint64_t random = count > 1 ? worker_random(exchange->worker) : 0;
    struct node *node = balance_choose(nodes, count, &forwarding->tried, random);
    if (node == NULL && forwarding->tried.count == 0)
        node = pool_last_resort(forwarding->proxy->pool, nodes, count, h2o_now(exchange->worker->h2o.loop));
    return node;
}

static void attempt(struct forwarding *forwarding);
static void start(struct forwarding *forwarding, struct node *node, bool may_reuse);

/* Nothing was sent: another node may take the request, whatever its method. */
static void on_refused(struct forwarding *forwarding)
{
    struct node *node = forwarding->node;
    atomic_store_explicit(&node->refused, true, memory_order_relaxed);
    pool_note_refusal(forwarding->proxy->pool, node, h2o_now(forwarding->proxy->worker->h2o.loop));
    balance_note(&forwarding->tried, node);
    drop_upstream(forwarding);
    attempt(forwarding);
}

/* The connection ended before the answer began. UNTOUCHED: the node cannot have seen anything of the request. */
static void on_lost(struct forwarding *forwarding, bool untouched)
{
    struct node *node = forwarding->node;
    bool reused = forwarding->upstream->reused;
    if (untouched && !reused) {
        on_refused(forwarding);
        return;
    }
    drop_upstream(forwarding);
    if (reused && !forwarding->refreshed && (untouched || is_idempotent(forwarding))) {
        forwarding->refreshed = true;
        start(forwarding, node, false);
        return;
    }
    balance_note(&forwarding->tried, node);
    if (is_safe(forwarding) && forwarding->retries < forwarding->exchange->route->retries &&
        (node = choose(forwarding)) != NULL) {
        forwarding->retries++;
        stat_add(&forwarding->proxy->worker->stats.proxy_retries_total, 1);
        start(forwarding, node, true);
        return;
    }
    fail(forwarding, VERDICT_NODE_RESET, NULL);
}

static void transmit(struct forwarding *forwarding)
{
    upstream_wait(forwarding->upstream, timeout_of(forwarding));
    if (!upstream_send(forwarding->upstream, forwarding->request))
        on_lost(forwarding, true);
}

static void start(struct forwarding *forwarding, struct node *node, bool may_reuse)
{
    struct proxy *proxy = forwarding->proxy;
    struct gateway_stats *stats = &proxy->worker->stats;
    enter_node(forwarding, node);
    if (may_reuse)
        forwarding->upstream = pool_take(proxy->pool, node, &forwarding_events, forwarding);
    if (forwarding->upstream != NULL) {
        stat_add(&stats->proxy_reused_total, 1);
        transmit(forwarding);
        return;
    }
    stat_add(&stats->proxy_connects_total, 1);
    forwarding->upstream =
        upstream_open(proxy->worker->h2o.loop, &proxy->timers, node,
                      (uint64_t)proxy->worker->gateway->config.proxy.connect_timeout, &forwarding_events, forwarding);
    if (forwarding->upstream == NULL)
        on_refused(forwarding);
}

static void attempt(struct forwarding *forwarding)
{
    struct node *node = choose(forwarding);
    if (node != NULL)
        start(forwarding, node, true);
    else
        fail(forwarding, VERDICT_NODE_AWAY, NULL);
}

static void on_connected(struct upstream *upstream, bool ok)
{
    struct forwarding *forwarding = upstream->holder;
    if (!ok) {
        on_refused(forwarding);
        return;
    }
    if (atomic_load_explicit(&upstream->node->refused, memory_order_relaxed))
        atomic_store_explicit(&upstream->node->refused, false, memory_order_relaxed);
    transmit(forwarding);
}

/* ---- the answer ---- */

/* The node has said all: its connection serves others while libh2o still sends. */
static void release_upstream(struct forwarding *forwarding, size_t surplus)
{
    bool reusable = forwarding->reusable && forwarding->drained && surplus == 0 && upstream_sent(forwarding->upstream);
    if (reusable)
        pool_put(forwarding->proxy->pool, forwarding->upstream);
    else
        upstream_close(&forwarding->upstream);
    forwarding->upstream = NULL;
    leave_node(forwarding);
}

/* The last LEN bytes are in the buffer. */
static void finish(struct forwarding *forwarding, char *bytes, size_t len, size_t surplus)
{
    struct exchange *exchange = forwarding->exchange;
    h2o_iovec_t piece = h2o_iovec_init(bytes, len);
    release_upstream(forwarding, surplus);
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send(exchange->req, &piece, len > 0, H2O_SEND_STATE_FINAL);
}

/* LEN 0: the head alone, for a client that waits for it. */
static void relay(struct forwarding *forwarding, char *bytes, size_t len)
{
    h2o_iovec_t piece = h2o_iovec_init(bytes, len);
    forwarding->sending = true;
    upstream_rest(forwarding->upstream); /* the client's time, not the node's */
    h2o_send(forwarding->exchange->req, &piece, len > 0, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct forwarding *forwarding = (struct forwarding *)generator;
    (void)req;
    forwarding->sending = false;
    give_buffer(forwarding);
    upstream_wait(forwarding->upstream, timeout_of(forwarding));
    if (forwarding->paused)
        upstream_resume(forwarding->upstream);
    forwarding->paused = false;
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)req;
    drop_upstream((struct forwarding *)generator);
}

static void read_on(struct forwarding *forwarding)
{
    upstream_wait(forwarding->upstream, timeout_of(forwarding));
    if (forwarding->responding)
        give_buffer(forwarding);
}

static void read_body(struct forwarding *forwarding, size_t len)
{
    size_t surplus;
    enum response_verdict verdict = response_body_read(&forwarding->body, forwarding->buffer, &len, &surplus);
    if (verdict == RESPONSE_MALFORMED)
        break_off(forwarding, VERDICT_NODE_PROTOCOL);
    else if (verdict == RESPONSE_COMPLETE)
        finish(forwarding, forwarding->buffer, len, surplus);
    else if (len > 0)
        relay(forwarding, forwarding->buffer, len);
    else
        read_on(forwarding);
}

static void begin_answer(struct forwarding *forwarding, const struct response *response)
{
    struct exchange *exchange = forwarding->exchange;
    forwarding->responding = true;
    forwarding->reusable = response->keep_alive && response->framing != RESPONSE_UNTIL_CLOSE;
    stat_observe(&exchange->worker->stats.proxy_latency, clock_monotonic_us() - exchange->received_mono_us);
    count_for_color(exchange, response->status >= 500);
    forward_response_head(exchange, response, forwarding->proxy->via);
}

/* Small answers leave the buffer at once, so that all answers of a turn are read into the same one, in cache. */
static char *move_to_pool(struct forwarding *forwarding, const char *bytes, size_t len)
{
    char *copy = h2o_mem_alloc_pool(&forwarding->exchange->req->pool, len);
    memcpy(copy, bytes, len);
    give_buffer(forwarding);
    return copy;
}

/* The head is whole. What came of the body is decoded first: an answer that is whole gets its length, and one that is
 * malformed already can still become a 502. */
static void answer(struct forwarding *forwarding, const struct response *response)
{
    struct exchange *exchange = forwarding->exchange;
    char *bytes = forwarding->buffer + response->size;
    size_t len = forwarding->filled - response->size, surplus;
    response_body_begin(response, &forwarding->body);
    enum response_verdict verdict = response_body_read(&forwarding->body, bytes, &len, &surplus);
    if (verdict == RESPONSE_MALFORMED) {
        fail(forwarding, VERDICT_NODE_PROTOCOL, "The answer's first chunk is malformed");
        return;
    }
    begin_answer(forwarding, response);
    if (verdict == RESPONSE_COMPLETE && response->framing == RESPONSE_CHUNKED)
        exchange->req->res.content_length = len;
    h2o_start_response(exchange->req, &forwarding->generator);
    if (verdict == RESPONSE_COMPLETE && len <= SMALL_BODY)
        bytes = move_to_pool(forwarding, bytes, len);
    if (verdict == RESPONSE_COMPLETE)
        finish(forwarding, bytes, len, surplus);
    else
        relay(forwarding, bytes, len);
}

static void skip_head(struct forwarding *forwarding, size_t size)
{
    forwarding->filled -= size;
    forwarding->scanned = 0;
    memmove(forwarding->buffer, forwarding->buffer + size, forwarding->filled);
}

static void switch_protocols(struct forwarding *forwarding, const struct response *response)
{
    struct exchange *exchange = forwarding->exchange;
    struct str first = {forwarding->buffer + response->size, forwarding->filled - response->size};
    struct str head = forward_upgrade_head(exchange, response, forwarding->proxy->via);
    struct node *node = forwarding->node;
    h2o_socket_t *socket = upstream_give_socket(&forwarding->upstream);
    forwarding->node = NULL; /* the tunnel is counted in its place */
    if (tunnel_open(forwarding->proxy->tunnels, exchange, head, node, socket, first)) {
        stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
        return;
    }
    exchange->req->res.headers.size = 0;
    exchange_fail(exchange, VERDICT_NODE_PROTOCOL, "The client's protocol cannot be switched");
}

static void read_head(struct forwarding *forwarding)
{
    struct response response;
    struct str bytes = {forwarding->buffer, forwarding->filled};
    enum response_verdict verdict =
        response_parse(bytes, forwarding->scanned, method_is(forwarding, "HEAD"), &response);
    forwarding->scanned = forwarding->filled;
    if (verdict == RESPONSE_PARTIAL) {
        read_on(forwarding);
    } else if (verdict == RESPONSE_MALFORMED) {
        fail(forwarding, VERDICT_NODE_PROTOCOL, response.fault);
    } else if (response.status >= 200) {
        answer(forwarding, &response);
    } else if (response.status == 101 && forwarding->upgrade && response.upgrade &&
               upstream_sent(forwarding->upstream)) { /* what is still written of the request ends with it */
        switch_protocols(forwarding, &response);
    } else if (response.status == 101 || ++forwarding->informational > RESPONSE_INFORMATIONAL_MAX) {
        fail(forwarding, VERDICT_NODE_PROTOCOL, "The node answers what nobody asked for");
    } else {
        skip_head(forwarding, response.size);
        read_head(forwarding);
    }
}

static void on_end(struct forwarding *forwarding, bool clean)
{
    if (forwarding->responding && clean && forwarding->body.framing == RESPONSE_UNTIL_CLOSE)
        finish(forwarding, NULL, 0, 0);
    else if (forwarding->responding || forwarding->filled > 0 || forwarding->informational > 0)
        fail_or_break_off(forwarding, VERDICT_NODE_RESET, "The connection ended within the answer");
    else
        on_lost(forwarding, false);
}

static void on_readable(struct upstream *upstream)
{
    struct forwarding *forwarding = upstream->holder;
    if (forwarding->sending) {
        upstream_pause(upstream);
        forwarding->paused = true;
        return;
    }
    if (forwarding->buffer == NULL) {
        forwarding->buffer = take_buffer(forwarding->proxy);
        forwarding->filled = 0;
    }
    size_t offset = forwarding->responding ? 0 : forwarding->filled;
    ssize_t got = upstream_read(upstream, forwarding->buffer + offset, BUFFER_SIZE - offset);
    if (got == UPSTREAM_READ_NOTHING)
        return;
    if (got <= 0) {
        on_end(forwarding, got == 0);
        return;
    }
    forwarding->filled = offset + (size_t)got;
    forwarding->drained = forwarding->filled < BUFFER_SIZE;
    if (forwarding->responding)
        read_body(forwarding, (size_t)got);
    else
        read_head(forwarding);
}

static void on_expired(struct upstream *upstream)
{
    struct forwarding *forwarding = upstream->holder;
    if (!h2o_socket_is_reading(upstream->socket))
        on_refused(forwarding);
    else if (upstream_progresses(upstream))
        upstream_wait(upstream, timeout_of(forwarding));
    else
        fail_or_break_off(forwarding, VERDICT_NODE_TIMEOUT, NULL);
}

static const struct upstream_events forwarding_events = {
    .connected = on_connected, .readable = on_readable, .expired = on_expired};

/* ---- the proxy ---- */

static bool wants_tunnel(const h2o_req_t *req)
{
    return req->version < 0x200 && h2o_memis(req->method.base, req->method.len, H2O_STRLIT("GET")) &&
           req->upgrade.base != NULL && h2o_lcstris(req->upgrade.base, req->upgrade.len, H2O_STRLIT("websocket"));
}

/* Another unit may serve this one's users, in colours of its own. */
static void choose_server(struct exchange *exchange)
{
    const struct view *view = exchange->view;
    exchange->server = view_consumer(view, exchange->decision.unit);
    if (exchange->server != exchange->decision.unit && exchange->server != NO_UNIT)
        exchange->decision.color = table_color(&view->table->units[exchange->server], exchange->user);
}

void proxy_forward(struct exchange *exchange)
{
    if (hold_exchange(exchange, proxy_forward))
        return;
    choose_server(exchange);
    struct proxy *proxy = exchange->worker->proxy;
    struct forwarding *forwarding = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*forwarding));
    *forwarding = (struct forwarding){.generator = {.proceed = on_proceed, .stop = on_stop},
                                      .proxy = proxy,
                                      .exchange = exchange,
                                      .upgrade = wants_tunnel(exchange->req)};
    exchange->carrier = forwarding;
    exchange->detach = on_detach;
    forwarding->request[0] = forward_request_head(exchange, proxy->via, forwarding->upgrade);
    forwarding->request[1] = exchange->req->entity;
    stat_add(&exchange->worker->stats.proxy_requests_total, 1);
    attempt(forwarding);
}

struct proxy *proxy_create(struct worker *worker)
{
    struct proxy *proxy = mem_calloc(1, sizeof(*proxy));
    proxy->worker = worker;
    proxy->timers.loop = worker->h2o.loop;
    proxy->pool = pool_create(&worker->gateway->config, &proxy->timers);
    proxy->tunnels = tunnels_create(worker, &proxy->timers);
    proxy->via = str_of(worker->gateway->name);
    return proxy;
}

void proxy_close_tunnels(struct proxy *proxy)
{
    tunnels_close(proxy->tunnels);
}

void proxy_destroy(struct proxy **proxy)
{
    if (*proxy == NULL)
        return;
    tunnels_destroy(&(*proxy)->tunnels);
    pool_destroy(&(*proxy)->pool);
    timers_dispose(&(*proxy)->timers);
    while ((*proxy)->spare_count > 0)
        free((*proxy)->spare[--(*proxy)->spare_count]);
    free(*proxy);
    *proxy = NULL;
}
