/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/httpd.h"

#define PATIENCE_US 60000000ULL

static sd_event *loop;
static struct httpd *httpd;
static struct httpd_request *kept;
static struct httpd_stream *stream;
static int gone_count;

static void echo(struct httpd_request *request, void *context)
{
    (void)context;
    struct buf text = {0}, query = {0};
    bool has_query = httpd_request_query(request, "q", &query);
    struct str header = httpd_request_header(request, "x-test");
    buf_printf(&text, "%.*s %.*s q=%s h=%.*s b=%.*s\n", STR_ARG(httpd_request_method(request)),
               STR_ARG(httpd_request_path(request)), has_query ? query.base : "-", STR_ARG(header),
               STR_ARG(httpd_request_body(request)));
    httpd_add_header(request, "X-Added", "yes");
    httpd_respond(request, 200, "text/plain", buf_str(&text));
    buf_free(&text);
    buf_free(&query);
}

static void keep(struct httpd_request *request, void *context)
{
    (void)context;
    kept = request;
}

static void on_gone(void *arg)
{
    (void)arg;
    gone_count++;
    stream = NULL;
}

static void open_stream(struct httpd_request *request, void *context)
{
    (void)context;
    stream = httpd_stream_open(request, on_gone, NULL);
}

static void big(struct httpd_request *request, void *context)
{
    (void)context;
    size_t len = 8 * 1024 * 1024;
    char *bytes = mem_calloc(1, len);
    httpd_respond(request, 200, "application/octet-stream", (struct str){bytes, len});
    free(bytes);
}

static const struct httpd_route routes[] = {
    {"GET", "/healthz", echo, true, "Open to all."},    {"GET", "/later", keep, false, "Answers later."},
    {"GET", "/events", open_stream, false, "Streams."}, {"GET", "/big", big, false, "Eight mebibytes."},
    {"POST", "/items/", echo, false, "A prefix."},      {NULL, "/any/", echo, false, "Any method."},
};

static void start(const char *token)
{
    struct httpd_config config = {.listen = "127.0.0.1:0",
                                  .token = token,
                                  .routes = routes,
                                  .route_count = sizeof(routes) / sizeof(*routes),
                                  .most_body = 64 * 1024,
                                  .slow_ms = 300};
    struct error err = {0};
    assert_true(sd_event_new(&loop) >= 0);
    httpd = httpd_create(loop, &config, &err);
    assert_non_null(httpd);
    kept = NULL;
    stream = NULL;
    gone_count = 0;
}

static int stop(void **state)
{
    (void)state;
    httpd_destroy(&httpd);
    loop = sd_event_unref(loop);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

static int setup_token(void **state)
{
    (void)state;
    start("s3cret");
    return 0;
}

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)httpd_port(httpd))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Runs the loop until FD's answer holds WANTED (NULL: until the server closes). */
static void hear(int fd, const char *wanted, struct buf *answer)
{
    uint64_t until_us = clock_monotonic_us() + PATIENCE_US;
    for (;;) {
        if (wanted != NULL && answer->base != NULL && strstr(answer->base, wanted) != NULL)
            return;
        assert_true(clock_monotonic_us() < until_us);
        assert_true(sd_event_run(loop, 5000) >= 0);
        ssize_t n = recv(fd, buf_reserve(answer, 65536), 65536, MSG_DONTWAIT);
        if (n > 0)
            answer->len += (size_t)n, answer->base[answer->len] = '\0';
        else if (n == 0 || errno != EAGAIN) {
            assert_null(wanted);
            return;
        }
    }
}

/* One connection: sends TEXT and returns all that comes until the server closes. For free(). */
static char *exchange(const char *text)
{
    struct buf answer = {0};
    int fd = dial();
    say(fd, text);
    hear(fd, NULL, &answer);
    close(fd);
    return answer.base;
}

static void expect(const char *text, const char *status_line, const char *part)
{
    char *answer = exchange(text);
    if (strncmp(answer, status_line, strlen(status_line)) != 0 || strstr(answer, part) == NULL)
        fail_msg("asked %s\ngot %s", text, answer);
    free(answer);
}

