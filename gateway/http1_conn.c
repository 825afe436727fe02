/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http1_conn.h"

#include <stdlib.h>

#include "common/http1.h"
#include "common/invariant.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"
#include "gateway/http1_answer.h"
#include "gateway/http1_request.h"

#define LINGER_MS         2000 /* also what a client that has ended its side is given for the answer, or a piece of it */
#define SMALL_VECTORS     32
#define BODY_RESERVE_MOST (64 * 1024) /* what is believed of a Content-Length before the bytes are there */

struct http1_conns {
    struct worker *worker;
    http1_preface_fn preface;
    h2o_linklist_t list;
    h2o_timeout_t head_timeout, body_timeout, idle_timeout, linger_timeout;
};

enum phase {
    PHASE_HEAD = 0, /* between requests, or in the head of the next */
    PHASE_CONTINUE, /* 100 is on its way; what arrives waits */
    PHASE_BODY,
    PHASE_BUSY,    /* a handler has the request; the next ones wait in the socket's input */
    PHASE_TAKEN,   /* as BUSY, and the socket goes to `taken` when its head has left */
    PHASE_REFUSED, /* the last answer is on its way or has left; what arrives is dropped, so that a reset does not
                      overtake it */
};

/* HEAD -> (CONTINUE ->) BODY -> BUSY -> HEAD ...; any phase ends in close_now(), most through REFUSED. `req` is alive
 * (initialised, with a pool) from the end of a head until the end of its answer, so an idle connection holds neither a
 * pool nor a buffer. */
struct http1_conn {
    h2o_conn_t super;
    struct http1_conns *conns;
    h2o_socket_t *sock;
    h2o_linklist_t link;
    h2o_timeout_entry_t timer, deferred;
    enum phase phase;
    bool alive, reading, half_closed;
    size_t scanned; /* bytes of a partial head that were looked at */
    uint64_t requests;
    struct http1_chunked chunked;
    bool body_chunked;
    uint64_t body_left;
    struct buf body;
    struct buf refusal;
    http1_taken_fn taken;
    void *taken_arg;
    struct http1_answer answer;
    h2o_ostream_t final;
    h2o_req_t req;
};

static void advance(struct http1_conn *conn);
static void on_read(h2o_socket_t *sock, const char *err);

static struct gateway *gateway_of(const struct http1_conn *conn)
{
    return conn->conns->worker->gateway;
}

static void arm(struct http1_conn *conn, h2o_timeout_t *timeout)
{
    h2o_timeout_unlink(&conn->timer);
    h2o_timeout_link(conn->super.ctx->loop, timeout, &conn->timer);
}

/* Reading goes on between requests; it is switched off only to hold back a client that pipelines too far. */
static void set_reading(struct http1_conn *conn, bool reading)
{
    if (conn->reading == reading)
        return;
    conn->reading = reading;
    if (reading)
        h2o_socket_read_start(conn->sock, on_read);
    else
        h2o_socket_read_stop(conn->sock);
}

static void count_body(struct http1_conn *conn, int64_t bytes)
{
    stat_value *gauge = &conn->conns->worker->stats.request_body_bytes;
    atomic_fetch_add_explicit(&gateway_of(conn)->body_bytes, (uint64_t)bytes, memory_order_relaxed);
    stat_set(gauge, stat_get(gauge) + (uint64_t)bytes);
}

static void drop_body(struct http1_conn *conn)
{
    if (conn->body.len > 0)
        count_body(conn, -(int64_t)conn->body.len);
    buf_free(&conn->body);
}

/* Carriers that wait for something hear of it through the dispose hooks of the request's pool. */
static void drop_request(struct http1_conn *conn)
{
    h2o_timeout_unlink(&conn->deferred);
    if (conn->alive) {
        conn->alive = false;
        h2o_dispose_request(&conn->req);
    }
    drop_body(conn);
}

