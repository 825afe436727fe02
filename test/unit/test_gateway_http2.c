/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdlib.h>

#include "common/measure.h"
#include "test/unit/http2_client.h"
#include "test/unit/ingress_driver.h"

static void requests_over_http2_are_answered(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    uint32_t stream = put_request(&client, "GET", "/a?b", END_STREAM);
    assert_int_equal(ask(&client, stream, "GET /a?b host=h body=0:"), 200);
    stream = put_request(&client, "POST", "/c", 0);
    put_frame(&client, DATA, 0, stream, STR_LIT("hel"));
    put_frame(&client, DATA, END_STREAM, stream, STR_LIT("lo"));
    assert_int_equal(ask(&client, stream, "POST /c host=h body=5:hello"), 200);
    close_client(&client);
}

/* The first bytes may come one by one: the connection is HTTP/1's until the preface's first line is whole. */
static void a_preface_in_pieces_is_understood(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    uint32_t stream = put_request(&client, "GET", "/a", END_STREAM);
    while (client.out.len > 1) {
        assert_int_equal(send(client.fd, client.out.base, 1, MSG_NOSIGNAL), 1);
        buf_consume(&client.out, 1);
    }
    assert_int_equal(ask(&client, stream, "GET /a"), 200);
    close_client(&client);
}

static void put_reset(struct h2_client *client, uint32_t stream)
{
    put_frame(client, RST_STREAM, 0, stream, STR_LIT("\0\0\0\x08"));
}

/* The client floods until it is shut out; then GOAWAY with ENHANCE_YOUR_CALM is what it has read. */
static void expect_calm(struct h2_client *client)
{
    bool over = listen_for(client, 0, NULL);
    assert_true(over);
    assert_int_equal(client->goaway, CALM);
    assert_int_equal(stat_get(&ingress.worker.stats.http2_guard_closes_total), 1);
    close_client(client);
}

static void rapid_reset_ends_the_connection(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    for (int i = 0; i < 5000; i++)
        put_reset(&client, put_request(&client, "GET", "/hold", END_STREAM));
    flush_client(&client);
    expect_calm(&client);
    assert_in_range(atomic_load(&ingress.handled), 20, 22);
}

static void answers_excuse_cancelled_streams(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    for (int i = 0; i < 60; i++)
        assert_int_equal(ask(&client, put_request(&client, "GET", "/a", END_STREAM), NULL), 200);
    for (int i = 0; i < 60; i++)
        put_reset(&client, put_request(&client, "GET", "/hold", END_STREAM));
    assert_int_equal(ask(&client, put_request(&client, "GET", "/a", END_STREAM), NULL), 200);
    assert_int_equal(client.goaway, -1);
    close_client(&client);
}

/* A window of 0 more makes the server reset the stream itself. */
static void making_the_server_reset_streams_ends_the_connection_too(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    for (int i = 0; i < 1000; i++) {
        uint32_t stream = put_request(&client, "GET", "/hold", END_STREAM);
        put_frame(&client, WINDOW_UPDATE, 0, stream, STR_LIT("\0\0\0\0"));
    }
    flush_client(&client);
    expect_calm(&client);
    assert_in_range(atomic_load(&ingress.handled), 20, 22);
}

static void streams_beyond_what_is_allowed_count_as_cancelled(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    for (int i = 0; i < 1000; i++)
        put_request(&client, "GET", "/hold", END_STREAM);
    flush_client(&client);
    expect_calm(&client);
    assert_int_equal(atomic_load(&ingress.handled), 100);
}

