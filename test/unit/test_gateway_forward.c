/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node gets to see of a request, and a client of an answer.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "gateway/forward.h"
#include "gateway/gateway.h"

static const struct str via = STR_LIT("gw-1");

/* A request as libh2o hands it over, with what was decided for it. */
struct fixture {
    h2o_req_t req;
    h2o_conn_t conn;
    struct sockaddr_storage peer;
    struct table_unit rules;
    struct table table;
    struct unit unit;
    struct view_unit place;
    struct view view;
    struct exchange exchange;
    char text[8192];
};

static struct fixture *current;

static socklen_t get_peername(h2o_conn_t *conn, struct sockaddr *address)
{
    (void)conn;
    memcpy(address, &current->peer, sizeof(current->peer));
    return current->peer.ss_family == 0 ? 0 : sizeof(current->peer);
}

static const h2o_conn_callbacks_t callbacks = {.get_peername = get_peername};

static void set_peer(struct fixture *fixture, int family, const char *text)
{
    fixture->peer.ss_family = (sa_family_t)family;
    void *bytes = family == AF_INET ? (void *)&((struct sockaddr_in *)&fixture->peer)->sin_addr
                                    : (void *)&((struct sockaddr_in6 *)&fixture->peer)->sin6_addr;
    assert_int_equal(inet_pton(family, text, bytes), 1);
}

static int begin(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    current = *state = &fixture;
    h2o_mem_init_pool(&fixture.req.pool);
    fixture.conn.callbacks = &callbacks;
    fixture.req.conn = &fixture.conn;
    fixture.req.scheme = &H2O_URL_SCHEME_HTTP;
    fixture.req.method = h2o_iovec_init(H2O_STRLIT("GET"));
    fixture.req.path = h2o_iovec_init(H2O_STRLIT("/a%20b?c=d"));
    fixture.req.authority = h2o_iovec_init(H2O_STRLIT("shop.example:8080"));
    fixture.req.version = 0x101;
    fixture.rules.name = STR_LIT("RZ01");
    fixture.table.epoch = 12;
    fixture.table.units = &fixture.rules;
    fixture.place.unit = &fixture.unit;
    fixture.view.units = &fixture.place;
    fixture.view.table = &fixture.table;
    fixture.exchange = (struct exchange){.req = &fixture.req,
                                         .view = &fixture.view,
                                         .rules = &fixture.rules,
                                         .decision = {.slot = 34, .color = COLOR_GREEN},
                                         .traceparent = STR_LIT("00-0af7-b7ad-01")};
    set_peer(&fixture, AF_INET, "192.0.2.1");
    return 0;
}

static int end(void **state)
{
    h2o_mem_clear_pool(&((struct fixture *)*state)->req.pool);
    return 0;
}

static void add(struct fixture *fixture, const char *name, const char *value)
{
    h2o_add_header_by_str(&fixture->req.pool, &fixture->req.headers, name, strlen(name), 1, NULL, value, strlen(value));
}

static const char *request_head(struct fixture *fixture, bool upgrade)
{
    h2o_iovec_t head = forward_request_head(&fixture->exchange, via, upgrade);
    assert_true(head.len < sizeof(fixture->text));
    memcpy(fixture->text, head.base, head.len);
    fixture->text[head.len] = '\0';
    return fixture->text;
}

static void assert_line(const char *head, const char *line)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
    if (strstr(head, whole) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, head);
}

static void assert_nowhere(const char *head, const char *text)
{
    if (strcasestr(head, text) != NULL)
        fail_msg("\"%s\" is in:\n%s", text, head);
}

static void a_plain_request_says_who_asked_and_where_it_belongs(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, "accept", "*/*");
    add(fixture, "x-thing", "1");
    assert_string_equal(request_head(fixture, false),
                        "GET /a%20b?c=d HTTP/1.1\r\n"
                        "Host: shop.example:8080\r\n"
                        "accept: */*\r\n"
                        "x-thing: 1\r\n"
                        "X-Forwarded-For: 192.0.2.1\r\n"
                        "X-Forwarded-Proto: http\r\n"
                        "X-Forwarded-Host: shop.example:8080\r\n"
                        "Forwarded: for=192.0.2.1;host=\"shop.example:8080\";proto=http\r\n"
                        "Via: 1.1 gw-1\r\n"
                        "LDC-Unit: RZ01\r\n"
                        "LDC-Slot: 34\r\n"
                        "LDC-Color: green\r\n"
                        "LDC-Epoch: 12\r\n"
                        "traceparent: 00-0af7-b7ad-01\r\n"
                        "\r\n");
}