/* Frees the connection but for its socket. */
static void release(struct http1_conn *conn)
{
    h2o_timeout_unlink(&conn->timer);
    drop_request(conn);
    buf_free(&conn->refusal);
    h2o_linklist_unlink(&conn->link);
    free(conn);
}

static void close_now(struct http1_conn *conn)
{
    h2o_socket_t *sock = conn->sock;
    http1_taken_fn taken = conn->phase == PHASE_TAKEN ? conn->taken : NULL;
    void *arg = conn->taken_arg;
    release(conn);
    h2o_socket_close(sock);
    if (taken != NULL)
        taken(arg, NULL);
}

/* A close with unread bytes makes the kernel send a reset, which can destroy an answer that the client has not read. */
static void linger(struct http1_conn *conn)
{
    drop_request(conn);
    conn->phase = PHASE_REFUSED;
    h2o_buffer_consume(&conn->sock->input, conn->sock->input->size);
    set_reading(conn, true);
    arm(conn, &conn->conns->linger_timeout);
    if (conn->sock->ssl == NULL)
        shutdown(h2o_socket_get_fd(conn->sock), SHUT_WR);
}

static void on_refusal_sent(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    if (err != NULL)
        close_now(conn);
    else
        linger(conn);
}

static void refuse(struct http1_conn *conn, enum verdict verdict, const char *detail)
{
    struct worker *worker = conn->conns->worker;
    stat_add(&worker->stats.requests_malformed_total, 1);
    drop_request(conn);
    conn->phase = PHASE_REFUSED;
    arm(conn, &conn->conns->linger_timeout);
    problem_format_http1(worker, verdict, detail, &conn->refusal);
    h2o_iovec_t out = h2o_iovec_init(conn->refusal.base, conn->refusal.len);
    h2o_socket_write(conn->sock, &out, 1, on_refusal_sent);
}

static void on_timeout(h2o_timeout_entry_t *entry)
{
    struct http1_conn *conn = H2O_STRUCT_FROM_MEMBER(struct http1_conn, timer, entry);
    if (conn->phase == PHASE_BODY)
        refuse(conn, VERDICT_TOO_SLOW, "The body did not arrive in time");
    else if (conn->phase == PHASE_HEAD && conn->scanned > 0)
        refuse(conn, VERDICT_TOO_SLOW, "The head did not arrive in time");
    else if (conn->phase == PHASE_BUSY && h2o_socket_is_writing(conn->sock))
        arm(conn, &conn->conns->linger_timeout); /* it takes its answer: the kernel knows when it does not */
    else
        close_now(conn);
}

/* More bytes are needed. */
static void wait_for_input(struct http1_conn *conn, h2o_timeout_t *timeout)
{
    if (conn->half_closed)
        close_now(conn);
    else if (timeout != NULL)
        arm(conn, timeout);
}

/* --- answering ------------------------------------------------------------------------------------------------- */

static void finish(struct http1_conn *conn)
{
    bool keep_alive = conn->req.http1_is_persistent;
    h2o_timeout_unlink(&conn->timer);
    drop_request(conn);
    if (keep_alive) {
        conn->phase = PHASE_HEAD;
        conn->scanned = 0;
        advance(conn);
    } else if (!conn->answer.broken && (conn->sock->input->size > 0 || !conn->reading)) {
        linger(conn); /* an end in good order, which a broken answer must not have */
    } else {
        close_now(conn);
    }
}

static void on_answer_sent(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    if (err != NULL)
        close_now(conn);
    else
        finish(conn);
}

static void on_piece_sent(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    if (err != NULL)
        close_now(conn);
    else if (conn->answer.ended)
        finish(conn);
    else {
        if (conn->half_closed)
            arm(conn, &conn->conns->linger_timeout);
        h2o_proceed_response(&conn->req);
    }
}

