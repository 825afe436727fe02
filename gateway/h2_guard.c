/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_guard.h"

#include <h2o/http2.h>
#include <h2o/http2_internal.h>
#include <stdlib.h>

#include "common/log.h"
#include "gateway/exchange.h"
#include "gateway/gateway.h"
#include "gateway/h2_fields.h"

#define WINDOW_MS       10000
#define LINGER_MS       1000 /* for the client to read why, before its socket is closed */
#define LOG_INTERVAL_MS 1000
#define BODY_BLOCK      4096 /* bodies are counted in blocks of so many bytes */
#define FRAME_WORTH     1024 /* an answer's bytes that excuse one frame, such as the WINDOW_UPDATE for them */

typedef ssize_t (*expect_fn)(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err_desc);

struct h2_guards {
    struct worker *worker;
    h2o_timeout_entry_t sweep;
    uint64_t logged_ms;
    uint64_t draining_ms; /* since when; 0: not */
};

/* Stands between libh2o's reader and its frame handlers: conn->_read_expect, which libh2o calls for each frame, is the
 * guard's watch(), and `inner` is what libh2o would have there. */
struct h2_guard {
    struct h2_guards *guards;
    expect_fn inner;
    void (*on_close)(void *data); /* the listener's */
    void *on_close_data;
    bool prefaced;
    uint64_t accepted_ms, closing_ms; /* 0: not closing */
    size_t block_bytes;               /* of the header block that comes in now */
    uint64_t block_ms;                /* when it began; 0: none does */
    uint64_t opened, cancelled;       /* streams, ever */
    struct {
        uint64_t began_ms, cancelled, completed;
        size_t written;
    } window;                 /* the counts above when the current ten seconds began */
    uint64_t frames;          /* without worth of their own, in the current window */
    uint64_t taken, taken_ms; /* answers' bytes that the client let through, and when last some */
};

static uint64_t now_ms(const h2o_http2_conn_t *conn)
{
    return h2o_now(conn->super.ctx->loop);
}

static struct h2_guard *guard_of(const h2o_http2_conn_t *conn)
{
    return conn->sock->on_close.data;
}

static const struct gateway_config *config_of(const struct h2_guard *guard)
{
    return &guard->guards->worker->gateway->config;
}

/* --- ending a connection --------------------------------------------------------------------------------------- */

static void tell(struct h2_guard *guard, h2o_http2_conn_t *conn, const char *why)
{
    struct h2_guards *guards = guard->guards;
    struct sockaddr_storage address = {0};
    char host[NI_MAXHOST] = "unknown";
    if (guards->logged_ms + LOG_INTERVAL_MS > now_ms(conn))
        return;
    guards->logged_ms = now_ms(conn);
    socklen_t len = h2o_socket_getpeername(conn->sock, (struct sockaddr *)&address);
    size_t host_len = len > 0 ? h2o_socket_getnumerichost((struct sockaddr *)&address, len, host) : SIZE_MAX;
    log_warning("ingress.http2_flood", "ended an HTTP/2 connection of %.*s: %s",
                host_len == SIZE_MAX ? (int)strlen(host) : (int)host_len, host, why);
}

/* GOAWAY now; what comes after is read and dropped for a while, since a close with unread bytes would reset the
 * connection before the client has read the GOAWAY. */
static void calm(struct h2_guard *guard, h2o_http2_conn_t *conn, const char *why)
{
    if (guard->closing_ms != 0)
        return;
    guard->closing_ms = now_ms(conn);
    stat_add(&guard->guards->worker->stats.http2_guard_closes_total, 1);
    tell(guard, conn, why);
    h2o_http2_encode_goaway_frame(&conn->_write.buf, conn->pull_stream_ids.max_open, H2O_HTTP2_ERROR_ENHANCE_YOUR_CALM,
                                  h2o_iovec_init(why, strlen(why)));
    h2o_http2_conn_request_write(conn);
}

/* libh2o's reader or writer finds the socket dead and closes the connection. */
static void cut(h2o_http2_conn_t *conn)
{
    shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
}

