/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "test/unit/ingress_driver.h"

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
    assert_int_equal(atomic_load(&ingress.handled), 4);
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
    unsigned before = atomic_load(&ingress.pieces);
    say(fd, "GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    expect(fd, "xxxx");
    assert_true(atomic_load(&ingress.pieces) - before < 200);
    struct buf text = {NULL, 0, 0};
    assert_true(hear(fd, &text, NULL));
    assert_true(text.len > 255 * 64 * 1024);
    assert_memory_equal(text.base + text.len - 5, "0\r\n\r\n", 5);
    assert_int_equal(atomic_load(&ingress.pieces) - before, 256);
    buf_free(&text);
    close(fd);
}

static void a_reader_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(ingress_wait(&ingress.disposed, 1));
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

/* What waits is bounded: reading stops, and goes on when the first answer has left. */
static void pipelined_requests_wait_for_the_first_answer(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    int fd = dial();
    say(fd, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        say(fd, "GET /next HTTP/1.1\r\nHost: h\r\nX-Filler: 0123456789012345678901234567890123456789\r\n\r\n");
    say(fd, "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_true(ingress_wait(&ingress.handled, 1));
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 50), 0);
    assert_int_equal(atomic_load(&ingress.handled), 1);
    ingress_release();
    assert_true(hear(fd, &text, NULL));
    assert_int_equal(atomic_load(&ingress.handled), 1002);
    assert_true(strstr(text.base, "GET /hold") < strstr(text.base, "GET /next"));
    assert_non_null(strstr(text.base, "GET /last"));
    buf_free(&text);
    close(fd);
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
    assert_int_equal(atomic_load(&ingress.handled), 0);
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
    assert_int_equal(atomic_load(&ingress.gateway.body_bytes), 0);
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
    assert_true(ingress_wait_body_bytes(3 * 99990, UINT64_MAX));
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n01234567890123456789012345678901234567890123456789",
          "HTTP/1.1 503 ", "Retry-After: ", "urn:ldcgate:problem:overloaded");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    assert_true(ingress_wait_body_bytes(0, 0));
    CHECK("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", "HTTP/1.1 200 ");
}

/* A byte now and then does not keep a head alive. */
static void slow_heads_and_bodies_are_cut(void **state)
{
    (void)state;
    static const char *const begun[] = {"GET / HTTP/1.1\r\nHost: ",
                                        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        struct buf text = {NULL, 0, 0};
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t began = clock_monotonic_us(), until = began + PATIENCE_MS * 1000;
        say(fd, begun[i]);
        while (poll(&ready, 1, 20) == 0 && clock_monotonic_us() < until)
            send(fd, "h", 1, MSG_NOSIGNAL);
        assert_in_range(clock_monotonic_us(), began + 250000, until);
        assert_true(hear(fd, &text, "HTTP/1.1 408 "));
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
    assert_true(ingress_wait(&ingress.handled, 1));
    assert_int_equal(atomic_load(&ingress.disposed), 0);
    close(fd);
    assert_true(ingress_wait(&ingress.disposed, 1));
}

static void a_client_that_ends_its_side_gets_its_answers(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    int fd = dial();
    say(fd, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
            "GET /large HTTP/1.1\r\nHost: h\r\n\r\nGET /half");
    shutdown(fd, SHUT_WR);
    assert_true(hear(fd, &text, NULL));
    assert_non_null(strstr(text.base, "POST /b host=h body=2:hi"));
    assert_true(text.len > 256 * 64 * 1024);
    assert_memory_equal(text.base + text.len - 5, "0\r\n\r\n", 5);
    buf_free(&text);
    close(fd);
}

static void an_upgraded_socket_is_handed_over_with_what_came_early(void **state)
{
    (void)state;
    CHECK("GET /upgrade HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nearly bird",
          "HTTP/1.1 101 Switching", "\r\n\r\nearly bird");
    assert_true(ingress_wait(&ingress.disposed, 1));
}

static void draining_closes_what_is_idle_and_finishes_what_is_not(void **state)
{
    (void)state;
    int idle = dial(), busy = dial();
    say(idle, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(idle, "GET /a");
    say(busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true(ingress_wait(&ingress.handled, 2));
    ingress_drain();
    expect_end(idle);
    int refused = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)ingress.port)};
    assert_int_equal(connect(refused, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(refused);
    assert_int_equal(atomic_load(&ingress.disposed), 1);
    close(busy);
}

static void requests_that_have_come_when_draining_begins_are_answered(void **state)
{
    (void)state;
    int idle = dial();
    say(idle, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(idle, "GET /a");
    ingress_stand_still();
    int fresh = dial();
    say(idle, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    say(fresh, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
    ingress_drain();
    ingress_go_on();
    expect(idle, "GET /b");
    expect(fresh, "GET /c");
    expect_end(idle);
    expect_end(fresh);
}

static void connections_beyond_the_limit_wait_for_a_place(void **state)
{
    (void)state;
    int fds[100];
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
#define TEST(name)  cmocka_unit_test_setup_teardown(name, ingress_start, ingress_stop)
#define HASTY(name) cmocka_unit_test_setup_teardown(name, ingress_start_hasty, ingress_stop)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_kept),
        TEST(an_answer_has_length_date_and_server),
        TEST(keep_alive_of_an_old_client_is_confirmed),
        TEST(head_and_no_content_have_no_body),
        TEST(a_stream_is_chunked_or_ends_with_the_connection),
        TEST(a_body_that_differs_from_its_length_ends_the_connection),
        TEST(a_slow_reader_holds_the_generator_back),
        HASTY(a_reader_that_takes_nothing_is_cut_off),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(pipelined_requests_wait_for_the_first_answer),
        TEST(continue_is_sent_where_the_client_waits_for_it),
        TEST(malformed_requests_are_refused_and_the_connection_closed),
        TEST(what_is_too_long_is_refused_by_name),
        TEST(bodies_of_all_connections_are_bounded_together),
        HASTY(slow_heads_and_bodies_are_cut),
        HASTY(an_idle_connection_is_closed_without_a_word),
        TEST(a_client_that_goes_away_takes_its_request_with_it),
        TEST(a_client_that_ends_its_side_gets_its_answers),
        TEST(an_upgraded_socket_is_handed_over_with_what_came_early),
        TEST(draining_closes_what_is_idle_and_finishes_what_is_not),
        TEST(requests_that_have_come_when_draining_begins_are_answered),
        TEST(connections_beyond_the_limit_wait_for_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
