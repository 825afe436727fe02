/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "common/httpd.h"

#define PATIENCE_US 60000000ULL
#define MOST_HEARD  4096

/* A server on the same loop, and what the client's callbacks were told. */
static sd_event *loop;
static struct httpd *httpd;
static struct http_client *client;
static struct httpd_request *kept;
static struct httpd_stream *stream;
static char base[64], url[160];
static unsigned seen;

struct heard {
    int done;
    long status;
    bool timed_out, unreached, cut;
    int64_t retry_after_ms;
    char body[MOST_HEARD], error[256], streamed[MOST_HEARD];
    struct http_transfer *cancel; /* inside its own callback */
};

static void echo(struct httpd_request *request, void *context)
{
    (void)context;
    struct buf text = {0};
    struct str type = httpd_request_header(request, "content-type"), test = httpd_request_header(request, "x-test");
    struct str token = httpd_request_header(request, "authorization"), empty = httpd_request_header(request, "x-empty");
    struct str expect = httpd_request_header(request, "expect");
    seen++;
    buf_printf(&text, "%.*s %.*s type=%s%.*s test=%.*s token=%.*s empty=%s expect=%s body=%.*s",
               STR_ARG(httpd_request_method(request)), STR_ARG(httpd_request_path(request)), type.base ? "" : "none",
               STR_ARG(type), STR_ARG(test), STR_ARG(token), empty.base ? "yes" : "no", expect.base ? "yes" : "no",
               STR_ARG(httpd_request_body(request)));
    httpd_respond(request, 200, "text/plain", buf_str(&text));
    buf_free(&text);
}

static void busy(struct httpd_request *request, void *context)
{
    (void)context;
    struct buf after = {0};
    if (httpd_request_query(request, "after", &after))
        httpd_add_header(request, "Retry-After", after.base);
    httpd_respond(request, 503, NULL, STR_LIT("busy"));
    buf_free(&after);
}

static void redirect(struct httpd_request *request, void *context)
{
    (void)context;
    httpd_add_header(request, "Location", "/echo/elsewhere");
    httpd_respond(request, 302, NULL, STR_LIT(""));
}

static void keep(struct httpd_request *request, void *context)
{
    (void)context;
    kept = request;
}

static void open_stream(struct httpd_request *request, void *context)
{
    (void)context;
    stream = httpd_stream_open(request, NULL, NULL);
}

static void long_answer(struct httpd_request *request, void *context)
{
    (void)context;
    static const char bytes[3000];
    httpd_respond(request, 200, NULL, (struct str){bytes, sizeof(bytes)});
}

static const struct httpd_route routes[] = {
    {NULL, "/echo/", echo, true, "Echoes."},          {"GET", "/busy", busy, true, "503."},
    {"GET", "/redirect", redirect, true, "302."},     {"GET", "/kept", keep, true, "Never answers by itself."},
    {"GET", "/events", open_stream, true, "Events."}, {"GET", "/long", long_answer, true, "3000 bytes."},
};

static int setup(void **state)
{
    (void)state;
    struct error err = {0};
    struct httpd_config config = {.listen = "127.0.0.1:0",
                                  .routes = routes,
                                  .route_count = sizeof(routes) / sizeof(*routes),
                                  .most_body = 4 * 1024 * 1024};
    assert_true(sd_event_new(&loop) >= 0);
    httpd = httpd_create(loop, &config, &err);
    assert_non_null(httpd);
    client = http_client_create(loop, 8);
    snprintf(base, sizeof(base), "http://127.0.0.1:%u", httpd_port(httpd));
    kept = NULL;
    stream = NULL;
    seen = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_client_destroy(&client);
    httpd_destroy(&httpd);
    loop = sd_event_unref(loop);
    return 0;
}

static const char *at(const char *path)
{
    snprintf(url, sizeof(url), "%s%s", base, path);
    return url;
}