/* --- bodies ---------------------------------------------------------------------------------------------------- */

struct body_block {
    struct worker *worker;
    size_t bytes;
};

static void count_body(struct worker *worker, int64_t bytes)
{
    stat_value *gauge = &worker->stats.request_body_bytes;
    atomic_fetch_add_explicit(&worker->gateway->body_bytes, (uint64_t)bytes, memory_order_relaxed);
    stat_set(gauge, stat_get(gauge) + (uint64_t)bytes);
}

static void release_block(void *chunk)
{
    struct body_block *block = chunk;
    count_body(block->worker, -(int64_t)block->bytes);
}

/* The request's pool gives the blocks back, whichever way the request ends. */
static bool charge(struct worker *worker, h2o_http2_stream_t *stream, size_t more)
{
    size_t size = stream->_req_body->size, blocks = (size + BODY_BLOCK - 1) / BODY_BLOCK;
    size_t fresh = (size + more + BODY_BLOCK - 1) / BODY_BLOCK - blocks;
    if (fresh == 0)
        return true;
    struct body_block *block = h2o_mem_alloc_shared(&stream->req.pool, sizeof(*block), release_block);
    *block = (struct body_block){worker, fresh * BODY_BLOCK};
    count_body(worker, (int64_t)block->bytes);
    return atomic_load_explicit(&worker->gateway->body_bytes, memory_order_relaxed) <=
           (uint64_t)worker->gateway->config.limits.bodies_total;
}

/* Answers a stream whose body is still coming in. */
static void answer_early(struct worker *worker, h2o_http2_conn_t *conn, h2o_http2_stream_t *stream,
                         enum verdict verdict)
{
    h2o_hostconf_t *host = conn->super.hosts[0];
    h2o_http2_stream_set_state(conn, stream, H2O_HTTP2_STREAM_STATE_REQ_PENDING);
    h2o_http2_stream_set_state(conn, stream, H2O_HTTP2_STREAM_STATE_SEND_HEADERS);
    h2o_req_bind_conf(&stream->req, host, &host->fallback_path);
    stat_add(&worker->stats.requests_malformed_total, 1);
    problem_send(worker, &stream->req, verdict, NULL);
}

/* DATA that no handler will read still uses up the connection's window. */
static void give_back_window(h2o_http2_conn_t *conn, size_t bytes)
{
    h2o_http2_window_consume_window(&conn->_input_window, bytes);
    if (bytes == 0)
        return;
    h2o_http2_encode_window_update_frame(&conn->_write.buf, 0, (int32_t)bytes);
    h2o_http2_window_update(&conn->_input_window, (ssize_t)bytes);
    h2o_http2_conn_request_write(conn);
}

/* False where libh2o must not see the DATA: its stream was answered already, or is now. */
static bool admit_data(struct h2_guard *guard, h2o_http2_conn_t *conn, const h2o_http2_frame_t *frame)
{
    struct worker *worker = guard->guards->worker;
    h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(conn, frame->stream_id);
    if (stream == NULL || stream->_req_body == NULL)
        return true;
    if (stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY) {
        if (stream->_req_body->size + frame->length > (size_t)config_of(guard)->limits.body)
            answer_early(worker, conn, stream, VERDICT_BODY_TOO_LARGE);
        else if (!charge(worker, stream, frame->length))
            answer_early(worker, conn, stream, VERDICT_BODIES_FULL);
        else
            return true;
    } else if (stream->req.entity.base != NULL) {
        return true; /* behind its END_STREAM: the client's fault, and libh2o's business */
    }
    give_back_window(conn, frame->length);
    return false;
}

/* --- counting -------------------------------------------------------------------------------------------------- */

static uint64_t completed(const struct h2_guard *guard, const h2o_http2_conn_t *conn)
{
    return guard->opened - guard->cancelled - conn->num_streams.pull.open;
}

