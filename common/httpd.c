/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4 */
#include "common/httpd_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/http_status.h"
#include "common/invariant.h"
#include "common/json_text.h"
#include "common/percent.h"
#include "common/secret.h"

#define MOST_CONNECTIONS 1024
#define HEAD_LIMIT       (16 * 1024)
#define SLOW_MS          10000
#define IDLE_US          75000000ULL
#define SWEEP_US         1000000ULL

/* --- connections ------------------------------------------------------------------------------------------------- */

static void connection_free(struct httpd_request *request)
{
    struct httpd *httpd = request->httpd;
    if (request->before != NULL)
        request->before->after = request->after;
    else
        httpd->connections = request->after;
    if (request->after != NULL)
        request->after->before = request->before;
    if (httpd->connection_count-- == MOST_CONNECTIONS)
        sd_event_source_set_enabled(httpd->acceptor, SD_EVENT_ON);
    buf_free(&request->in);
    buf_free(&request->out);
    buf_free(&request->path);
    buf_free(&request->added);
    free(request);
}

void httpd_hang_up(struct httpd_request *request)
{
    if (request->fd >= 0) {
        request->source = sd_event_source_disable_unref(request->source);
        close(request->fd);
        request->fd = -1;
    }
    if (request->phase == PHASE_HANDLING || request->in_handler)
        return;
    httpd_stream_gone_fn gone = request->stream.gone;
    void *arg = request->stream.arg;
    connection_free(request);
    if (gone != NULL)
        gone(arg);
}

void httpd_listen_for(struct httpd_request *request, uint32_t events)
{
    if (request->fd < 0 || request->armed == events)
        return;
    request->armed = events;
    sd_event_source_set_io_events(request->source, events);
}

void httpd_set_deadline(struct httpd_request *request, uint64_t in_us)
{
    request->deadline_us = in_us == UINT64_MAX ? UINT64_MAX : clock_monotonic_us() + in_us;
}

