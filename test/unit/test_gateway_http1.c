/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1 connections end to end: a worker with the real listener and a small handler on its own thread, and a client
 * on a real socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "gateway/gateway.h"
#include "gateway/http1_conn.h"
#include "gateway/listener.h"

#define PATIENCE_MS 5000

#ifdef __SANITIZE_ADDRESS__
/* libh2o keeps buffers in thread-local lists, which go unreachable with their thread. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libh2o-evloop\n";
}
#endif

static struct gateway gateway;
static struct worker worker;
static pthread_t thread;
static unsigned port;
static _Atomic bool stopping, drain_asked;
static _Atomic unsigned handled, disposed, in_proceed;
static h2o_req_t *_Atomic held; /* by /hold, for the time of the test */

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
    atomic_fetch_add(&disposed, 1);
}

static void send_piece(h2o_generator_t *self, h2o_req_t *req)
{
    struct stream *stream = (struct stream *)self;
    h2o_iovec_t piece = h2o_iovec_init(stream->piece, stream->size);
    atomic_fetch_add(&in_proceed, 1);
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

static void taken(void *arg, h2o_socket_t *sock);

static int on_req(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    atomic_fetch_add(&handled, 1);
    h2o_mem_alloc_shared(&req->pool, 1, count_dispose);
    struct str path = {req->path.base, req->path.len};
    if (str_starts(path, STR_LIT("/stream")))
        start_stream(req, 5, 4, SIZE_MAX);
    else if (str_starts(path, STR_LIT("/large")))
        start_stream(req, 256, 64 * 1024, SIZE_MAX);
    else if (str_starts(path, STR_LIT("/short")))
        start_stream(req, 2, 4, 100);
    else if (str_starts(path, STR_LIT("/long")))
        start_stream(req, 5, 4, 10);
    else if (str_starts(path, STR_LIT("/hold")))
        atomic_store(&held, req);
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
        h2o_evloop_run(worker.h2o.loop, 20);
        if (atomic_exchange(&drain_asked, false)) {
            worker.draining = true;
            listener_stop(worker.listener);
        }
    }
    return NULL;
}

static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void configure(void)
{
    static char listen_on[32];
    static char *addresses[] = {listen_on};
    port = free_port();
    snprintf(listen_on, sizeof(listen_on), "127.0.0.1:%u", port);
    gateway.config.ingress.listen.items = addresses;
    gateway.config.ingress.listen.count = 1;
    gateway.config.limits.head = 16384;
    gateway.config.limits.uri = 8192;
    gateway.config.limits.body = 100000;
    gateway.config.limits.bodies_total = 300000;
    gateway.config.limits.connections = 100;
    gateway.config.limits.head_timeout = 300;
    gateway.config.limits.body_timeout = 300;
    gateway.config.limits.idle_timeout = 500;
    gateway.config.limits.send_timeout = 1000;
    gateway.config.limits.http2_streams = 100;
    strcpy(gateway.name, "gw");
}

static int start(void **state)
{
    (void)state;
    struct error err;
    configure();
    worker = (struct worker){.gateway = &gateway};
    h2o_config_init(&worker.h2o_config);
    worker.h2o_config.server_name = h2o_iovec_init(H2O_STRLIT("ldcgate"));
    h2o_hostconf_t *host = h2o_config_register_host(&worker.h2o_config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_handler_t *handler = h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(*handler));
    handler->on_req = on_req;
    h2o_context_init(&worker.h2o, h2o_evloop_create(), &worker.h2o_config);
    worker.accept = (h2o_accept_ctx_t){.ctx = &worker.h2o, .hosts = worker.h2o_config.hosts};
    if (listener_create(&worker, &worker.listener, &err) != 0)
        fail_msg("%s", err.text);
    handled = disposed = 0;
    stopping = drain_asked = false;
    return pthread_create(&thread, NULL, run, NULL);
}