static void roll_window(struct h2_guard *guard, const h2o_http2_conn_t *conn)
{
    if (now_ms(conn) - guard->window.began_ms < WINDOW_MS)
        return;
    guard->window.began_ms = now_ms(conn);
    guard->window.cancelled = guard->cancelled;
    guard->window.completed = completed(guard, conn);
    guard->window.written = conn->sock->bytes_written;
    guard->frames = 0;
}

static bool is_empty_data(const h2o_http2_frame_t *frame)
{
    size_t padding = (frame->flags & H2O_HTTP2_FRAME_FLAG_PADDED) && frame->length > 0 ? 1u + frame->payload[0] : 0;
    return frame->length <= padding && (frame->flags & H2O_HTTP2_FRAME_FLAG_END_STREAM) == 0;
}

/* Frames that cost work and bring a request no further. */
static bool is_overhead(h2o_http2_conn_t *conn, const h2o_http2_frame_t *frame)
{
    switch (frame->type) {
    case H2O_HTTP2_FRAME_TYPE_DATA:
        return is_empty_data(frame);
    case H2O_HTTP2_FRAME_TYPE_HEADERS:
        return frame->length == 0;
    case H2O_HTTP2_FRAME_TYPE_RST_STREAM:
        return h2o_http2_conn_get_stream(conn, frame->stream_id) == NULL;
    default:
        return true;
    }
}

/* What the client must stop doing, or NULL. */
static const char *judge_frame(struct h2_guard *guard, h2o_http2_conn_t *conn, const h2o_http2_frame_t *frame)
{
    const struct gateway_config *config = config_of(guard);
    roll_window(guard, conn);
    if (is_overhead(conn, frame))
        guard->frames++;
    size_t excused = (conn->sock->bytes_written - guard->window.written) / FRAME_WORTH;
    if (guard->frames > (uint64_t)config->limits.http2_frames + excused)
        return "too many control or empty frames";
    if (frame->type == H2O_HTTP2_FRAME_TYPE_HEADERS)
        guard->block_bytes = 0;
    if (frame->type != H2O_HTTP2_FRAME_TYPE_HEADERS && frame->type != H2O_HTTP2_FRAME_TYPE_CONTINUATION)
        return NULL;
    guard->block_bytes += frame->length;
    if ((frame->flags & H2O_HTTP2_FRAME_FLAG_END_HEADERS) != 0)
        guard->block_ms = 0;
    else if (guard->block_ms == 0)
        guard->block_ms = now_ms(conn);
    return guard->block_bytes > (size_t)config->limits.head ? "a header block beyond the limit" : NULL;
}

static bool is_running(const h2o_http2_stream_t *stream)
{
    return stream != NULL && stream->state > H2O_HTTP2_STREAM_STATE_IDLE &&
           stream->state < H2O_HTTP2_STREAM_STATE_END_STREAM;
}

/* Not only RST_STREAM cancels: any frame does that makes libh2o reset the stream for the client's fault. */
static const char *judge_outcome(struct h2_guard *guard, h2o_http2_conn_t *conn, bool was_running, bool opened,
                                 uint32_t stream_id)
{
    bool runs = is_running(h2o_http2_conn_get_stream(conn, stream_id));
    guard->opened += opened;
    guard->cancelled += (was_running || opened) && !runs;
    uint64_t cancelled = guard->cancelled - guard->window.cancelled, done = completed(guard, conn);
    uint64_t excused = done > guard->window.completed ? done - guard->window.completed : 0;
    return cancelled > (uint64_t)config_of(guard)->limits.http2_cancels + excused ? "too many cancelled streams" : NULL;
}

/* --- windows --------------------------------------------------------------------------------------------------- */

/* libh2o ends the program where a window opens whose stream waits for its last bytes to be written, and never ends a
 * stream that has nothing but its end to send where its window closes, by CHANGE, before. Neither needs a window: it
 * gets one. */