static void on_deferred(h2o_timeout_entry_t *entry)
{
    struct http1_conn *conn = H2O_STRUCT_FROM_MEMBER(struct http1_conn, deferred, entry);
    on_piece_sent(conn->sock, NULL);
}

/* The end of the chain of ostreams. */
static void send_answer(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *in, size_t count, h2o_send_state_t state)
{
    struct http1_conn *conn = H2O_STRUCT_FROM_MEMBER(struct http1_conn, final, self);
    h2o_iovec_t few[SMALL_VECTORS + HTTP1_ANSWER_EXTRA], *out = few;
    if (h2o_socket_is_writing(conn->sock)) { /* a carrier that gives up may do so while a piece is on its way */
        INVARIANT(state == H2O_SEND_STATE_ERROR);
        req->http1_is_persistent = 0;
        conn->answer.ended = conn->answer.broken = true;
        return;
    }
    if (count > SMALL_VECTORS)
        out = h2o_mem_alloc_pool(&req->pool, (count + HTTP1_ANSWER_EXTRA) * sizeof(*out));
    if (conn->conns->worker->draining)
        req->http1_is_persistent = 0;
    size_t written = http1_answer_frame(&conn->answer, req, in, count, state, out);
    if (written == 0)
        h2o_timeout_link(conn->super.ctx->loop, &conn->super.ctx->zero_timeout, &conn->deferred);
    else
        h2o_socket_write(conn->sock, out, written, conn->answer.ended ? on_answer_sent : on_piece_sent);
}