static void requests_are_routed_by_method_and_path(void **state)
{
    (void)state;
    expect("GET /healthz?q=a%20b+c HTTP/1.1\r\nHost: x\r\nX-Test: 1\r\nConnection: close\r\n\r\n",
           "HTTP/1.1 200 OK\r\n", "GET /healthz q=a b c h=1 b=\n");
    expect("POST /items/7%2f8 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
           "HTTP/1.1 200 OK\r\n", "POST /items/7/8 q=- h= b=abc\n");
    expect("DELETE /any/thing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "DELETE /any/thing");
    expect("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
           "urn:ldcgate:problem:not-found");
    expect("PUT /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 405", "\r\nAllow: GET\r\n");
    expect("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "\r\nX-Added: yes\r\n");
    expect("GET /any/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 400", "percent-escape");
    expect("GET /any/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 400", "percent-escape");
}

static void head_has_the_length_but_no_body(void **state)
{
    (void)state;
    char *answer = exchange("HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(answer, "Content-Length: 24\r\n"));
    assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    free(answer);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    char *answer = exchange(
        "GET /healthz?q=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        "POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
        "POST /items/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        "GET /healthz?q=4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const char *at = answer;
    for (const char *const *part = (const char *const[]){"q=1", "b=hi", "b=abcde", "q=4", NULL}; *part != NULL;
         part++) {
        at = strstr(at, *part);
        assert_non_null(at);
    }
    free(answer);
}

static void a_body_may_come_in_any_pieces(void **state)
{
    (void)state;
    const char *pieces[] = {"POST /items/ HTTP/1.1\r\nHo",
                            "st: x\r\nX-Test: moved\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
                            "4\r",
                            "\nab",
                            "cd\r\n",
                            "1\r\ne",
                            "\r\n0\r\n",
                            "\r\n"};
    struct buf answer = {0};
    int fd = dial();
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        say(fd, pieces[i]);
        assert_true(sd_event_run(loop, 5000) >= 0);
        assert_true(sd_event_run(loop, 5000) >= 0);
    }
    hear(fd, NULL, &answer);
    assert_non_null(strstr(answer.base, "h=moved b=abcde\n"));
    buf_free(&answer);
    close(fd);
}

static void a_large_body_moves_the_buffer_under_the_head(void **state)
{
    (void)state;
    struct buf text = {0}, answer = {0};
    buf_printf(
        &text,
        "POST /items/ HTTP/1.1\r\nHost: x\r\nX-Test: moved\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n");
    int fd = dial();
    say(fd, text.base);
    assert_true(sd_event_run(loop, 5000) >= 0);
    assert_true(sd_event_run(loop, 5000) >= 0);
    text.len = 0;
    memset(buf_reserve(&text, 60000), 'z', 60000);
    assert_int_equal(send(fd, text.base, 60000, MSG_NOSIGNAL), 60000);
    hear(fd, NULL, &answer);
    assert_non_null(strstr(answer.base, "POST /items/ q=- h=moved b=zzz"));
    buf_free(&text);
    buf_free(&answer);
    close(fd);
}

static void what_is_malformed_or_too_long_is_refused_and_closed(void **state)
{
    (void)state;
    expect("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400",
           "Connection: close");
    expect("GET /healthz HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "Connection: close");
    expect("POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", "HTTP/1.1 413", "Connection: close");
    expect("POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n", "HTTP/1.1 4", "");
    expect("POST /items/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "HTTP/1.1 400", "chunked");
    struct buf text = {0};
    buf_printf(&text, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ");
    memset(buf_reserve(&text, 20000), 'y', 20000);
    text.len += 20000;
    text.base[text.len] = '\0';
    expect(text.base, "HTTP/1.1 431", "Connection: close");
    buf_free(&text);
}

static void a_slow_request_is_cut_off(void **state)
{
    (void)state;
    char *answer = exchange("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    assert_null(answer[0] ? answer : NULL);
    free(answer);
}

static void a_reader_that_stalls_is_cut_off(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    struct pollfd reset = {.fd = fd};
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; poll(&reset, 1, 0) == 0;) {
        assert_true(clock_monotonic_us() < until_us);
        assert_true(sd_event_run(loop, 50000) >= 0);
    }
    assert_true(reset.revents & (POLLERR | POLLHUP));
    close(fd);
}

/* The next request that is to be answered later. */
static struct httpd_request *await_kept(void)
{
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; kept == NULL && clock_monotonic_us() < until_us;)
        assert_true(sd_event_run(loop, 5000) >= 0);
    assert_non_null(kept);
    struct httpd_request *request = kept;
    kept = NULL;
    return request;
}

static void an_answer_may_come_later(void **state)
{
    (void)state;
    struct buf answer = {0};
    int fd = dial();
    say(fd,
        "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz?q=next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    httpd_respond(await_kept(), 202, NULL, STR_LIT("late"));
    hear(fd, NULL, &answer);
    assert_true(str_starts(buf_str(&answer), STR_LIT("HTTP/1.1 202 Accepted")));
    assert_non_null(strstr(answer.base, "q=next"));
    buf_free(&answer);
    close(fd);
}

static void what_comes_behind_a_late_answer_has_its_own_turn(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    httpd_respond(await_kept(), 200, "text/plain", STR_LIT("first\n"));
    assert_null(kept); /* whoever answers may be on the way out */
    httpd_respond(await_kept(), 200, "text/plain", STR_LIT("second\n"));
    struct buf answer = {0};
    hear(fd, "second\n", &answer);
    buf_free(&answer);
    close(fd);
}

static void a_late_answer_to_a_client_that_left_harms_nobody(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    struct httpd_request *late = await_kept();
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    for (int turn = 0; turn < 5; turn++)
        assert_true(sd_event_run(loop, 5000) >= 0);
    httpd_respond(late, 200, NULL, STR_LIT("late"));
    expect("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "");
}

static void events_stream_until_the_reader_leaves(void **state)
{
    (void)state;
    struct buf answer = {0};
    int fd = dial();
    say(fd, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, "text/event-stream", &answer);
    assert_true(httpd_stream_send(stream, "health", STR_LIT("one\ntwo")));
    hear(fd, "event: health\ndata: one\ndata: two\n\n", &answer);
    close(fd);
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; gone_count == 0 && clock_monotonic_us() < until_us;)
        assert_true(sd_event_run(loop, 5000) >= 0);
    assert_int_equal(gone_count, 1);
    buf_free(&answer);
}

static void events_for_a_reader_that_stalls_are_dropped_and_it_is_cut_off(void **state)
{
    (void)state;
    struct buf answer = {0};
    char *piece = mem_calloc(1, 100000);
    memset(piece, 'e', 100000);
    int fd = dial();
    say(fd, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    hear(fd, "text/event-stream", &answer);
    bool dropped = false;
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; gone_count == 0 && clock_monotonic_us() < until_us;) {
        dropped |= !httpd_stream_send(stream, "health", (struct str){piece, 100000});
        assert_true(sd_event_run(loop, 1000) >= 0);
    }
    assert_true(dropped);
    assert_int_equal(gone_count, 1);
    free(piece);
    buf_free(&answer);
    close(fd);
}

static void a_token_is_asked_for_where_a_resource_is_not_open(void **state)
{
    (void)state;
    expect("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", "");
    expect("GET /any/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 401", "WWW-Authenticate: Bearer");
    expect("GET /any/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cre\r\nConnection: close\r\n\r\n", "HTTP/1.1 401",
           "");
    expect("GET /any/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cretX\r\nConnection: close\r\n\r\n",
           "HTTP/1.1 401", "");
    expect("GET /any/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\r\nConnection: close\r\n\r\n", "HTTP/1.1 401", "");
    expect("GET /any/ HTTP/1.1\r\nHost: x\r\nAuthorization: bearer s3cret\r\nConnection: close\r\n\r\n", "HTTP/1.1 200",
           "");
}

static void listening_beyond_loopback_wants_a_token(void **state)
{
    (void)state;
    static const struct {
        const char *listen, *token, *fault;
    } cases[] = {
        {"0.0.0.0:0", NULL, "loopback"},
        {"[::]:0", NULL, "loopback"},
        {"127.0.0.1", NULL, "no address"},
        {"127.0.0.1:99999", NULL, "no address"},
        {"example.org:80", NULL, "numeric"},
        {"unix:relative", NULL, "absolute"},
        {"127.0.0.1:0", "", "empty"},
        {"0.0.0.0:0", "t", NULL},
        {"127.1.2.3:0", NULL, NULL},
        {"localhost:0", NULL, NULL},
        {"203.0.113.1:0", "t", "no interface of this machine has that address"},
    };
    sd_event *own;
    assert_true(sd_event_new(&own) >= 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct error err = {0};
        struct httpd_config config = {.listen = cases[i].listen, .token = cases[i].token};
        struct httpd *server = httpd_create(own, &config, &err);
        if (cases[i].fault == NULL) {
            assert_non_null(server);
            assert_int_not_equal(httpd_port(server), 0);
        } else {
            assert_null(server);
            assert_non_null(strstr(err.text, cases[i].fault));
        }
        httpd_destroy(&server);
    }
    sd_event_unref(own);
}

static void a_unix_socket_left_behind_is_replaced_and_a_live_one_is_not(void **state)
{
    (void)state;
    char folder[] = "/tmp/test-httpd-XXXXXX", listen_at[128], path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/admin", folder);
    snprintf(listen_at, sizeof(listen_at), "unix:%s", path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);

    sd_event *own;
    struct error err = {0};
    struct stat info;
    struct httpd_config config = {.listen = listen_at};
    assert_true(sd_event_new(&own) >= 0);
    struct httpd *server = httpd_create(own, &config, &err), *second;
    assert_non_null(server);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    second = httpd_create(own, &config, &err);
    assert_null(second);
    httpd_destroy(&server);
    assert_int_not_equal(stat(path, &info), 0);
    rmdir(folder);
    sd_event_unref(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_routed_by_method_and_path, setup, stop),
        cmocka_unit_test_setup_teardown(head_has_the_length_but_no_body, setup, stop),
        cmocka_unit_test_setup_teardown(pipelined_requests_are_answered_in_order, setup, stop),
        cmocka_unit_test_setup_teardown(a_body_may_come_in_any_pieces, setup, stop),
        cmocka_unit_test_setup_teardown(a_large_body_moves_the_buffer_under_the_head, setup, stop),
        cmocka_unit_test_setup_teardown(what_is_malformed_or_too_long_is_refused_and_closed, setup, stop),
        cmocka_unit_test_setup_teardown(a_slow_request_is_cut_off, setup, stop),
        cmocka_unit_test_setup_teardown(a_reader_that_stalls_is_cut_off, setup, stop),
        cmocka_unit_test_setup_teardown(an_answer_may_come_later, setup, stop),
        cmocka_unit_test_setup_teardown(what_comes_behind_a_late_answer_has_its_own_turn, setup, stop),
        cmocka_unit_test_setup_teardown(a_late_answer_to_a_client_that_left_harms_nobody, setup, stop),
        cmocka_unit_test_setup_teardown(events_stream_until_the_reader_leaves, setup, stop),
        cmocka_unit_test_setup_teardown(events_for_a_reader_that_stalls_are_dropped_and_it_is_cut_off, setup, stop),
        cmocka_unit_test_setup_teardown(a_token_is_asked_for_where_a_resource_is_not_open, setup_token, stop),
        cmocka_unit_test(listening_beyond_loopback_wants_a_token),
        cmocka_unit_test(a_unix_socket_left_behind_is_replaced_and_a_live_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