static void floods_of_empty_work_end_the_connection(void **state)
{
    static const struct {
        enum frame_type type;
        unsigned flags;
        uint32_t stream;
        struct str payload;
    } floods[] = {
        {PING, 0, 0, {"01234567", 8}},         {SETTINGS, 0, 0, {"", 0}},   {WINDOW_UPDATE, 0, 0, {"\0\0\0\x01", 4}},
        {PRIORITY, 0, 1, {"\0\0\0\0\x10", 5}}, {DATA, 0, 1, {"", 0}},       {DATA, 8, 1, {"\x03\0\0\0", 4}},
        {RST_STREAM, 0, 1, {"\0\0\0\x08", 4}}, {EXTENSION, 0, 0, {"x", 1}}, {GOAWAY, 0, 0, {"\0\0\0\0\0\0\0\0", 8}},
        {PING, ACK, 0, {"01234567", 8}},
    };
    for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        struct h2_client client = open_client();
        stat_set(&ingress.worker.stats.http2_guard_closes_total, 0);
        put_settings(&client);
        put_request(&client, "POST", "/a", 0);
        for (int n = 0; n < 1000; n++)
            put_frame(&client, floods[i].type, floods[i].flags, floods[i].stream, floods[i].payload);
        flush_client(&client);
        expect_calm(&client);
    }
    (void)state;
}

static void a_header_block_beyond_the_limit_ends_the_connection(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf filler = {NULL, 0, 0};
    put_settings(&client);
    memset(buf_reserve(&filler, 1000), 'x', 1000);
    filler.len = 1000;
    put_frame(&client, HEADERS, END_STREAM, 1, STR_LIT("\x82"));
    for (int i = 0; i < 100; i++)
        put_frame(&client, CONTINUATION, 0, 1, buf_str(&filler));
    flush_client(&client);
    expect_calm(&client);
    assert_int_equal(atomic_load(&ingress.handled), 0);
    buf_free(&filler);
}

static void a_header_block_that_does_not_end_is_cut(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    put_frame(&client, HEADERS, END_STREAM, 1, STR_LIT("\x82"));
    flush_client(&client);
    expect_calm(&client);
}

/* Compressed, a block is small: one field in the table, named again and again. */
static void fields_are_measured_uncompressed(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf block = request_block("GET", "/a");
    char value[120];
    put_settings(&client);
    memset(value, 'v', sizeof(value));
    buf_append(&block, "\x40\x01x\x78", 4); /* into the dynamic table, where it gets index 62 */
    buf_append(&block, value, 120);
    for (int i = 0; i < 4000; i++)
        buf_append(&block, "\xbe", 1);
    assert_int_equal(ask(&client, put_block(&client, &block, END_STREAM), "head-too-large"), 431);
    close_client(&client);
}

static void a_long_path_is_refused_by_name(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf block = {NULL, 0, 0};
    put_settings(&client);
    put_field(&block, STR_LIT(":method"), STR_LIT("GET"));
    put_field(&block, STR_LIT(":scheme"), STR_LIT("http"));
    put_field(&block, STR_LIT(":authority"), STR_LIT("h"));
    buf_append(&block, "\x04\x7f\xa9\x45/", 5); /* 127 + 0x29 + (0x45 << 7) = 9000 */
    for (int i = 1; i < 9000; i++)
        buf_append(&block, "x", 1);
    assert_int_equal(ask(&client, put_block(&client, &block, END_STREAM), "uri-too-long"), 414);
    close_client(&client);
}

/* What an HTTP/1 node behind the gateway would read otherwise. Status 0: the stream is reset, -1: the connection. */
static const struct {
    const char *what;
    struct str name, value;
    int status;
} odd_fields[] = {
#define ODD(what, name, value, status)                                                                                 \
    {                                                                                                                  \
        what, {name, sizeof(name) - 1}, {value, sizeof(value) - 1}, status                                             \
    }
    ODD("a plain field", "x", "y", 200),
    ODD("trailers wanted", "te", "trailers", 200),
    ODD("a tab inside", "x", "a\tb", 200),
    ODD("CR LF", "x", "a\r\nX-User-Id: 1", 400),
    ODD("LF", "x", "a\nb", 400),
    ODD("NUL", "x", "a\0b", 400),
    ODD("a blank in front", "x", " a", 400),
    ODD("a blank behind", "x", "a ", 400),
    ODD("an empty name", "", "a", 400),
    ODD("a blank in a name", "x y", "a", 400),
    ODD("a colon in a name", "x:y", "a", 400),
    ODD("LF in a name", "x\ny", "a", 400),
    ODD("keep-alive", "keep-alive", "1", 400),
    ODD("proxy-connection", "proxy-connection", "close", 400),
    ODD("connection", "connection", "close", -1),
    ODD("transfer-encoding", "transfer-encoding", "chunked", -1),
    ODD("upgrade", "upgrade", "h2c", -1),
    ODD("te", "te", "gzip", -1),
    ODD("an upper-case name", "X", "a", -1),
    ODD("a second path", ":path", "/b", -1),
    ODD("an unknown pseudo field", ":x", "a", -1),
    ODD("a length without body", "content-length", "5", 400),
    ODD("a signed length", "content-length", "+0", -1),
};