static void on_done(void *arg, const struct http_response *response)
{
    struct heard *heard = arg;
    heard->done++;
    heard->status = response->status;
    heard->timed_out = response->timed_out;
    heard->unreached = response->unreached;
    heard->cut = response->cut;
    heard->retry_after_ms = response->retry_after_ms;
    snprintf(heard->body, sizeof(heard->body), "%.*s", STR_ARG(response->body));
    snprintf(heard->error, sizeof(heard->error), "%s", response->error);
}

static void on_data(void *arg, struct str piece)
{
    struct heard *heard = arg;
    size_t used = strlen(heard->streamed);
    snprintf(heard->streamed + used, sizeof(heard->streamed) - used, "%.*s", STR_ARG(piece));
    if (heard->cancel != NULL)
        http_transfer_cancel(heard->cancel);
}

static void run_until(const int *count, int wanted)
{
    for (uint64_t until_us = clock_monotonic_us() + PATIENCE_US; *count < wanted;) {
        assert_true(clock_monotonic_us() < until_us);
        assert_true(sd_event_run(loop, 20000) >= 0);
    }
}

static void turns(int count)
{
    for (int i = 0; i < count; i++)
        assert_true(sd_event_run(loop, 2000) >= 0);
}

static struct heard ask(const struct http_request *request)
{
    struct heard heard = {0};
    http_client_start(client, request, NULL, on_done, &heard);
    assert_int_equal(heard.done, 0);
    run_until(&heard.done, 1);
    return heard;
}

static void a_request_carries_what_was_given_and_nothing_else(void **state)
{
    (void)state;
    struct heard heard = ask(&(struct http_request){
        .method = "POST",
        .url = at("/echo/a"),
        .headers = (const char *const[]){"X-Test: 1", "X-Empty:", NULL},
        .body = STR_LIT("hello"),
        .bearer_token = "t0",
    });
    assert_int_equal(heard.status, 200);
    assert_string_equal(heard.body, "POST /echo/a type=none test=1 token=Bearer t0 empty=yes expect=no body=hello");
    heard = ask(&(struct http_request){
        .method = "PUT", .url = at("/echo/b"), .headers = (const char *const[]){"content-type: text/x", NULL}});
    assert_string_equal(heard.body, "PUT /echo/b type=text/x test= token= empty=no expect=no body=");
    heard = ask(&(struct http_request){.method = "DELETE", .url = at("/echo/c")});
    assert_string_equal(heard.body, "DELETE /echo/c type=none test= token= empty=no expect=no body=");
    heard = ask(&(struct http_request){.method = "GET", .url = at("/echo/d")});
    assert_string_equal(heard.body, "GET /echo/d type=none test= token= empty=no expect=no body=");
    heard = ask(&(struct http_request){.method = "HEAD", .url = at("/echo/e")});
    assert_int_equal(heard.status, 200);
    assert_string_equal(heard.body, "");
}

static void no_request_inherits_from_the_one_before(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"};
    for (int i = 0; i < 36; i++) {
        const char *first = methods[i / 6], *second = methods[i % 6];
        char expected[100];
        ask(&(struct http_request){.method = first,
                                   .url = at("/echo/1"),
                                   .target = i % 2 ? "/echo/target" : NULL,
                                   .headers = (const char *const[]){"X-Test: 1", NULL},
                                   .body = STR_LIT("first"),
                                   .timeout_ms = i % 3 ? 0 : 5000});
        struct heard heard = ask(&(struct http_request){.method = second, .url = at("/echo/2")});
        snprintf(expected, sizeof(expected), "%s /echo/2 type=none test= token= empty=no expect=no body=", second);
        assert_string_equal(heard.body, strcmp(second, "HEAD") == 0 ? "" : expected);
        assert_int_equal(heard.status, 200);
    }
}

static void a_target_is_sent_as_it_is(void **state)
{
    (void)state;
    struct heard heard = ask(&(struct http_request){.method = "GET", .url = base, .target = "/echo/../x/./%7e?q=[1]"});
    assert_non_null(strstr(heard.body, "GET /echo/../x/./~ "));
}