static int stop(void **state)
{
    (void)state;
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    listener_destroy(&worker.listener);
    return 0;
}

/* --- the client ------------------------------------------------------------------------------------------------ */

static int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Appends what comes until TEXT holds MARK (NULL: until the end of the stream). False where it never comes. */
static bool hear(int fd, struct buf *text, const char *mark)
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

static void expect(int fd, const char *mark)
{
    struct buf text = {NULL, 0, 0};
    bool heard = hear(fd, &text, mark);
    if (!heard)
        print_error("no \"%s\" in \"%.*s\"\n", mark ? mark : "end", STR_ARG(buf_str(&text)));
    assert_true(heard);
    buf_free(&text);
}

static void expect_end(int fd)
{
    expect(fd, NULL);
    close(fd);
}

/* The whole conversation of a client that sends TEXT and reads to the end. For free(). */
static char *converse(const char *request)
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

static void check(const char *request, const char *const *marks)
{
    char *answer = converse(request);
    for (; *marks != NULL; marks++)
        if (strstr(answer, *marks) == NULL)
            fail_msg("no \"%s\" in \"%s\"", *marks, answer);
    free(answer);
}

#define CHECK(request, ...) check(request, (const char *const[]){__VA_ARGS__, NULL})

static bool wait_for(_Atomic unsigned *value, unsigned least)
{
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000;
    while (atomic_load(value) < least && clock_monotonic_us() < until)
        usleep(1000);
    return atomic_load(value) >= least;
}

/* --- the tests ------------------------------------------------------------------------------------------------- */

