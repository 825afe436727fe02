/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/ingress_driver.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "gateway/exchange.h"
#include "gateway/h2_fields.h"
#include "gateway/http1_conn.h"
#include "gateway/listener.h"
#include "test/unit/redis_fixture.h"

#ifdef __SANITIZE_ADDRESS__
/* libh2o keeps buffers in thread-local lists, which go unreachable with their thread. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libh2o-evloop\n";
}
#endif

struct ingress ingress;
static pthread_t thread;
static bool http2_clear, hasty;
static _Atomic bool stopping, drain_asked, release_asked, still_asked, still;
static h2o_req_t *held; /* by /hold */

/* --- the handler ----------------------------------------------------------------------------------------------- */

struct stream {
    h2o_generator_t super;
    unsigned left;
    size_t size;
    char *piece;
};

static void count_dispose(void *chunk)
{
    (void)chunk;
    atomic_fetch_add(&ingress.disposed, 1);
}

static void send_piece(h2o_generator_t *self, h2o_req_t *req)
{
    struct stream *stream = (struct stream *)self;
    h2o_iovec_t piece = h2o_iovec_init(stream->piece, stream->size);
    atomic_fetch_add(&ingress.pieces, 1);
    stream->left--;
    h2o_send(req, &piece, 1, stream->left > 0 ? H2O_SEND_STATE_IN_PROGRESS : H2O_SEND_STATE_FINAL);
}

static void start_stream(h2o_req_t *req, unsigned pieces, size_t size, size_t length)
{
    struct stream *stream = h2o_mem_alloc_shared(&req->pool, sizeof(*stream), NULL);
    *stream = (struct stream){{send_piece, NULL}, pieces, size, h2o_mem_alloc_pool(&req->pool, size)};
    memset(stream->piece, 'x', size);
    req->res.status = 200;
    req->res.content_length = length;
    h2o_start_response(req, &stream->super);
    send_piece(&stream->super, req);
}

static void echo(h2o_req_t *req)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 512);
    int len =
        snprintf(text, 512, "%.*s %.*s host=%.*s body=%zu:%.*s", (int)req->method.len, req->method.base,
                 (int)req->path.len, req->path.base, (int)req->authority.len, req->authority.base, req->entity.len,
                 (int)(req->entity.len < 64 ? req->entity.len : 64), req->entity.base ? req->entity.base : "");
    req->res.status = 200;
    h2o_send_inline(req, text, (size_t)len);
}

static void count_fields(h2o_req_t *req)
{
    char text[32];
    req->res.status = 200;
    h2o_send_inline(req, text, (size_t)snprintf(text, sizeof(text), "fields=%zu", req->headers.size));
}

static void taken(void *arg, h2o_socket_t *sock);