static void odd_fields_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(odd_fields) / sizeof(odd_fields[0]); i++) {
        struct h2_client client = open_client();
        struct buf block = request_block("GET", "/a");
        put_settings(&client);
        put_field(&block, odd_fields[i].name, odd_fields[i].value);
        int status = ask(&client, put_block(&client, &block, END_STREAM), NULL);
        if (status != odd_fields[i].status)
            fail_msg("%s: %d, not %d", odd_fields[i].what, status, odd_fields[i].status);
        close_client(&client);
    }
}

static void odd_requests_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *method, *scheme, *path, *authority;
        int status;
    } cases[] = {
        {"GET", "http", "/", "h:80", 200},  {"OPTIONS", "http", "*", "h", 200}, {"GET", "http", "*", "h", 400},
        {"CONNECT", "http", "/", "h", 400}, {"GET", "http", "a", "h", 400},     {"GET", "http", "", "h", 400},
        {"GET", "http", "/a b", "h", 400},  {"GET", "http", "/#", "h", 400},    {"GET", "http", "/\x7f", "h", 400},
        {"G T", "http", "/", "h", 400},     {"", "http", "/", "h", 400},        {"GET", "http", "/", "a b", 400},
        {"GET", "http", "/", "u@h", 400},   {"GET", "http", "/", "h/x", 400},   {"GET", "http", "/", "", 400},
        {"GET", "http", "/", NULL, 400},    {"GET", NULL, "/", "h", 0},         {"GET", "http", NULL, "h", 0},
        {NULL, "http", "/", "h", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct h2_client client = open_client();
        struct buf block = {NULL, 0, 0};
        put_settings(&client);
        if (cases[i].method != NULL)
            put_field(&block, STR_LIT(":method"), str_of(cases[i].method));
        if (cases[i].scheme != NULL)
            put_field(&block, STR_LIT(":scheme"), str_of(cases[i].scheme));
        if (cases[i].path != NULL)
            put_field(&block, STR_LIT(":path"), str_of(cases[i].path));
        if (cases[i].authority != NULL)
            put_field(&block, STR_LIT(":authority"), str_of(cases[i].authority));
        int status = ask(&client, put_block(&client, &block, END_STREAM), NULL);
        if (status != cases[i].status)
            fail_msg("case %zu: %d, not %d", i, status, cases[i].status);
        close_client(&client);
    }
}

static void a_length_that_differs_from_the_body_is_refused(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf block = request_block("POST", "/a");
    put_settings(&client);
    put_field(&block, STR_LIT("content-length"), STR_LIT("3"));
    uint32_t stream = put_block(&client, &block, 0);
    put_frame(&client, DATA, END_STREAM, stream, STR_LIT("hello"));
    assert_int_equal(ask(&client, stream, NULL), 0);
    assert_int_equal(atomic_load(&ingress.handled), 0);
    close_client(&client);
}