static void a_large_body_arrives_whole_and_without_expectation(void **state)
{
    (void)state;
    char *bytes = mem_alloc(2 * 1024 * 1024);
    memset(bytes, 'w', 2 * 1024 * 1024);
    struct heard heard =
        ask(&(struct http_request){.method = "POST", .url = at("/echo/"), .body = {bytes, 2 * 1024 * 1024}});
    free(bytes);
    assert_int_equal(heard.status, 200);
    assert_non_null(strstr(heard.body, "expect=no body=wwww"));
}

static void retry_after_is_told_apart_from_none(void **state)
{
    (void)state;
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/busy")}).retry_after_ms, -1);
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/busy?after=0")}).retry_after_ms, 0);
    struct heard heard = ask(&(struct http_request){.method = "GET", .url = at("/busy?after=7")});
    assert_int_equal(heard.retry_after_ms, 7000);
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/busy")}).retry_after_ms, -1);
    assert_int_equal(heard.status, 503);
    assert_string_equal(heard.body, "busy");
}

static void redirects_are_not_followed(void **state)
{
    (void)state;
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/redirect")}).status, 302);
    assert_int_equal(seen, 0);
}

static void a_proxy_in_the_environment_is_ignored(void **state)
{
    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/echo/")}).status, 200);
    unsetenv("http_proxy");
}

static void a_host_may_be_a_name(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(url, sizeof(url), "http://localhost:%u/echo/", httpd_port(httpd));
        struct heard heard = ask(&(struct http_request){.method = "GET", .url = url, .connect_timeout_ms = 5000});
        assert_int_equal(heard.status, 200);
        snprintf(url, sizeof(url), "http://no-such-host.invalid:%u/echo/", httpd_port(httpd));
        heard = ask(&(struct http_request){.method = "GET", .url = url, .timeout_ms = 5000});
        assert_int_equal(heard.status, 0);
    }
}

/* Bound and not listening: nobody else can take the port. Returns the descriptor, and the URL in TEXT. */
static int refuse_at(char *text, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    snprintf(text, size, "http://127.0.0.1:%u/", ntohs(address.sin_port));
    return fd;
}

/* Descriptors come again at once, for a connection that stands or for the next that is refused. */
static void refused_connections_do_not_confuse_the_others(void **state)
{
    (void)state;
    char refused[64];
    int fd = refuse_at(refused, sizeof(refused));
    for (int round = 0; round < 100; round++) {
        struct heard heard[8] = {0};
        const char *const closing[] = {"Connection: close", NULL};
        for (int i = 0; i < 8; i++)
            http_client_start(client,
                              &(struct http_request){.method = "GET",
                                                     .url = (round + i) % 3 == 0 ? refused : at("/echo/"),
                                                     .headers = i % 2 == 0 ? closing : NULL},
                              NULL, on_done, &heard[i]);
        for (int i = 0; i < 8; i++) {
            run_until(&heard[i].done, 1);
            assert_int_equal(heard[i].status, (round + i) % 3 == 0 ? 0 : 200);
            assert_int_equal(heard[i].unreached, (round + i) % 3 == 0);
        }
    }
    close(fd);
}

/* curl closes a socket that never connected without a word; its number may come again at once. */
static void a_connection_that_does_not_come_about_is_forgotten(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    char full[64];
    int held[8], fd = refuse_at(full, sizeof(full));
    socklen_t len = sizeof(address);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 8; i++) { /* fills the queue of those that wait to be accepted */
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(held[i], (struct sockaddr *)&address, len);
    }
    for (int round = 0; round < 5; round++) {
        struct heard heard = ask(&(struct http_request){.method = "GET", .url = full, .connect_timeout_ms = 50});
        assert_int_equal(heard.status, 0);
        assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/echo/")}).status, 200);
    }
    for (int i = 0; i < 8; i++)
        close(held[i]);
    close(fd);
}

static void nobody_listening_is_a_fault_on_a_later_turn(void **state)
{
    (void)state;
    int fd = refuse_at(url, sizeof(url));
    struct heard heard = ask(&(struct http_request){.method = "GET", .url = url});
    assert_int_equal(heard.status, 0);
    assert_string_not_equal(heard.error, "");
    heard = ask(&(struct http_request){.method = "GET", .url = "nonsense://x"});
    assert_int_equal(heard.status, 0);
    assert_string_not_equal(heard.error, "");
    close(fd);
}