bool httpd_drain(struct httpd_request *request, uint32_t events)
{
    char scrap[4096];
    ssize_t n = events & EPOLLIN ? recv(request->fd, scrap, sizeof(scrap), MSG_DONTWAIT) : 1;
    return (events & (EPOLLERR | EPOLLHUP)) == 0 && (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

bool httpd_flush(struct httpd_request *request)
{
    while (request->fd >= 0 && request->sent < request->out.len) {
        ssize_t n = send(request->fd, request->out.base + request->sent, request->out.len - request->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        request->sent += (size_t)n;
        httpd_set_deadline(request, request->httpd->slow_us);
    }
    if (request->sent == request->out.len)
        request->sent = request->out.len = 0;
    return true;
}

static void end_request(struct httpd_request *request)
{
    buf_consume(&request->in, request->raw);
    request->head.size = request->raw = request->body_len = request->scanned = 0;
    request->chunked = (struct http1_chunked){0};
    request->phase = PHASE_HEAD;
    httpd_set_deadline(request, request->in.len > 0 ? request->httpd->slow_us : IDLE_US);
}

/* Sends what can be sent, and then goes on with the next request, or hangs up. */
static void answer(struct httpd_request *request)
{
    request->phase = PHASE_ANSWERING;
    bool alive = request->fd >= 0 && httpd_flush(request);
    if (alive && request->out.len > 0) {
        httpd_listen_for(request, EPOLLOUT);
        return;
    }
    if (alive && request->refused) {
        request->phase = PHASE_LINGERING;
        shutdown(request->fd, SHUT_WR);
        httpd_listen_for(request, EPOLLIN);
        return;
    }
    if (!alive || request->close_after) {
        httpd_hang_up(request);
        return;
    }
    end_request(request);
    /* For what is here already the loop comes back: whoever answers outside a handler may be taking itself apart. */
    bool goes_on = !request->in_handler && request->in.len > 0;
    httpd_listen_for(request, goes_on ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void httpd_add_header(struct httpd_request *request, const char *name, const char *value)
{
    INVARIANT(strpbrk(value, "\r\n") == NULL);
    buf_printf(&request->added, "%s: %s\r\n", name, value);
}

void httpd_respond(struct httpd_request *request, int status, const char *content_type, struct str body)
{
    INVARIANT(request->phase == PHASE_HANDLING);
    httpd_set_deadline(request, request->httpd->slow_us);
    buf_printf(&request->out, "HTTP/1.1 %d %s\r\n", status, http_status_reason(status));
    if (content_type != NULL)
        buf_printf(&request->out, "Content-Type: %s\r\n", content_type);
    if (status == 401)
        buf_append_str(&request->out, STR_LIT("WWW-Authenticate: Bearer\r\n"));
    buf_append_str(&request->out, buf_str(&request->added));
    request->added.len = 0;
    if (status != 204 && status != 304)
        buf_printf(&request->out, "Content-Length: %zu\r\n", body.len);
    buf_append_str(&request->out, request->close_after ? STR_LIT("Connection: close\r\n\r\n") : STR_LIT("\r\n"));
    if (!str_equal(request->head.method, STR_LIT("HEAD")) && status != 204 && status != 304)
        buf_append_str(&request->out, body);
    answer(request);
}

void httpd_respond_problem(struct httpd_request *request, int status, const char *name, const char *detail)
{
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"urn:ldcgate:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":", name,
               http_status_reason(status), status);
    json_append_text(&body, str_of(detail));
    buf_append_str(&body, STR_LIT("}\n"));
    httpd_respond(request, status, "application/problem+json", buf_str(&body));
    buf_free(&body);
}

/* What could not be read as a request ends the connection. */
static void refuse(struct httpd_request *request, int status, const char *name, const char *detail)
{
    request->phase = PHASE_HANDLING;
    request->close_after = request->refused = true;
    httpd_respond_problem(request, status, name, detail);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

static struct str target_query(const struct httpd_request *request)
{
    struct str target = request->head.target;
    const char *mark = memchr(target.base, '?', target.len);
    return mark ? (struct str){mark + 1, target.len - (size_t)(mark + 1 - target.base)} : (struct str){NULL, 0};
}

static struct str target_path(const struct httpd_request *request)
{
    struct str target = request->head.target, query = target_query(request);
    return (struct str){target.base, query.base ? (size_t)(query.base - 1 - target.base) : target.len};
}

static bool route_takes(const struct httpd_route *route, struct str path)
{
    struct str pattern = str_of(route->path);
    return str_equal(path, pattern) || (pattern.base[pattern.len - 1] == '/' && str_starts(path, pattern));
}

static bool method_fits(const struct httpd_route *route, struct str method)
{
    return route->method == NULL || str_equal(method, str_of(route->method)) ||
           (str_equal(method, STR_LIT("HEAD")) && strcmp(route->method, "GET") == 0);
}

static bool token_fits(const struct httpd_request *request)
{
    struct str given = httpd_request_header(request, "authorization");
    if (given.len < 7 || !str_equal_nocase((struct str){given.base, 7}, STR_LIT("bearer ")))
        return false;
    return secret_equal((struct str){given.base + 7, given.len - 7}, str_of(request->httpd->token));
}

/* ALLOWED: the methods of the routes that take the path, or nothing. */
static void refuse_route(struct httpd_request *request, struct str allowed)
{
    if (allowed.len == 0) {
        httpd_respond_problem(request, 404, "not-found", "There is no such resource.");
        return;
    }
    httpd_add_header(request, "Allow", allowed.base);
    httpd_respond_problem(request, 405, "method-not-allowed", "This resource does not take that method.");
}

static void dispatch_route(struct httpd_request *request, const struct httpd_route *route)
{
    if (request->httpd->token != NULL && !route->open && !token_fits(request))
        httpd_respond_problem(request, 401, "unauthorized", "A bearer token is needed.");
    else
        route->handle(request, request->httpd->context);
}

static void dispatch(struct httpd_request *request)
{
    const struct httpd *httpd = request->httpd;
    const struct httpd_route *route = NULL;
    struct buf allowed = {0};
    request->phase = PHASE_HANDLING;
    request->close_after = !request->head.keep_alive;
    httpd_set_deadline(request, UINT64_MAX);
    if (!percent_decode(target_path(request), false, &request->path)) {
        httpd_respond_problem(request, 400, "bad-request", "The path holds a broken percent-escape.");
        return;
    }
    for (size_t i = 0; i < httpd->route_count && route == NULL; i++)
        if (route_takes(&httpd->routes[i], buf_str(&request->path))) {
            if (method_fits(&httpd->routes[i], request->head.method))
                route = &httpd->routes[i];
            else
                buf_printf(&allowed, "%s%s", allowed.len > 0 ? ", " : "", httpd->routes[i].method);
        }
    if (route != NULL)
        dispatch_route(request, route);
    else
        refuse_route(request, buf_str(&allowed));
    buf_free(&allowed);
}

static int refusal_status(enum http1_verdict verdict)
{
    static const int statuses[] = {
        [HTTP1_BAD_REQUEST] = 400, [HTTP1_HEAD_TOO_LARGE] = 431, [HTTP1_URI_TOO_LONG] = 414,
        [HTTP1_BAD_VERSION] = 505, [HTTP1_UNKNOWN_CODING] = 501, [HTTP1_UNKNOWN_EXPECTATION] = 417,
    };
    return statuses[verdict];
}

static bool is_for_all(const struct httpd_request *request)
{
    const struct httpd *httpd = request->httpd;
    struct str path = target_path(request);
    for (size_t i = 0; i < httpd->route_count; i++)
        if (route_takes(&httpd->routes[i], path) && method_fits(&httpd->routes[i], request->head.method))
            return httpd->routes[i].open && httpd->routes[i].method == NULL;
    return false;
}

/* Strangers' bodies are not kept: many connections with one each would fill the memory. */
static bool may_send_body(const struct httpd_request *request)
{
    return request->httpd->token == NULL || token_fits(request) || is_for_all(request);
}

static bool read_head(struct httpd_request *request)
{
    enum http1_verdict verdict = http1_parse_head(buf_str(&request->in), HEAD_LIMIT, request->scanned, &request->head);
    request->scanned = request->in.len;
    if (verdict == HTTP1_PARTIAL)
        return false;
    if (verdict != HTTP1_COMPLETE) {
        request->head.method = (struct str){NULL, 0};
        refuse(request, refusal_status(verdict), "bad-request",
               request->head.fault ? request->head.fault : "The request is malformed.");
        return false;
    }
    request->raw = request->head.size;
    request->phase = PHASE_BODY;
    if ((request->head.chunked || request->head.content_length > 0) && !may_send_body(request)) {
        refuse(request, 401, "unauthorized", "A bearer token is needed.");
        return false;
    }
    if (request->head.expect_continue && request->in.len == request->head.size)
        buf_append_str(&request->out, STR_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    return httpd_flush(request);
}

/* True when the whole body is there: BODY_LEN bytes behind the head; `raw` is where the next request starts. */
static bool read_body(struct httpd_request *request)
{
    struct httpd *httpd = request->httpd;
    size_t head = request->head.size;
    enum http1_verdict verdict = HTTP1_COMPLETE;
    if (request->head.chunked) {
        size_t len = request->in.len - request->raw, used = len;
        char *at = request->in.base + request->raw;
        verdict = http1_decode_chunked(&request->chunked, at, &len, &used);
        size_t left = request->in.len - request->raw - used;
        memmove(at + len, at + used, left);
        request->in.len = request->raw + len + left;
        request->raw += len;
        request->body_len = request->raw - head;
    } else {
        request->body_len = request->head.has_length ? request->head.content_length : 0;
        request->raw = head + request->body_len;
    }
    if (request->body_len > httpd->most_body) {
        refuse(request, 413, "body-too-large", "The body is longer than this listener takes.");
        return false;
    }
    if (verdict != HTTP1_COMPLETE && verdict != HTTP1_PARTIAL) {
        refuse(request, refusal_status(verdict), "bad-request", "The chunked body is malformed.");
        return false;
    }
    return verdict == HTTP1_COMPLETE && request->in.len >= request->raw;
}

/* Takes requests from what has arrived, one after the other, until bytes are missing or an answer is due. */
static void serve(struct httpd_request *request)
{
    while (request->fd >= 0 && (request->phase == PHASE_HEAD || request->phase == PHASE_BODY)) {
        if (request->phase == PHASE_HEAD && (request->in.len == 0 || !read_head(request)))
            return;
        if (!read_body(request))
            return;
        request->in_handler = true;
        dispatch(request);
        request->in_handler = false;
        if (request->fd < 0 && request->phase != PHASE_HANDLING) {
            httpd_hang_up(request);
            return;
        }
    }
}

static void readable(struct httpd_request *request)
{
    char *before = request->in.base, *room = buf_reserve(&request->in, 16 * 1024);
    if (request->phase == PHASE_BODY && request->in.base != before) /* the head's texts point into the buffer */
        INVARIANT(http1_parse_head(buf_str(&request->in), HEAD_LIMIT, 0, &request->head) == HTTP1_COMPLETE);
    ssize_t n = recv(request->fd, room, 16 * 1024, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        httpd_hang_up(request);
        return;
    }
    if (request->in.len == 0)
        httpd_set_deadline(request, request->httpd->slow_us);
    request->in.len += (size_t)n;
    serve(request);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)fd;
    struct httpd_request *request = arg;
    if (request->phase == PHASE_STREAM)
        httpd_stream_ready(request, events);
    else if (request->phase == PHASE_LINGERING) {
        if (!httpd_drain(request, events))
            httpd_hang_up(request);
    } else if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN))
        httpd_hang_up(request);
    else if (request->phase == PHASE_ANSWERING)
        answer(request);
    else if (request->phase == PHASE_HANDLING)
        httpd_listen_for(request, 0); /* pipelined bytes wait; only a hang-up is still of interest */
    else if (events & EPOLLOUT) {
        httpd_listen_for(request, EPOLLIN);
        serve(request);
    } else
        readable(request);
    return 0;
}

/* --- the server -------------------------------------------------------------------------------------------------- */

static int on_accept(sd_event_source *source, int listener, uint32_t events, void *arg)
{
    (void)events;
    struct httpd *httpd = arg;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (descriptors_are_out(errno, "the admin listener"))
            sd_event_source_set_enabled(source, SD_EVENT_OFF); /* until the sweep: it would spin */
        return 0;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct httpd_request *request = mem_calloc(1, sizeof(*request));
    request->httpd = httpd;
    request->fd = fd;
    request->armed = EPOLLIN;
    request->after = httpd->connections;
    if (request->after != NULL)
        request->after->before = request;
    httpd->connections = request;
    httpd_set_deadline(request, request->httpd->slow_us);
    INVARIANT(sd_event_add_io(httpd->loop, &request->source, fd, EPOLLIN, on_ready, request) >= 0);
    if (++httpd->connection_count == MOST_CONNECTIONS)
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

/* With a reset: what is in the kernel's buffers would else stay there for a peer that does not take it. */
static void cut_off(struct httpd_request *request)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (request->out.len > 0)
        (void)setsockopt(request->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    httpd_hang_up(request);
}

static int on_sweep(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct httpd *httpd = arg;
    uint64_t now_us = clock_monotonic_us();
    for (struct httpd_request *request = httpd->connections; request != NULL;) {
        struct httpd_request *after = request->after;
        if (request->fd >= 0 && now_us > request->deadline_us)
            cut_off(request);
        request = after;
    }
    if (httpd->connection_count < MOST_CONNECTIONS)
        sd_event_source_set_enabled(httpd->acceptor, SD_EVENT_ON);
    sd_event_source_set_time(source, now_us + httpd->sweep_us);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

struct httpd *httpd_create(sd_event *loop, const struct httpd_config *config, struct error *err)
{
    struct httpd_listen listener;
    if (config->token != NULL && *config->token == '\0') {
        error_set(err, ERROR_INPUT, "the token for %s is empty", config->listen);
        return NULL;
    }
    if (httpd_listen_open(&listener, config->listen, config->token != NULL, err) != 0)
        return NULL;
    struct httpd *httpd = mem_calloc(1, sizeof(*httpd));
    httpd->loop = sd_event_ref(loop);
    httpd->listen = listener;
    httpd->token = config->token ? str_dup(str_of(config->token)) : NULL;
    httpd->routes = config->routes;
    httpd->route_count = config->route_count;
    httpd->context = config->context;
    httpd->most_body = config->most_body;
    httpd->slow_us = (uint64_t)(config->slow_ms ? config->slow_ms : SLOW_MS) * 1000;
    httpd->sweep_us = httpd->slow_us < 2 * SWEEP_US ? httpd->slow_us / 2 : SWEEP_US;
    INVARIANT(sd_event_add_io(loop, &httpd->acceptor, listener.fd, EPOLLIN, on_accept, httpd) >= 0);
    INVARIANT(sd_event_add_time_relative(loop, &httpd->sweeper, CLOCK_MONOTONIC, httpd->sweep_us, 0, on_sweep, httpd) >=
              0);
    return httpd;
}

void httpd_destroy(struct httpd **httpd_p)
{
    struct httpd *httpd = *httpd_p;
    if (httpd == NULL)
        return;
    *httpd_p = NULL;
    while (httpd->connections != NULL) {
        httpd->connections->phase = PHASE_HEAD;
        httpd->connections->stream.gone = NULL;
        httpd_hang_up(httpd->connections);
    }
    sd_event_source_disable_unref(httpd->acceptor);
    sd_event_source_disable_unref(httpd->sweeper);
    httpd_listen_close(&httpd->listen);
    sd_event_unref(httpd->loop);
    free(httpd->token);
    free(httpd);
}

unsigned httpd_port(const struct httpd *httpd)
{
    return httpd->listen.port;
}

struct str httpd_request_method(const struct httpd_request *request)
{
    return request->head.method;
}

struct str httpd_request_path(const struct httpd_request *request)
{
    return buf_str(&request->path);
}

bool httpd_request_query(const struct httpd_request *request, const char *name, struct buf *out)
{
    return percent_query(target_query(request), name, out);
}

struct str httpd_request_header(const struct httpd_request *request, const char *name)
{
    for (size_t i = 0; i < request->head.header_count; i++)
        if (str_equal_nocase(request->head.headers[i].name, str_of(name)))
            return request->head.headers[i].value;
    return (struct str){NULL, 0};
}

struct str httpd_request_body(const struct httpd_request *request)
{
    return (struct str){request->in.base + request->head.size, request->body_len};
}