static void spare_stream(h2o_http2_stream_t *stream, ssize_t change)
{
    ssize_t window = h2o_http2_window_get_window(&stream->output_window);
    bool ends = stream->state == H2O_HTTP2_STREAM_STATE_SEND_BODY_IS_FINAL &&
                !h2o_http2_stream_has_pending_data(stream) && window - change > 0;
    if (window <= 0 && (ends || stream->state == H2O_HTTP2_STREAM_STATE_END_STREAM))
        h2o_http2_window_update(&stream->output_window, 1 - window);
}

/* To be called before libh2o takes FRAME, and, where it changes all windows, after. */
static void spare_streams(h2o_http2_conn_t *conn, const h2o_http2_frame_t *frame, ssize_t change)
{
    h2o_http2_stream_t *stream;
    if (frame->type == H2O_HTTP2_FRAME_TYPE_WINDOW_UPDATE &&
        (stream = h2o_http2_conn_get_stream(conn, frame->stream_id)) != NULL)
        spare_stream(stream, change);
    for (khiter_t at = 0; frame->type == H2O_HTTP2_FRAME_TYPE_SETTINGS && at < kh_end(conn->streams); at++)
        if (kh_exist(conn->streams, at))
            spare_stream(kh_val(conn->streams, at), change);
}

/* --- watching -------------------------------------------------------------------------------------------------- */

static ssize_t watch(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err_desc);

static ssize_t pass(struct h2_guard *guard, h2o_http2_conn_t *conn, const uint8_t *src, size_t len,
                    const char **err_desc)
{
    conn->_read_expect = guard->inner;
    ssize_t taken = guard->inner(conn, src, len, err_desc);
    guard->inner = conn->_read_expect;
    conn->_read_expect = watch;
    return taken;
}

static ssize_t pass_frame(struct h2_guard *guard, h2o_http2_conn_t *conn, const uint8_t *src, size_t len,
                          const h2o_http2_frame_t *frame, const char **err_desc)
{
    uint32_t newest = conn->pull_stream_ids.max_open, id = frame->stream_id;
    h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(conn, id);
    bool was_running = is_running(stream);
    ssize_t window = conn->peer_settings.initial_window_size;
    if (frame->type == H2O_HTTP2_FRAME_TYPE_HEADERS && was_running)
        h2_fields_expect_trailers(&stream->req);
    spare_streams(conn, frame, 0);
    ssize_t taken = pass(guard, conn, src, len, err_desc);
    if (taken < 0)
        return taken;
    spare_streams(conn, frame, (ssize_t)conn->peer_settings.initial_window_size - window);
    const char *fault = judge_outcome(guard, conn, was_running, conn->pull_stream_ids.max_open > newest, id);
    stream = h2o_http2_conn_get_stream(conn, id);
    if (fault != NULL)
        calm(guard, conn, fault);
    else if (!was_running && stream != NULL && stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY &&
             stream->_expected_content_length != SIZE_MAX &&
             stream->_expected_content_length > (size_t)config_of(guard)->limits.body)
        answer_early(guard->guards->worker, conn, stream, VERDICT_BODY_TOO_LARGE);
    return taken;
}

/* Called for each frame, or a part of one, at SRC; returns the bytes that are done with, or an error of libh2o's. */
static ssize_t watch(h2o_http2_conn_t *conn, const uint8_t *src, size_t len, const char **err_desc)
{
    struct h2_guard *guard = guard_of(conn);
    h2o_http2_frame_t frame;
    const char *unused;
    if (guard->closing_ms != 0)
        return (ssize_t)len;
    if (!guard->prefaced) {
        ssize_t taken = pass(guard, conn, src, len, err_desc);
        guard->prefaced = taken > 0;
        return taken;
    }
    ssize_t size = h2o_http2_decode_frame(&frame, src, len, &H2O_HTTP2_SETTINGS_HOST, &unused);
    if (size < 0) /* in part, or too large: libh2o says so */
        return pass(guard, conn, src, len, err_desc);
    const char *fault = judge_frame(guard, conn, &frame);
    if (fault != NULL) {
        calm(guard, conn, fault);
        return (ssize_t)len;
    }
    if (frame.type == H2O_HTTP2_FRAME_TYPE_DATA && !admit_data(guard, conn, &frame))
        return size;
    if (frame.type > H2O_HTTP2_FRAME_TYPE_CONTINUATION && guard->block_ms == 0)
        return size; /* of an extension: to be ignored, and libh2o would write a line about each */
    ssize_t taken = pass_frame(guard, conn, src, len, &frame, err_desc);
    return taken != 0 ? taken : size; /* libh2o takes nothing of a block that goes on when it is retired */
}