static void users_without_a_slot_have_none_in_the_head(void **state)
{
    struct fixture *fixture = *state;
    fixture->exchange.decision.slot = UINT32_MAX;
    assert_nowhere(request_head(fixture, false), "LDC-Slot");
}

static void fields_of_one_hop_stay_here(void **state)
{
    static const char *const names[] = {"keep-alive", "te",    "trailer",  "transfer-encoding", "proxy-authorization",
                                        "proxy-x",    "proxy", "x-custom", "http2-settings",    "x-other"};
    struct fixture *fixture = *state;
    add(fixture, "connection", "keep-alive, X-Custom");
    add(fixture, "connection", "x-other");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        add(fixture, names[i], "one-hop");
    add(fixture, "x-stays", "end");
    const char *head = request_head(fixture, false);
    assert_nowhere(head, "one-hop");
    assert_nowhere(head, "connection:");
    assert_line(head, "x-stays: end");
}

static void nobody_can_declare_credentials_to_be_of_one_hop(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = {.kind = SOURCE_HEADER, .name = STR_LIT("x-user-id")};
    fixture->table.sources = &source;
    fixture->table.source_count = 1;
    add(fixture, "connection", "X-User-Id, cookie, Authorization, content-length, host, x-custom");
    add(fixture, "x-user-id", "42");
    add(fixture, "cookie", "session=1");
    add(fixture, "authorization", "Bearer t");
    add(fixture, "x-custom", "one-hop");
    const char *head = request_head(fixture, false);
    assert_line(head, "x-user-id: 42");
    assert_line(head, "cookie: session=1");
    assert_line(head, "authorization: Bearer t");
    assert_nowhere(head, "one-hop");
    fixture->table.sources = NULL;
    fixture->table.source_count = 0;
}

static void strangers_cannot_say_where_they_come_from_or_belong(void **state)
{
    static const char *const names[] = {
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-thing",
        "forwarded",       "ldc-unit",          "ldc-slot",         "ldc-color",        "ldc-epoch",
        "traceparent",     "x_forwarded_for",   "x-forwarded_host"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        add(fixture, names[i], "forged");
    const char *head = request_head(fixture, false);
    assert_nowhere(head, "forged");
    assert_line(head, "X-Forwarded-For: 192.0.2.1");
    assert_line(head, "LDC-Unit: RZ01");
}

static void trusted_peers_are_believed_and_added_to(void **state)
{
    struct fixture *fixture = *state;
    fixture->exchange.trusted_peer = true;
    add(fixture, "x-forwarded-for", "203.0.113.7");
    add(fixture, "x-forwarded-for", "198.51.100.2");
    add(fixture, "forwarded", "for=203.0.113.7");
    add(fixture, "x-forwarded-proto", "https");
    add(fixture, "x-forwarded-host", "outer.example");
    add(fixture, "ldc-unit", "RZ99");
    add(fixture, "via", "2.0 outer");
    const char *head = request_head(fixture, false);
    assert_line(head, "X-Forwarded-For: 203.0.113.7, 198.51.100.2, 192.0.2.1");
    assert_line(head, "Forwarded: for=203.0.113.7, for=192.0.2.1;host=\"shop.example:8080\";proto=http");
    assert_line(head, "x-forwarded-proto: https");
    assert_line(head, "x-forwarded-host: outer.example");
    assert_line(head, "via: 2.0 outer");
    assert_line(head, "Via: 1.1 gw-1");
    assert_nowhere(head, "X-Forwarded-Proto: http\r\n");
    assert_nowhere(head, "RZ99");
}

static void addresses_of_every_family_are_written_as_their_rfcs_say(void **state)
{
    struct fixture *fixture = *state;
    set_peer(fixture, AF_INET6, "2001:db8::7");
    const char *head = request_head(fixture, false);
    assert_line(head, "X-Forwarded-For: 2001:db8::7");
    assert_line(head, "Forwarded: for=\"[2001:db8::7]\";host=\"shop.example:8080\";proto=http");
    fixture->peer.ss_family = AF_UNIX;
    head = request_head(fixture, false);
    assert_nowhere(head, "X-Forwarded-For");
    assert_line(head, "Forwarded: for=unknown;host=\"shop.example:8080\";proto=http");
}

static void cookies_that_http2_split_are_joined(void **state)
{
    struct fixture *fixture = *state;
    fixture->req.version = 0x200;
    add(fixture, "cookie", "a=1");
    add(fixture, "x-between", "1");
    add(fixture, "cookie", "b=2");
    const char *head = request_head(fixture, false);
    assert_line(head, "Cookie: a=1; b=2");
    assert_line(head, "Via: 2.0 gw-1");
    assert_nowhere(head, "cookie: b=2");
}

static void bodies_have_their_length_whatever_the_client_said(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, "content-length", "999");
    add(fixture, "expect", "100-continue");
    assert_nowhere(request_head(fixture, false), "content-length");
    fixture->req.method = h2o_iovec_init(H2O_STRLIT("POST"));
    assert_line(request_head(fixture, false), "Content-Length: 0");
    fixture->req.entity = h2o_iovec_init(H2O_STRLIT("hello"));
    const char *head = request_head(fixture, false);
    assert_line(head, "Content-Length: 5");
    assert_nowhere(head, "999");
    assert_nowhere(head, "100-continue");
}