static int on_req(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    atomic_fetch_add(&ingress.handled, 1);
    h2o_mem_alloc_shared(&req->pool, 1, count_dispose);
    struct str path = {req->path.base, req->path.len};
    const char *fault = NULL;
    enum verdict verdict = req->version >= 0x200 ? h2_fields_check(req, &fault) : VERDICT_OK;
    if (verdict != VERDICT_OK) {
        problem_send(&ingress.worker, req, verdict, fault);
        return 0;
    }
    if (str_starts(path, STR_LIT("/stream")))
        start_stream(req, 5, 4, SIZE_MAX);
    else if (str_starts(path, STR_LIT("/large")))
        start_stream(req, 256, 64 * 1024, SIZE_MAX);
    else if (str_starts(path, STR_LIT("/short")))
        start_stream(req, 2, 4, 100);
    else if (str_starts(path, STR_LIT("/long")))
        start_stream(req, 5, 4, 10);
    else if (str_starts(path, STR_LIT("/fields")))
        count_fields(req);
    else if (str_starts(path, STR_LIT("/hold")))
        held = req;
    else if (str_starts(path, STR_LIT("/upgrade")))
        http1_conn_upgrade(
            req, STR_LIT("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), taken, NULL);
    else
        echo(req);
    return 0;
}

/* What was taken is echoed until the client ends. */
static void close_taken(h2o_socket_t *sock, const char *err)
{
    (void)err;
    h2o_socket_close(sock);
}

static void echo_taken(h2o_socket_t *sock, const char *err)
{
    if (err != NULL) {
        h2o_socket_close(sock);
        return;
    }
    if (sock->input->size == 0)
        return;
    static h2o_iovec_t out;
    out.base = realloc(out.base, sock->input->size);
    out.len = sock->input->size;
    memcpy(out.base, sock->input->bytes, out.len);
    h2o_buffer_consume(&sock->input, out.len);
    h2o_socket_read_stop(sock);
    h2o_socket_write(sock, &out, 1, close_taken);
}

static void taken(void *arg, h2o_socket_t *sock)
{
    (void)arg;
    if (sock == NULL)
        return;
    h2o_socket_read_start(sock, echo_taken);
    echo_taken(sock, NULL);
}

/* --- the worker ------------------------------------------------------------------------------------------------ */

static void *run(void *arg)
{
    (void)arg;
    while (!atomic_load(&stopping)) {
        h2o_evloop_run(ingress.worker.h2o.loop, 20);
        atomic_store(&still, true);
        while (atomic_load(&still_asked))
            poll(NULL, 0, 1);
        atomic_store(&still, false);
        if (atomic_exchange(&release_asked, false))
            echo(held);
        if (atomic_exchange(&drain_asked, false)) {
            ingress.worker.draining = true;
            listener_stop(ingress.worker.listener);
        }
    }
    return NULL;
}

static void configure(void)
{
    static char listen_on[32];
    static char *addresses[] = {listen_on};
    close(redis_fixture_bind(&ingress.port));
    snprintf(listen_on, sizeof(listen_on), "127.0.0.1:%u", ingress.port);
    ingress.gateway.config.ingress.listen.items = addresses;
    ingress.gateway.config.ingress.listen.count = 1;
    ingress.gateway.config.limits.head = 16384;
    ingress.gateway.config.limits.uri = 8192;
    ingress.gateway.config.limits.body = 100000;
    ingress.gateway.config.limits.bodies_total = 300000;
    ingress.gateway.config.limits.connections = 100;
    ingress.gateway.places = 100;
    ingress.gateway.config.limits.head_timeout = hasty ? 300 : PATIENCE_MS;
    ingress.gateway.config.limits.body_timeout = hasty ? 300 : PATIENCE_MS;
    ingress.gateway.config.limits.idle_timeout = hasty ? 500 : PATIENCE_MS;
    ingress.gateway.config.limits.send_timeout = hasty ? 1000 : PATIENCE_MS;
    ingress.gateway.config.limits.http2_streams = 100;
    ingress.gateway.config.limits.http2_cancels = 20;
    ingress.gateway.config.limits.http2_frames = 200;
    ingress.gateway.config.ingress.http2_clear = http2_clear;
    strcpy(ingress.gateway.name, "gw");
}

int ingress_start(void **state)
{
    (void)state;
    struct error err;
    signal(SIGPIPE, SIG_IGN); /* as the gateway does */
    configure();
    ingress.worker = (struct worker){.gateway = &ingress.gateway};
    h2o_config_init(&ingress.worker.h2o_config);
    ingress.worker.h2o_config.server_name = h2o_iovec_init(H2O_STRLIT("ldcgate"));
    h2o_hostconf_t *host =
        h2o_config_register_host(&ingress.worker.h2o_config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_handler_t *handler = h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(*handler));
    handler->on_req = on_req;
    ingress.worker.h2o_config.http2.idle_timeout = 5000;
    h2o_context_init(&ingress.worker.h2o, h2o_evloop_create(), &ingress.worker.h2o_config);
    ingress.worker.accept = (h2o_accept_ctx_t){.ctx = &ingress.worker.h2o, .hosts = ingress.worker.h2o_config.hosts};
    if (listener_create(&ingress.worker, &ingress.worker.listener, &err) != 0)
        fail_msg("%s", err.text);
    ingress.handled = ingress.disposed = ingress.pieces = 0;
    stopping = drain_asked = release_asked = false;
    return pthread_create(&thread, NULL, run, NULL);
}

int ingress_start_hasty(void **state)
{
    hasty = true;
    int result = ingress_start(state);
    hasty = false;
    return result;
}

int ingress_start_http2(void **state)
{
    http2_clear = true;
    int result = ingress_start(state);
    http2_clear = false;
    return result;
}

int ingress_start_http2_hasty(void **state)
{
    hasty = true;
    int result = ingress_start_http2(state);
    hasty = false;
    return result;
}

int ingress_stop(void **state)
{
    (void)state;
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    listener_destroy(&ingress.worker.listener);
    return 0;
}

void ingress_drain(void)
{
    atomic_store(&drain_asked, true);
}

void ingress_stand_still(void)
{
    atomic_store(&still_asked, true);
    while (!atomic_load(&still))
        poll(NULL, 0, 1);
}

void ingress_go_on(void)
{
    atomic_store(&still_asked, false);
}

void ingress_release(void)
{
    atomic_store(&release_asked, true);
}

/* --- the client ------------------------------------------------------------------------------------------------ */

static int dial_from(int fd)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)ingress.port)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int dial(void)
{
    return dial_from(socket(AF_INET, SOCK_STREAM, 0));
}