/* --- time ------------------------------------------------------------------------------------------------------ */

static uint64_t age_ms(const struct timeval *from, const struct timeval *now)
{
    return (uint64_t)((now->tv_sec - from->tv_sec) * 1000 + (now->tv_usec - from->tv_usec) / 1000);
}

static void sweep_stream(struct h2_guard *guard, h2o_http2_conn_t *conn, h2o_http2_stream_t *stream)
{
    struct timeval *now = h2o_get_timestamp(conn->super.ctx, NULL, NULL);
    if (stream->state == H2O_HTTP2_STREAM_STATE_RECV_BODY &&
        age_ms(&stream->req.timestamps.request_body_begin_at, now) > (uint64_t)config_of(guard)->limits.body_timeout)
        answer_early(guard->guards->worker, conn, stream, VERDICT_TOO_SLOW);
}

/* Looks after the streams; true where answers wait for the client and it has taken nothing of them for too long. */
static bool sweep_streams(struct h2_guard *guard, h2o_http2_conn_t *conn)
{
    bool waiting = conn->_write.buf_in_flight != NULL;
    uint64_t taken = 0;
    for (khiter_t at = 0; at < kh_end(conn->streams); at++) {
        if (!kh_exist(conn->streams, at))
            continue;
        h2o_http2_stream_t *stream = kh_val(conn->streams, at);
        waiting |= h2o_http2_stream_has_pending_data(stream);
        taken += stream->req.bytes_sent;
        sweep_stream(guard, conn, stream);
    }
    if (!waiting || taken != guard->taken)
        guard->taken_ms = now_ms(conn);
    guard->taken = taken;
    return now_ms(conn) - guard->taken_ms > (uint64_t)config_of(guard)->limits.send_timeout;
}

static bool head_is_late(const struct h2_guard *guard, const h2o_http2_conn_t *conn)
{
    uint64_t since = guard->prefaced ? guard->block_ms : guard->accepted_ms;
    return since != 0 && now_ms(conn) - since > (uint64_t)config_of(guard)->limits.head_timeout;
}

static void put_goaway(h2o_http2_conn_t *conn, uint32_t last_stream)
{
    h2o_http2_encode_goaway_frame(&conn->_write.buf, last_stream, H2O_HTTP2_ERROR_NONE, h2o_iovec_init(NULL, 0));
    h2o_http2_conn_request_write(conn);
}

/* libh2o takes no more streams then, and closes the connection behind the last answer. */
static void retire(h2o_http2_conn_t *conn)
{
    if (conn->state != H2O_HTTP2_CONN_STATE_OPEN)
        return;
    put_goaway(conn, conn->pull_stream_ids.max_open);
    conn->state = H2O_HTTP2_CONN_STATE_HALF_CLOSED;
}

/* The client had a moment to read that it shall open no more streams. */
static bool is_to_retire(const struct h2_guard *guard, const h2o_http2_conn_t *conn)
{
    uint64_t draining_ms = guard->guards->draining_ms;
    uint64_t since = draining_ms > guard->accepted_ms ? draining_ms : guard->accepted_ms;
    return draining_ms != 0 && now_ms(conn) - since >= LINGER_MS;
}

static void sweep_connection(h2o_http2_conn_t *conn)
{
    struct h2_guard *guard = guard_of(conn);
    if (conn->state == H2O_HTTP2_CONN_STATE_IS_CLOSING)
        return;
    if (guard->closing_ms != 0) {
        if (now_ms(conn) - guard->closing_ms >= LINGER_MS)
            cut(conn);
    } else if (sweep_streams(guard, conn)) {
        cut(conn);
    } else if (head_is_late(guard, conn)) {
        calm(guard, conn, "a header block that does not end");
    } else if (is_to_retire(guard, conn)) {
        retire(conn);
    }
}