static void an_upgrade_is_asked_for_in_our_own_words(void **state)
{
    struct fixture *fixture = *state;
    fixture->req.upgrade = h2o_iovec_init(H2O_STRLIT("websocket"));
    add(fixture, "connection", "Upgrade");
    add(fixture, "sec-websocket-key", "x");
    const char *head = request_head(fixture, true);
    assert_line(head, "Connection: Upgrade\r\nUpgrade: websocket");
    assert_line(head, "sec-websocket-key: x");
    assert_nowhere(request_head(fixture, false), "Upgrade");
}

static void a_host_cannot_break_out_of_its_quotes(void **state)
{
    struct fixture *fixture = *state;
    fixture->req.authority = h2o_iovec_init(H2O_STRLIT("a\"\\b"));
    assert_line(request_head(fixture, false), "Forwarded: for=192.0.2.1;host=\"a\\\"\\\\b\";proto=http");
}

static void many_and_long_fields_fit(void **state)
{
    struct fixture *fixture = *state;
    char value[40];
    fixture->exchange.trusted_peer = true;
    fixture->req.version = 0x200;
    for (int i = 0; i < 40; i++) {
        snprintf(value, sizeof(value), "value-number-%d", i);
        add(fixture, "x-forwarded-for", value);
        add(fixture, "forwarded", value);
        add(fixture, "cookie", value);
    }
    assert_non_null(strstr(request_head(fixture, false), "; value-number-39\r\n"));
}

/* ---- answers ---- */

static void answer(struct fixture *fixture, const char *text)
{
    struct response response;
    char bytes[1024];
    snprintf(bytes, sizeof(bytes), "%s", text);
    assert_int_equal(response_parse(str_of(bytes), 0, false, &response), RESPONSE_COMPLETE);
    forward_response_head(&fixture->exchange, &response, via);
    memset(bytes, 'X', sizeof(bytes)); /* nothing may point into them */
}

static const h2o_header_t *find(struct fixture *fixture, const char *name)
{
    ssize_t at = h2o_find_header_by_str(&fixture->req.res.headers, name, strlen(name), -1);
    return at < 0 ? NULL : &fixture->req.res.headers.entries[at];
}

static void assert_value(struct fixture *fixture, const char *name, const char *value)
{
    const h2o_header_t *field = find(fixture, name);
    assert_non_null(field);
    assert_int_equal(field->value.len, strlen(value));
    assert_memory_equal(field->value.base, value, strlen(value));
}