static void trailers_do_not_become_fields(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf trailers = {NULL, 0, 0};
    put_settings(&client);
    uint32_t stream = put_request(&client, "POST", "/fields", 0);
    put_frame(&client, DATA, 0, stream, STR_LIT("hello"));
    put_field(&trailers, STR_LIT("x-user-id"), STR_LIT("1"));
    put_frame(&client, HEADERS, END_STREAM | END_HEADERS, stream, buf_str(&trailers));
    buf_free(&trailers);
    assert_int_equal(ask(&client, stream, "fields=0"), 200);
    close_client(&client);
}

static void put_body(struct h2_client *client, uint32_t stream, size_t size, unsigned last_flags)
{
    static char bytes[10000];
    for (size_t sent = 0; sent < size; sent += sizeof(bytes))
        put_frame(client, DATA, sent + sizeof(bytes) >= size ? last_flags : 0, stream,
                  (struct str){bytes, sizeof(bytes)});
}

static void large_bodies_are_answered_not_reset(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    struct buf block = request_block("POST", "/a");
    put_field(&block, STR_LIT("content-length"), STR_LIT("100001"));
    assert_int_equal(ask(&client, put_block(&client, &block, 0), "body-too-large"), 413);
    for (int i = 0; i < 4; i++) { /* the connection's window is given back, so that it goes on */
        uint32_t stream = put_request(&client, "POST", "/a", 0);
        put_body(&client, stream, 190000, END_STREAM);
        assert_int_equal(ask(&client, stream, "body-too-large"), 413);
    }
    uint32_t stream = put_request(&client, "POST", "/a", 0);
    put_body(&client, stream, 100000, END_STREAM);
    assert_int_equal(ask(&client, stream, "body=100000"), 200);
    close_client(&client);
}

static void bodies_count_against_the_total(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    for (int i = 0; i < 3; i++)
        put_body(&client, put_request(&client, "POST", "/a", 0), 90000, 0);
    flush_client(&client);
    assert_true(ingress_wait_body_bytes(270000, 300000));
    uint32_t stream = put_request(&client, "POST", "/a", 0);
    put_body(&client, stream, 40000, END_STREAM);
    assert_int_equal(ask(&client, stream, "overloaded"), 503);
    close_client(&client);
    assert_true(ingress_wait_body_bytes(0, 0));
}

static void slow_bodies_are_answered(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    uint32_t stream = put_request(&client, "POST", "/a", 0);
    put_frame(&client, DATA, 0, stream, STR_LIT("hello"));
    assert_int_equal(ask(&client, stream, "too-slow"), 408);
    assert_int_equal(ask(&client, put_request(&client, "GET", "/b", END_STREAM), "GET /b"), 200);
    close_client(&client);
}

/* Its stream's window is 65535 and never grows. */
static void a_client_that_takes_nothing_is_cut_off(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    put_request(&client, "GET", "/large", END_STREAM);
    flush_client(&client);
    assert_true(listen_for(&client, 0, NULL));
    assert_true(ingress_wait(&ingress.disposed, 1));
    close_client(&client);
}

/* What waits to be written to a client that takes little: the piece of one stream, which has used up its window. */
static struct h2_client open_blocked_client(uint32_t *stream)
{
    struct h2_client client = open_narrow_client();
    put_frame(&client, SETTINGS, 0, 0, STR_LIT("\0\x04\0\x01\0\0")); /* a window of 65536 bytes, as a piece has */
    put_frame(&client, WINDOW_UPDATE, 0, 0, STR_LIT("\0\x10\0\0"));
    *stream = put_request(&client, "GET", "/large", END_STREAM);
    flush_client(&client);
    assert_true(ingress_wait(&ingress.pieces, 1));
    return client;
}

/* libh2o holds that a stream whose window grows from 0 waits for nothing else. */
static void a_window_may_grow_after_the_last_byte(void **state)
{
    static const struct {
        enum frame_type type;
        bool of_stream;
        struct str payload;
    } growths[] = {
        {WINDOW_UPDATE, true, {"\0\0\0\x01", 4}},
        {SETTINGS, false, {"\0\x04\0\x02\0\0", 6}},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(growths); i++) {
        uint32_t stream;
        struct h2_client client = open_blocked_client(&stream);
        put_reset(&client, stream);
        put_frame(&client, growths[i].type, 0, growths[i].of_stream ? stream : 0, growths[i].payload);
        assert_int_equal(ask(&client, put_request(&client, "GET", "/a", END_STREAM), "GET /a"), 200);
        close_client(&client);
        ingress.pieces = 0;
    }
}