static void on_upgrade_sent(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    http1_taken_fn taken = conn->taken;
    void *arg = conn->taken_arg;
    if (err != NULL) {
        close_now(conn);
        return;
    }
    set_reading(conn, false);
    sock->data = NULL;
    release(conn);
    taken(arg, sock);
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static void process(struct http1_conn *conn)
{
    h2o_timeout_unlink(&conn->timer);
    if (conn->half_closed)
        arm(conn, &conn->conns->linger_timeout);
    conn->phase = PHASE_BUSY;
    conn->req.entity = h2o_iovec_init(conn->body.base, conn->body.len);
    h2o_process_request(&conn->req);
}

/* The refusal of a body that goes on, or VERDICT_OK. */
static enum verdict take_body_bytes(struct http1_conn *conn, const char *bytes, size_t len)
{
    const struct gateway_config *config = &gateway_of(conn)->config;
    if (conn->body.len + len > (uint64_t)config->limits.body)
        return VERDICT_BODY_TOO_LARGE;
    if (len == 0)
        return VERDICT_OK;
    count_body(conn, (int64_t)len);
    buf_append(&conn->body, bytes, len);
    if (atomic_load_explicit(&gateway_of(conn)->body_bytes, memory_order_relaxed) >
        (uint64_t)config->limits.bodies_total)
        return VERDICT_BODIES_FULL;
    return VERDICT_OK;
}

static enum verdict take_chunked(struct http1_conn *conn, bool *complete)
{
    h2o_buffer_t *input = conn->sock->input;
    size_t len = input->size, used = 0;
    enum http1_verdict decoded = http1_decode_chunked(&conn->chunked, input->bytes, &len, &used);
    if (decoded != HTTP1_COMPLETE && decoded != HTTP1_PARTIAL)
        return VERDICT_BAD_REQUEST;
    enum verdict verdict = take_body_bytes(conn, input->bytes, len);
    h2o_buffer_consume(&conn->sock->input, used);
    *complete = decoded == HTTP1_COMPLETE;
    return verdict;
}

static enum verdict take_bounded(struct http1_conn *conn, bool *complete)
{
    h2o_buffer_t *input = conn->sock->input;
    size_t len = input->size < conn->body_left ? input->size : (size_t)conn->body_left;
    enum verdict verdict = take_body_bytes(conn, input->bytes, len);
    h2o_buffer_consume(&conn->sock->input, len);
    conn->body_left -= len;
    *complete = conn->body_left == 0;
    return verdict;
}

static void read_body(struct http1_conn *conn)
{
    bool complete = false;
    enum verdict verdict = VERDICT_OK;
    if (conn->sock->input->size > 0)
        verdict = conn->body_chunked ? take_chunked(conn, &complete) : take_bounded(conn, &complete);
    if (verdict != VERDICT_OK)
        refuse(conn, verdict, verdict == VERDICT_BAD_REQUEST ? "The chunked body is malformed" : NULL);
    else if (complete)
        process(conn);
    else
        wait_for_input(conn, NULL);
}

static void on_continue_sent(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    if (err != NULL) {
        close_now(conn);
        return;
    }
    conn->phase = PHASE_BODY;
    set_reading(conn, !conn->half_closed); /* so much may have come meanwhile that it was off */
    read_body(conn);
}

static void begin_body(struct http1_conn *conn, const struct http1_head *head)
{
    if (head->content_length > (uint64_t)gateway_of(conn)->config.limits.body) {
        refuse(conn, VERDICT_BODY_TOO_LARGE, NULL);
        return;
    }
    conn->body_chunked = head->chunked;
    conn->chunked = (struct http1_chunked){0};
    conn->body_left = head->content_length;
    if (!head->chunked)
        buf_reserve(&conn->body, head->content_length < BODY_RESERVE_MOST ? head->content_length : BODY_RESERVE_MOST);
    arm(conn, &conn->conns->body_timeout);
    conn->phase = PHASE_BODY;
    if (head->expect_continue && conn->sock->input->size == 0) {
        h2o_iovec_t out = h2o_iovec_init(H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n"));
        conn->phase = PHASE_CONTINUE;
        h2o_socket_write(conn->sock, &out, 1, on_continue_sent);
    } else {
        read_body(conn);
    }
}

static void begin_request(struct http1_conn *conn, const struct http1_head *head)
{
    int64_t most = gateway_of(conn)->config.limits.requests_each_connection;
    h2o_init_request(&conn->req, &conn->super, NULL);
    conn->alive = true;
    conn->answer = (struct http1_answer){0};
    conn->final = (h2o_ostream_t){.do_send = send_answer};
    conn->req._ostr_top = &conn->final;
    conn->req.timestamps.request_begin_at = *h2o_get_timestamp(conn->super.ctx, NULL, NULL);
    conn->requests++;
    conn->req.http1_is_persistent = head->keep_alive && (most == 0 || conn->requests < (uint64_t)most);
    http1_request_fill(&conn->req, head, conn->sock->input->bytes, conn->sock->ssl != NULL);
    h2o_buffer_consume(&conn->sock->input, head->size);
    if (head->chunked || head->content_length > 0)
        begin_body(conn, head);
    else
        process(conn);
}

static void refuse_head(struct http1_conn *conn, enum http1_verdict verdict, const char *fault)
{
    static const enum verdict verdicts[] = {
        [HTTP1_BAD_REQUEST] = VERDICT_BAD_REQUEST,    [HTTP1_HEAD_TOO_LARGE] = VERDICT_HEAD_TOO_LARGE,
        [HTTP1_URI_TOO_LONG] = VERDICT_URI_TOO_LONG,  [HTTP1_BAD_VERSION] = VERDICT_BAD_VERSION,
        [HTTP1_UNKNOWN_CODING] = VERDICT_BAD_REQUEST, [HTTP1_UNKNOWN_EXPECTATION] = VERDICT_EXPECTATION,
    };
    refuse(conn, verdicts[verdict], fault);
}

static bool is_preface(const struct http1_conn *conn)
{
    struct str input = {conn->sock->input->bytes, conn->sock->input->size};
    return conn->conns->preface != NULL && conn->requests == 0 && conn->sock->ssl == NULL &&
           str_starts(input, STR_LIT("PRI * HTTP/2.0\r\n"));
}

static void give_to_http2(struct http1_conn *conn)
{
    struct http1_conns *conns = conn->conns;
    h2o_socket_t *sock = conn->sock;
    set_reading(conn, false);
    sock->data = NULL;
    release(conn);
    conns->preface(conns->worker, sock);
}

static void read_head(struct http1_conn *conn)
{
    const struct gateway_config *config = &gateway_of(conn)->config;
    struct http1_head head;
    struct str input = {conn->sock->input->bytes, conn->sock->input->size};
    enum http1_verdict verdict = http1_parse_head(input, (size_t)config->limits.head, conn->scanned, &head);
    if (verdict == HTTP1_COMPLETE && head.target.len > (size_t)config->limits.uri)
        verdict = HTTP1_URI_TOO_LONG;
    if (verdict == HTTP1_PARTIAL) {
        bool first = conn->scanned == 0;
        conn->scanned = input.len;
        wait_for_input(conn, first ? &conn->conns->head_timeout : NULL);
    } else if (verdict == HTTP1_COMPLETE) {
        begin_request(conn, &head);
    } else if (verdict == HTTP1_BAD_VERSION && is_preface(conn)) {
        give_to_http2(conn);
    } else {
        refuse_head(conn, verdict, head.fault);
    }
}

/* Goes on with what lies in the socket's input. */
static void advance(struct http1_conn *conn)
{
    if (conn->phase == PHASE_BODY) {
        read_body(conn);
    } else if (conn->phase == PHASE_HEAD) {
        set_reading(conn, !conn->half_closed);
        if (conn->sock->input->size > 0)
            read_head(conn);
        else if (conn->conns->worker->draining && conn->requests > 0)
            close_now(conn);
        else
            wait_for_input(conn, &conn->conns->idle_timeout);
    } else if (conn->phase == PHASE_REFUSED) {
        h2o_buffer_consume(&conn->sock->input, conn->sock->input->size);
    } else if (conn->sock->input->size >= (size_t)gateway_of(conn)->config.limits.head) {
        set_reading(conn, false);
    }
}

/* The client is gone, or says no more: which of the two, only writing to it tells. It gets a moment for its answer. */
static void on_end(struct http1_conn *conn, bool reset)
{
    if (conn->phase != PHASE_BUSY || reset) {
        close_now(conn);
        return;
    }
    conn->half_closed = true;
    set_reading(conn, false);
    arm(conn, &conn->conns->linger_timeout);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct http1_conn *conn = sock->data;
    if (err != NULL)
        on_end(conn, err != h2o_socket_error_closed);
    else
        advance(conn);
}

/* --- a connection's life --------------------------------------------------------------------------------------- */

static socklen_t get_sockname(h2o_conn_t *conn, struct sockaddr *address)
{
    return h2o_socket_getsockname(((struct http1_conn *)conn)->sock, address);
}

static socklen_t get_peername(h2o_conn_t *conn, struct sockaddr *address)
{
    return h2o_socket_getpeername(((struct http1_conn *)conn)->sock, address);
}

static h2o_socket_t *get_socket(h2o_conn_t *conn)
{
    return ((struct http1_conn *)conn)->sock;
}

static const h2o_conn_callbacks_t callbacks = {
    .get_sockname = get_sockname, .get_peername = get_peername, .get_socket = get_socket};

bool http1_conn_upgrade(h2o_req_t *req, struct str response_head, http1_taken_fn taken, void *arg)
{
    if (req->conn->callbacks != &callbacks)
        return false;
    struct http1_conn *conn = (struct http1_conn *)req->conn;
    INVARIANT(conn->phase == PHASE_BUSY && !conn->answer.begun && !h2o_socket_is_writing(conn->sock));
    conn->phase = PHASE_TAKEN;
    conn->taken = taken;
    conn->taken_arg = arg;
    h2o_iovec_t out = h2o_strdup(&req->pool, response_head.base, response_head.len);
    h2o_socket_write(conn->sock, &out, 1, on_upgrade_sent);
    return true;
}

static void set_timeouts(struct http1_conns *conns)
{
    const struct gateway_config *config = &conns->worker->gateway->config;
    conns->head_timeout.timeout = (uint64_t)config->limits.head_timeout;
    conns->body_timeout.timeout = (uint64_t)config->limits.body_timeout;
    conns->idle_timeout.timeout = (uint64_t)config->limits.idle_timeout;
}

void http1_conns_accept(struct http1_conns *conns, h2o_socket_t *sock)
{
    struct worker *worker = conns->worker;
    struct timeval now = *h2o_get_timestamp(&worker->h2o, NULL, NULL);
    struct http1_conn *conn = (struct http1_conn *)h2o_create_connection(sizeof(*conn), &worker->h2o,
                                                                         worker->h2o_config.hosts, now, &callbacks);
    memset((char *)conn + sizeof(conn->super), 0, offsetof(struct http1_conn, req) - sizeof(conn->super));
    conn->conns = conns;
    conn->sock = sock;
    conn->timer.cb = on_timeout;
    conn->deferred.cb = on_deferred;
    h2o_linklist_insert(&conns->list, &conn->link);
    sock->data = conn;
    set_timeouts(conns); /* a reload may have changed them */
    advance(conn);
}

/* libh2o puts a chunked coding of its own in front of every answer of unknown length; these connections frame bodies
 * themselves. */
static void drop_filters(h2o_globalconf_t *config)
{
    for (h2o_hostconf_t **host = config->hosts; *host != NULL; host++) {
        (*host)->fallback_path.filters.size = 0;
        for (size_t i = 0; i < (*host)->paths.size; i++)
            (*host)->paths.entries[i].filters.size = 0;
    }
}

struct http1_conns *http1_conns_create(struct worker *worker, http1_preface_fn preface)
{
    struct http1_conns *conns = mem_calloc(1, sizeof(*conns));
    h2o_loop_t *loop = worker->h2o.loop;
    conns->worker = worker;
    conns->preface = preface;
    h2o_linklist_init_anchor(&conns->list);
    h2o_timeout_init(loop, &conns->head_timeout, 0);
    h2o_timeout_init(loop, &conns->body_timeout, 0);
    h2o_timeout_init(loop, &conns->idle_timeout, 0);
    h2o_timeout_init(loop, &conns->linger_timeout, LINGER_MS);
    set_timeouts(conns);
    drop_filters(&worker->h2o_config);
    return conns;
}

/* What lies in the kernel too: closing would answer it with a reset. */
static bool has_spoken(const struct http1_conn *conn)
{
    char first;
    return conn->sock->input->size > 0 || recv(h2o_socket_get_fd(conn->sock), &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void http1_conns_drain(struct http1_conns *conns)
{
    h2o_linklist_t *next;
    for (h2o_linklist_t *node = conns->list.next; node != &conns->list; node = next) {
        struct http1_conn *conn = H2O_STRUCT_FROM_MEMBER(struct http1_conn, link, node);
        next = node->next;
        if (conn->phase == PHASE_HEAD && !has_spoken(conn))
            close_now(conn);
    }
}

void http1_conns_destroy(struct http1_conns **conns)
{
    struct http1_conns *old = *conns;
    if (old == NULL)
        return;
    while (!h2o_linklist_is_empty(&old->list))
        close_now(H2O_STRUCT_FROM_MEMBER(struct http1_conn, link, old->list.next));
    h2o_loop_t *loop = old->worker->h2o.loop;
    h2o_timeout_dispose(loop, &old->head_timeout);
    h2o_timeout_dispose(loop, &old->body_timeout);
    h2o_timeout_dispose(loop, &old->idle_timeout);
    h2o_timeout_dispose(loop, &old->linger_timeout);
    free(old);
    *conns = NULL;
}