static void an_answer_that_does_not_come_times_out(void **state)
{
    (void)state;
    uint64_t from_us = clock_monotonic_us();
    struct heard heard = ask(&(struct http_request){.method = "GET", .url = at("/kept"), .timeout_ms = 150});
    assert_int_equal(heard.status, 0);
    assert_string_not_equal(heard.error, "");
    assert_in_range(clock_monotonic_us() - from_us, 140000, PATIENCE_US);
    assert_true(heard.timed_out);
    assert_false(heard.unreached);
    assert_non_null(kept);
}

static void an_answer_that_is_too_long_fails(void **state)
{
    (void)state;
    struct heard heard = ask(&(struct http_request){.method = "GET", .url = at("/long"), .most_response = 2999});
    assert_int_equal(heard.status, 0);
    assert_string_equal(heard.error, "the answer is longer than allowed");
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/long"), .most_response = 3000}).status,
                     200);
}

static void an_answer_that_is_too_long_may_be_cut(void **state)
{
    (void)state;
    struct http_request request = {.method = "GET", .url = at("/long"), .most_response = 2999, .cuts_response = true};
    struct heard heard = ask(&request);
    assert_int_equal(heard.status, 200);
    assert_string_equal(heard.error, "");
    assert_true(heard.cut);
    request.most_response = 3000;
    assert_false(ask(&request).cut);
}

static void many_requests_share_a_few_connections(void **state)
{
    (void)state;
    enum { MANY = 400 };
    struct heard *heard = mem_calloc(MANY, sizeof(*heard));
    for (int i = 0; i < MANY; i++)
        http_client_start(client, &(struct http_request){.method = "GET", .url = at("/echo/")}, NULL, on_done,
                          &heard[i]);
    for (int i = 0; i < MANY; i++) {
        run_until(&heard[i].done, 1);
        assert_int_equal(heard[i].status, 200);
    }
    assert_int_equal(seen, MANY);
    free(heard);
}

static void a_connection_that_the_server_closed_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(ask(&(struct http_request){.method = "POST", .url = at("/echo/")}).status, 200);
    unsigned port = httpd_port(httpd);
    char listen_at[32];
    httpd_destroy(&httpd);
    turns(3);
    struct error err = {0};
    snprintf(listen_at, sizeof(listen_at), "127.0.0.1:%u", port);
    struct httpd_config config = {
        .listen = listen_at, .routes = routes, .route_count = sizeof(routes) / sizeof(*routes), .most_body = 1024};
    httpd = httpd_create(loop, &config, &err);
    assert_non_null(httpd);
    assert_int_equal(ask(&(struct http_request){.method = "POST", .url = at("/echo/")}).status, 200);
}

static void events_are_handed_over_as_they_come(void **state)
{
    (void)state;
    struct heard heard = {0};
    struct http_transfer *transfer = http_client_start(
        client, &(struct http_request){.method = "GET", .url = at("/events")}, on_data, on_done, &heard);
    for (int i = 0; i < 200 && stream == NULL; i++)
        turns(1);
    assert_true(httpd_stream_send(stream, "health", STR_LIT("{}")));
    for (int i = 0; i < 200 && strstr(heard.streamed, "\n\n") == NULL; i++)
        turns(1);
    assert_string_equal(heard.streamed, "event: health\ndata: {}\n\n");
    assert_int_equal(heard.done, 0);
    http_transfer_cancel(transfer);
    turns(5);
    assert_int_equal(heard.done, 0);
}

static void the_body_of_a_refused_stream_is_not_mistaken_for_events(void **state)
{
    (void)state;
    struct heard heard = {0};
    http_client_start(client, &(struct http_request){.method = "GET", .url = at("/busy")}, on_data, on_done, &heard);
    run_until(&heard.done, 1);
    assert_int_equal(heard.status, 503);
    assert_string_equal(heard.streamed, "");
    assert_string_equal(heard.body, "busy");
}