static void an_answer_is_copied_with_its_names_as_the_node_wrote_them(void **state)
{
    struct fixture *fixture = *state;
    answer(fixture, "HTTP/1.1 201 Made It\r\nContent-Length: 5\r\nContent-Type: text/plain \r\nX-Mixed-Case: v\r\n"
                    "Date: today\r\nServer: app\r\n\r\n");
    assert_int_equal(fixture->req.res.status, 201);
    assert_string_equal(fixture->req.res.reason, "Made It");
    assert_int_equal(fixture->req.res.content_length, 5);
    assert_value(fixture, "content-type", "text/plain");
    assert_ptr_equal(find(fixture, "content-type")->name, &H2O_TOKEN_CONTENT_TYPE->buf);
    assert_memory_equal(find(fixture, "x-mixed-case")->orig_name, "X-Mixed-Case", 12);
    assert_value(fixture, "date", "today");
    assert_value(fixture, "server", "app");
    assert_value(fixture, "via", "1.1 gw-1");
    assert_value(fixture, "ldc-unit", "RZ01");
    assert_value(fixture, "ldc-epoch", "12");
    assert_null(find(fixture, "content-length"));
}

static void an_answer_tells_nothing_of_its_hop_or_in_our_name(void **state)
{
    static const char *const names[] = {"connection",         "keep-alive", "te",       "trailer", "upgrade",
                                        "proxy-authenticate", "proxy-x",    "x-custom", "ldc-slot"};
    struct fixture *fixture = *state;
    answer(fixture, "HTTP/1.1 200 OK\r\nConnection: close, X-Custom\r\nKeep-Alive: 5\r\nTE: a\r\nTrailer: b\r\n"
                    "Upgrade: h2c\r\nProxy-Authenticate: c\r\nProxy-X: d\r\nX-Custom: e\r\nLDC-Slot: 1\r\n"
                    "LDC-Unit: RZ99\r\nX-Stays: f\r\n\r\n");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_null(find(fixture, names[i]));
    assert_value(fixture, "x-stays", "f");
    assert_value(fixture, "ldc-unit", "RZ01");
    assert_int_equal(fixture->req.res.content_length, SIZE_MAX);
}

static void http2_answers_leave_date_and_server_to_libh2o(void **state)
{
    struct fixture *fixture = *state;
    fixture->req.version = 0x200;
    answer(fixture, "HTTP/1.1 200 OK\r\nDate: today\r\nServer: app\r\n\r\n");
    assert_null(find(fixture, "date"));
    assert_null(find(fixture, "server"));
}

static void an_upgrade_answer_is_whole(void **state)
{
    struct fixture *fixture = *state;
    struct response response;
    const char *text = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: k\r\n\r\n";
    assert_int_equal(response_parse(str_of(text), 0, false, &response), RESPONSE_COMPLETE);
    assert_true(response.upgrade);
    struct str head = forward_upgrade_head(&fixture->exchange, &response, via);
    assert_true(
        str_equal(head, STR_LIT("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                "Sec-WebSocket-Accept: k\r\nvia: 1.1 gw-1\r\nldc-epoch: 12\r\nldc-unit: RZ01\r\n"
                                "ldc-color: green\r\n\r\n")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_plain_request_says_who_asked_and_where_it_belongs),
        TEST(users_without_a_slot_have_none_in_the_head),
        TEST(fields_of_one_hop_stay_here),
        TEST(nobody_can_declare_credentials_to_be_of_one_hop),
        TEST(strangers_cannot_say_where_they_come_from_or_belong),
        TEST(trusted_peers_are_believed_and_added_to),
        TEST(addresses_of_every_family_are_written_as_their_rfcs_say),
        TEST(cookies_that_http2_split_are_joined),
        TEST(bodies_have_their_length_whatever_the_client_said),
        TEST(an_upgrade_is_asked_for_in_our_own_words),
        TEST(a_host_cannot_break_out_of_its_quotes),
        TEST(many_and_long_fields_fit),
        TEST(an_answer_is_copied_with_its_names_as_the_node_wrote_them),
        TEST(an_answer_tells_nothing_of_its_hop_or_in_our_name),
        TEST(http2_answers_leave_date_and_server_to_libh2o),
        TEST(an_upgrade_answer_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