static void a_window_may_close_before_an_end_without_bytes(void **state)
{
    (void)state;
    uint32_t blocked;
    struct h2_client client = open_blocked_client(&blocked);
    uint32_t stream = put_request(&client, "HEAD", "/a", END_STREAM);
    flush_client(&client);
    assert_true(ingress_wait(&ingress.handled, 2));
    put_frame(&client, SETTINGS, 0, 0, STR_LIT("\0\x04\0\0\0\0"));
    assert_int_equal(ask(&client, stream, NULL), 200);
    close_client(&client);
}

static void draining_says_goaway(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    put_settings(&client);
    assert_int_equal(ask(&client, put_request(&client, "GET", "/a", END_STREAM), NULL), 200);
    ingress_drain();
    assert_true(listen_for(&client, 0, NULL));
    assert_int_equal(client.goaway, 0);
    close_client(&client);
}

/* However long they take; a block of fields that ends meanwhile opens no stream. */
static void draining_lets_streams_end(void **state)
{
    (void)state;
    struct h2_client client = open_client();
    struct buf block = request_block("GET", "/late");
    put_settings(&client);
    uint32_t stream = put_request(&client, "GET", "/hold", END_STREAM);
    put_frame(&client, HEADERS, END_STREAM, client.next_stream, STR_LIT(""));
    flush_client(&client);
    assert_true(ingress_wait(&ingress.handled, 1));
    ingress_drain();
    while (client.goaways < 2)
        assert_true(hear_frame(&client));
    put_frame(&client, CONTINUATION, END_HEADERS, client.next_stream, buf_str(&block));
    flush_client(&client);
    struct pollfd ready = {.fd = client.fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, 1500), 0);
    ingress_release();
    assert_int_equal(ask(&client, stream, "GET /hold"), 200);
    assert_true(listen_for(&client, 0, NULL));
    assert_int_equal(atomic_load(&ingress.handled), 1);
    buf_free(&block);
    close_client(&client);
}

int main(void)
{
#define TEST(name)  cmocka_unit_test_setup_teardown(name, ingress_start_http2, ingress_stop)
#define HASTY(name) cmocka_unit_test_setup_teardown(name, ingress_start_http2_hasty, ingress_stop)
    const struct CMUnitTest tests[] = {
        TEST(requests_over_http2_are_answered),
        TEST(a_preface_in_pieces_is_understood),
        TEST(rapid_reset_ends_the_connection),
        TEST(answers_excuse_cancelled_streams),
        TEST(making_the_server_reset_streams_ends_the_connection_too),
        TEST(streams_beyond_what_is_allowed_count_as_cancelled),
        TEST(floods_of_empty_work_end_the_connection),
        TEST(a_header_block_beyond_the_limit_ends_the_connection),
        HASTY(a_header_block_that_does_not_end_is_cut),
        TEST(fields_are_measured_uncompressed),
        TEST(a_long_path_is_refused_by_name),
        TEST(odd_fields_are_refused),
        TEST(odd_requests_are_refused),
        TEST(a_length_that_differs_from_the_body_is_refused),
        TEST(trailers_do_not_become_fields),
        TEST(large_bodies_are_answered_not_reset),
        TEST(bodies_count_against_the_total),
        HASTY(slow_bodies_are_answered),
        HASTY(a_client_that_takes_nothing_is_cut_off),
        TEST(a_window_may_grow_after_the_last_byte),
        TEST(a_window_may_close_before_an_end_without_bytes),
        TEST(draining_says_goaway),
        TEST(draining_lets_streams_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