static void a_stream_may_be_cancelled_from_its_own_callback(void **state)
{
    (void)state;
    struct heard heard = {0};
    heard.cancel = http_client_start(client, &(struct http_request){.method = "GET", .url = at("/events")}, on_data,
                                     on_done, &heard);
    for (int i = 0; i < 200 && stream == NULL; i++)
        turns(1);
    assert_true(httpd_stream_send(stream, "health", STR_LIT("{}")));
    for (int i = 0; i < 200 && heard.streamed[0] == '\0'; i++)
        turns(1);
    heard.cancel = NULL;
    turns(5);
    assert_int_equal(heard.done, 0);
    assert_int_equal(ask(&(struct http_request){.method = "GET", .url = at("/echo/")}).status, 200);
}

static void destroying_the_client_cancels_what_is_under_way(void **state)
{
    (void)state;
    struct heard heard = {0};
    http_client_start(client, &(struct http_request){.method = "GET", .url = at("/kept")}, NULL, on_done, &heard);
    for (int i = 0; i < 200 && kept == NULL; i++)
        turns(1);
    http_client_destroy(&client);
    turns(3);
    assert_int_equal(heard.done, 0);
}

struct server {
    int stop; /* an eventfd */
    sd_event *loop;
};

static int on_stop(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)fd, (void)events, (void)arg;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static void *serve(void *arg)
{
    struct server *server = arg;
    assert_true(sd_event_add_io(server->loop, NULL, server->stop, 1 /* EPOLLIN */, on_stop, NULL) >= 0);
    sd_event_loop(server->loop);
    return NULL;
}

static void a_blocking_call_answers_or_says_who_did_not(void **state)
{
    (void)state;
    struct server server = {eventfd(0, EFD_CLOEXEC), NULL};
    struct error err = {0};
    struct buf body = {0};
    pthread_t thread;
    struct httpd_config config = {
        .listen = "127.0.0.1:0", .routes = routes, .route_count = sizeof(routes) / sizeof(*routes), .most_body = 1024};
    assert_true(sd_event_new(&server.loop) >= 0);
    struct httpd *own = httpd_create(server.loop, &config, &err);
    assert_non_null(own);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/echo/", httpd_port(own));
    assert_int_equal(pthread_create(&thread, NULL, serve, &server), 0);
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = 5000, .bearer_token = "hidden"};
    assert_int_equal(http_call(&request, &body, &err), 200);
    assert_non_null(strstr(body.base, "GET /echo/"));
    assert_int_equal(eventfd_write(server.stop, 1), 0);
    pthread_join(thread, NULL);
    httpd_destroy(&own);
    sd_event_unref(server.loop);
    close(server.stop);
    assert_int_equal(http_call(&request, &body, &err), -1);
    assert_int_equal(err.code, ERROR_UNREACHABLE);
    assert_null(strstr(err.text, "hidden"));
    buf_free(&body);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_carries_what_was_given_and_nothing_else),
        TEST(no_request_inherits_from_the_one_before),
        TEST(a_target_is_sent_as_it_is),
        TEST(a_large_body_arrives_whole_and_without_expectation),
        TEST(retry_after_is_told_apart_from_none),
        TEST(redirects_are_not_followed),
        TEST(a_proxy_in_the_environment_is_ignored),
        TEST(a_host_may_be_a_name),
        TEST(refused_connections_do_not_confuse_the_others),
        TEST(a_connection_that_does_not_come_about_is_forgotten),
        TEST(nobody_listening_is_a_fault_on_a_later_turn),
        TEST(an_answer_that_does_not_come_times_out),
        TEST(an_answer_that_is_too_long_fails),
        TEST(an_answer_that_is_too_long_may_be_cut),
        TEST(many_requests_share_a_few_connections),
        TEST(a_connection_that_the_server_closed_is_replaced),
        TEST(events_are_handed_over_as_they_come),
        TEST(the_body_of_a_refused_stream_is_not_mistaken_for_events),
        TEST(a_stream_may_be_cancelled_from_its_own_callback),
        TEST(destroying_the_client_cancels_what_is_under_way),
        TEST(a_blocking_call_answers_or_says_who_did_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