int dial_narrow(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), bytes = 536;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &bytes, sizeof(bytes)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
    return dial_from(fd);
}

void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

bool hear(int fd, struct buf *text, const char *mark)
{
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000;
    buf_append(text, "", 0);
    while (mark == NULL || strstr(text->base, mark) == NULL) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int64_t left = (int64_t)(until - clock_monotonic_us()) / 1000;
        if (left <= 0 || poll(&ready, 1, (int)left) <= 0)
            return false;
        ssize_t n = recv(fd, buf_reserve(text, 65536), 65535, 0);
        if (n <= 0)
            return mark == NULL && n == 0;
        text->len += (size_t)n;
        text->base[text->len] = '\0';
    }
    return true;
}

void expect(int fd, const char *mark)
{
    struct buf text = {NULL, 0, 0};
    bool heard = hear(fd, &text, mark);
    if (!heard)
        print_error("no \"%s\" in \"%.*s\"\n", mark ? mark : "end", STR_ARG(buf_str(&text)));
    assert_true(heard);
    buf_free(&text);
}

void expect_end(int fd)
{
    expect(fd, NULL);
    close(fd);
}

char *converse(const char *request)
{
    struct buf text = {NULL, 0, 0};
    int fd = dial();
    say(fd, request);
    if (!hear(fd, &text, NULL))
        fail_msg("no end after \"%.*s\"", STR_ARG(buf_str(&text)));
    close(fd);
    buf_append(&text, "", 1);
    return text.base;
}

void check(const char *request, const char *const *marks)
{
    char *answer = converse(request);
    for (; *marks != NULL; marks++)
        if (strstr(answer, *marks) == NULL)
            fail_msg("no \"%s\" in \"%s\"", *marks, answer);
    free(answer);
}

bool ingress_wait(const _Atomic unsigned *value, unsigned least)
{
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000;
    while (atomic_load(value) < least && clock_monotonic_us() < until)
        poll(NULL, 0, 1);
    return atomic_load(value) >= least;
}

bool ingress_wait_body_bytes(uint64_t least, uint64_t most)
{
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000, bytes;
    while ((bytes = atomic_load(&ingress.gateway.body_bytes)) < least || bytes > most) {
        if (clock_monotonic_us() > until)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}