static void on_sweep(h2o_timeout_entry_t *entry)
{
    struct h2_guards *guards = H2O_STRUCT_FROM_MEMBER(struct h2_guards, sweep, entry);
    h2o_context_t *ctx = &guards->worker->h2o;
    for (h2o_linklist_t *node = ctx->http2._conns.next; node != &ctx->http2._conns; node = node->next)
        sweep_connection(H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node));
    if (!h2o_linklist_is_empty(&ctx->http2._conns))
        h2o_timeout_link(ctx->loop, &ctx->one_sec_timeout, &guards->sweep);
}

/* --- a guard's life -------------------------------------------------------------------------------------------- */

static void on_close(void *data)
{
    struct h2_guard *guard = data;
    if (guard->on_close != NULL)
        guard->on_close(guard->on_close_data);
    free(guard);
}

void h2_guards_accept(struct h2_guards *guards, h2o_socket_t *sock)
{
    h2o_context_t *ctx = &guards->worker->h2o;
    struct h2_guard *guard = mem_calloc(1, sizeof(*guard));
    guard->guards = guards;
    guard->accepted_ms = guard->window.began_ms = guard->taken_ms = h2o_now(ctx->loop);
    guard->on_close = sock->on_close.cb;
    guard->on_close_data = sock->on_close.data;
    sock->on_close.cb = on_close;
    sock->on_close.data = guard;
    h2o_buffer_t *early = sock->input; /* libh2o would read it before the guard is in place */
    h2o_buffer_init(&sock->input, &h2o_socket_buffer_prototype);
    h2o_http2_accept(&guards->worker->accept, sock, *h2o_get_timestamp(ctx, NULL, NULL));
    h2o_http2_conn_t *conn = sock->data;
    guard->inner = conn->_read_expect;
    conn->_read_expect = watch;
    if (!h2o_timeout_is_linked(&guards->sweep))
        h2o_timeout_link(ctx->loop, &ctx->one_sec_timeout, &guards->sweep);
    h2o_buffer_dispose(&sock->input);
    sock->input = early;
    if (early->size > 0)
        sock->_cb.read(sock, NULL);
}

struct h2_guards *h2_guards_create(struct worker *worker)
{
    struct h2_guards *guards = mem_calloc(1, sizeof(*guards));
    guards->worker = worker;
    guards->sweep.cb = on_sweep;
    return guards;
}

/* The first of two: the other one follows when the client has had time to read it. So for those that come later, too.
 */
void h2_guards_drain(struct h2_guards *guards)
{
    h2o_context_t *ctx = &guards->worker->h2o;
    guards->draining_ms = h2o_now(ctx->loop);
    for (h2o_linklist_t *node = ctx->http2._conns.next; node != &ctx->http2._conns; node = node->next)
        put_goaway(H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node), INT32_MAX);
}

/* The loop runs no more, so libh2o cannot close the connections; their requests must let go of the carriers. */
static void drop_requests(h2o_http2_conn_t *conn)
{
    conn->state = H2O_HTTP2_CONN_STATE_IS_CLOSING;
    for (khiter_t at = 0; at < kh_end(conn->streams); at++)
        if (kh_exist(conn->streams, at))
            h2o_http2_stream_close(conn, kh_val(conn->streams, at));
}

void h2_guards_destroy(struct h2_guards **guards)
{
    if (*guards == NULL)
        return;
    h2o_context_t *ctx = &(*guards)->worker->h2o;
    for (h2o_linklist_t *node = ctx->http2._conns.next; node != &ctx->http2._conns; node = node->next)
        drop_requests(H2O_STRUCT_FROM_MEMBER(h2o_http2_conn_t, _conns, node));
    h2o_timeout_unlink(&(*guards)->sweep);
    free(*guards);
    *guards = NULL;
}