static void a_request_is_answered_and_the_connection_kept(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(fd, "GET /a?b host=h body=0:");
    say(fd, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    expect(fd, "POST /c host=h body=5:hello");
    say(fd, "POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: "
            "v\r\n\r\n");
    expect(fd, "POST /d host=h body=5:hello");
    say(fd, "GET /e HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect_end(fd);
    assert_int_equal(atomic_load(&handled), 4);
}

static void an_answer_has_length_date_and_server(void **state)
{
    (void)state;
    CHECK("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\nDate: ", " GMT\r\n",
          "\r\nServer: ldcgate\r\n", "\r\nContent-Length: 21\r\n", "\r\nConnection: close\r\n");
    CHECK("GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "Connection: close\r\n", "Content-Length: 21\r\n");
}

static void keep_alive_of_an_old_client_is_confirmed(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(fd, "Connection: keep-alive\r\n");
    say(fd, "GET /a HTTP/1.0\r\n\r\n");
    expect_end(fd);
}

static void head_and_no_content_have_no_body(void **state)
{
    (void)state;
    char *answer = converse("HEAD /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    free(answer);
}

static void a_stream_is_chunked_or_ends_with_the_connection(void **state)
{
    (void)state;
    CHECK("GET /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "Transfer-Encoding: chunked\r\n",
          "\r\n\r\n4\r\nxxxx\r\n4\r\nxxxx\r\n4\r\nxxxx\r\n4\r\nxxxx\r\n4\r\nxxxx\r\n0\r\n\r\n");
    char *answer = converse("GET /stream HTTP/1.0\r\n\r\n");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nxxxxxxxxxxxxxxxxxxxx");
    assert_null(strstr(answer, "Transfer-Encoding"));
    free(answer);
}

static void a_body_that_differs_from_its_length_ends_the_connection(void **state)
{
    (void)state;
    char *answer = converse("GET /short HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nxxxxxxxx");
    free(answer);
    answer = converse("GET /long HTTP/1.1\r\nHost: h\r\n\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\nxxxxxxxxxx");
    free(answer);
}

static void a_slow_reader_holds_the_generator_back(void **state)
{
    (void)state;
    int fd = dial();
    unsigned before = atomic_load(&in_proceed);
    say(fd, "GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect(fd, "xxxx");
    assert_true(atomic_load(&in_proceed) - before < 200);
    struct buf text = {NULL, 0, 0};
    assert_true(hear(fd, &text, NULL));
    assert_true(text.len > 255 * 64 * 1024);
    assert_memory_equal(text.base + text.len - 5, "0\r\n\r\n", 5);
    assert_int_equal(atomic_load(&in_proceed) - before, 256);
    buf_free(&text);
    close(fd);
}

static void a_reader_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(wait_for(&disposed, 1));
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct buf request = {NULL, 0, 0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&request,
                   "GET /%d HTTP/1.1\r\nHost: h\r\nX-Filler: 0123456789012345678901234567890123456789\r\n%s\r\n", i,
                   i == 999 ? "Connection: close\r\n" : "");
    char *answer = converse(request.base), *at = answer;
    for (int i = 0; i < 1000; i++) {
        char mark[40];
        snprintf(mark, sizeof(mark), "GET /%d host=h", i);
        at = strstr(at, mark);
        assert_non_null(at);
    }
    free(answer);
    buf_free(&request);
}

static void pipelined_requests_wait_for_the_first_answer(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(wait_for(&handled, 1));
    for (int i = 0; i < 1000; i++)
        say(fd, "GET /next HTTP/1.1\r\nHost: h\r\nX-Filler: 0123456789012345678901234567890123456789\r\n\r\n");
    close(fd);
    assert_true(wait_for(&disposed, 1) || atomic_load(&handled) == 1);
}

static void continue_is_sent_where_the_client_waits_for_it(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    expect(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say(fd, "hello");
    expect(fd, "body=5:hello");
    close(fd);
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 ");
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: coffee\r\n\r\nhello", "HTTP/1.1 417 ");
}

static void malformed_requests_are_refused_and_the_connection_closed(void **state)
{
    (void)state;
    CHECK("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "urn:ldcgate:problem:bad-request", "Connection: close\r\n");
    CHECK("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 400 ");
    CHECK("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 ");
    CHECK("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 400 ");
    CHECK("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 505 ");
    assert_int_equal(atomic_load(&handled), 0);
}

static char *filled(const char *before, size_t filler, const char *after)
{
    char *text = malloc(strlen(before) + filler + strlen(after) + 1);
    strcpy(text, before);
    memset(text + strlen(before), 'x', filler);
    strcpy(text + strlen(before) + filler, after);
    return text;
}

static void what_is_too_long_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        size_t filler;
        const char *after, *status;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nX: ", 200000, "\r\n\r\n", "HTTP/1.1 431 "},
        {"GET /", 9000, " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 414 "},
        {"GET /", 90000, " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 414 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100001\r\n\r\n", 100001, "", "HTTP/1.1 413 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n", 100001, "\r\n0\r\n\r\n",
         "HTTP/1.1 413 "},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;", 20000, "\r\nx\r\n0\r\n\r\n",
         "HTTP/1.1 400 "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *request = filled(cases[i].before, cases[i].filler, cases[i].after);
        CHECK(request, cases[i].status);
        free(request);
    }
    assert_int_equal(atomic_load(&gateway.body_bytes), 0);
}

static void bodies_of_all_connections_are_bounded_together(void **state)
{
    (void)state;
    int fds[3];
    for (int i = 0; i < 3; i++) {
        char *body = filled("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n", 99990, "");
        fds[i] = dial();
        say(fds[i], body);
        free(body);
    }
    uint64_t until = clock_monotonic_us() + PATIENCE_MS * 1000;
    while (atomic_load(&gateway.body_bytes) < 3 * 99990 && clock_monotonic_us() < until)
        usleep(1000);
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n01234567890123456789012345678901234567890123456789",
          "HTTP/1.1 503 ", "Retry-After: ", "urn:ldcgate:problem:overloaded");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    until = clock_monotonic_us() + PATIENCE_MS * 1000;
    while (atomic_load(&gateway.body_bytes) > 0 && clock_monotonic_us() < until)
        usleep(1000);
    assert_int_equal(atomic_load(&gateway.body_bytes), 0);
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "HTTP/1.1 200 ");
}

/* A byte now and then does not keep a head alive. */
static void slow_heads_and_bodies_are_cut(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\n0123456789abcdefghi"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        struct buf text = {NULL, 0, 0};
        uint64_t began = clock_monotonic_us();
        for (const char *at = requests[i] + (i == 0 ? 0 : 44); *at != '\0'; at++) {
            struct pollfd ready = {.fd = fd, .events = POLLIN};
            if (at == requests[i] + 44 && i == 1)
                send(fd, requests[i], 44, MSG_NOSIGNAL);
            send(fd, at, 1, MSG_NOSIGNAL);
            if (poll(&ready, 1, 20) > 0)
                break;
        }
        assert_true(hear(fd, &text, "HTTP/1.1 408 "));
        assert_in_range(clock_monotonic_us() - began, 250000, 1500000);
        buf_free(&text);
        close(fd);
    }
}

static void an_idle_connection_is_closed_without_a_word(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    int fd = dial();
    assert_true(hear(fd, &text, NULL));
    assert_int_equal(text.len, 0);
    buf_free(&text);
    close(fd);
}

static void a_client_that_goes_away_takes_its_request_with_it(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(wait_for(&handled, 1));
    assert_int_equal(atomic_load(&disposed), 0);
    close(fd);
    assert_true(wait_for(&disposed, 1));
}

static void an_upgraded_socket_is_handed_over_with_what_came_early(void **state)
{
    (void)state;
    CHECK("GET /upgrade HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nearly bird",
          "HTTP/1.1 101 Switching", "\r\n\r\nearly bird");
    assert_true(wait_for(&disposed, 1));
}

static void draining_closes_what_is_idle_and_finishes_what_is_not(void **state)
{
    (void)state;
    int idle = dial(), busy = dial();
    say(idle, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(idle, "GET /a");
    say(busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(wait_for(&handled, 2));
    atomic_store(&drain_asked, true);
    expect_end(idle);
    int refused = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    assert_int_equal(connect(refused, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(refused);
    assert_int_equal(atomic_load(&disposed), 1);
    close(busy);
}

static void connections_beyond_the_limit_wait_for_a_place(void **state)
{
    (void)state;
    int fds[100];
    gateway.config.limits.idle_timeout = 60000;
    for (int i = 0; i < 100; i++)
        fds[i] = dial();
    int late = dial();
    say(late, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
    struct pollfd ready = {.fd = late, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 200), 0);
    close(fds[7]);
    expect(late, "GET /late");
    close(late);
    for (int i = 0; i < 100; i++)
        if (i != 7)
            close(fds[i]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_kept),
        TEST(an_answer_has_length_date_and_server),
        TEST(keep_alive_of_an_old_client_is_confirmed),
        TEST(head_and_no_content_have_no_body),
        TEST(a_stream_is_chunked_or_ends_with_the_connection),
        TEST(a_body_that_differs_from_its_length_ends_the_connection),
        TEST(a_slow_reader_holds_the_generator_back),
        TEST(a_reader_that_takes_nothing_is_cut_off),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(pipelined_requests_wait_for_the_first_answer),
        TEST(continue_is_sent_where_the_client_waits_for_it),
        TEST(malformed_requests_are_refused_and_the_connection_closed),
        TEST(what_is_too_long_is_refused_by_name),
        TEST(bodies_of_all_connections_are_bounded_together),
        TEST(slow_heads_and_bodies_are_cut),
        TEST(an_idle_connection_is_closed_without_a_word),
        TEST(a_client_that_goes_away_takes_its_request_with_it),
        TEST(an_upgraded_socket_is_handed_over_with_what_came_early),
        TEST(draining_closes_what_is_idle_and_finishes_what_is_not),
        TEST(connections_beyond_the_limit_wait_for_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
