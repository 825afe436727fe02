/* SPDX-License-Identifier: Apache-2.0
 *
 * The pure parts of the proxy: answers are read strictly, bodies end where they end, and nodes are chosen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "gateway/balance.h"
#include "gateway/pool.h"
#include "gateway/response.h"

#define OK "HTTP/1.1 200 OK\r\n"

static enum response_verdict parse(const char *text, bool is_head, struct response *response)
{
    return response_parse(str_of(text), 0, is_head, response);
}

static void expect_malformed(const char *text)
{
    struct response response;
    assert_int_equal(parse(text, false, &response), RESPONSE_MALFORMED);
    assert_non_null(response.fault);
}

static void expect_framing(const char *text, bool is_head, enum response_framing framing)
{
    struct response response;
    assert_int_equal(parse(text, is_head, &response), RESPONSE_COMPLETE);
    assert_int_equal(response.framing, framing);
    assert_int_equal(response.size, strlen(text));
}

static void the_head_is_read(void **state)
{
    (void)state;
    struct response response;
    const char *text = OK "Content-Length: 5\r\nX-A: b \r\n\r\nhello";
    assert_int_equal(parse(text, false, &response), RESPONSE_COMPLETE);
    assert_int_equal(response.status, 200);
    assert_true(str_equal(response.reason, STR_LIT("OK")));
    assert_int_equal(response.field_count, 2);
    assert_int_equal(response.size, strlen(text) - 5);
    assert_true(response.bytes == text);
    assert_true(response.has_length && response.length == 5 && response.keep_alive);
    assert_false(response.upgrade || response.names_fields);
}

static void a_head_in_pieces_is_whole_only_at_its_end(void **state)
{
    (void)state;
    struct response response;
    const char *text = OK "Content-Length: 0\r\n\r\n";
    for (size_t len = 0; len < strlen(text); len++)
        assert_int_equal(response_parse((struct str){text, len}, len > 0 ? len - 1 : 0, false, &response),
                         RESPONSE_PARTIAL);
    assert_int_equal(response_parse(str_of(text), strlen(text) - 1, false, &response), RESPONSE_COMPLETE);
}

static void the_framing_follows_rfc_9112(void **state)
{
    (void)state;
    expect_framing(OK "Content-Length: 5\r\n\r\n", false, RESPONSE_LENGTH);
    expect_framing(OK "Transfer-Encoding: chunked\r\n\r\n", false, RESPONSE_CHUNKED);
    expect_framing(OK "\r\n", false, RESPONSE_UNTIL_CLOSE);
    expect_framing(OK "Content-Length: 5\r\n\r\n", true, RESPONSE_NO_BODY);
    expect_framing(OK "Transfer-Encoding: chunked\r\n\r\n", true, RESPONSE_NO_BODY);
    expect_framing("HTTP/1.1 204 No Content\r\n\r\n", false, RESPONSE_NO_BODY);
    expect_framing("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, RESPONSE_NO_BODY);
    expect_framing("HTTP/1.1 100 Continue\r\n\r\n", false, RESPONSE_NO_BODY);
    expect_framing("HTTP/1.0 200 OK\r\n\r\n", false, RESPONSE_UNTIL_CLOSE);
}

static void answers_that_can_be_read_in_two_ways_are_malformed(void **state)
{
    (void)state;
    expect_malformed(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
    expect_malformed(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n");
    expect_malformed(OK "Content-Length: 5, 5\r\n\r\n");
    expect_malformed(OK "Content-Length: +5\r\n\r\n");
    expect_malformed(OK "Content-Length: \r\n\r\n");
    expect_malformed(OK "Content-Length: 18446744073709551615\r\n\r\n");
    expect_malformed(OK "Content-Length: 99999999999999999999\r\n\r\n");
    expect_malformed(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect_malformed(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect_malformed(OK "Transfer-Encoding: gzip, chunked\r\n\r\n");
    expect_malformed(OK "Transfer-Encoding: identity\r\n\r\n");
    expect_malformed("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect_malformed(OK "A: b\r\n c\r\n\r\n");
    expect_malformed(OK "A : b\r\n\r\n");
    expect_malformed(OK "A: b\001\r\n\r\n");
    expect_malformed("HTTP/2.0 200 OK\r\n\r\n");
    expect_malformed("HTTP/1.1 99 Early\r\n\r\n");
    expect_malformed("HTTP/1.1 600 Late\r\n\r\n");
    expect_malformed("SSH-2.0-OpenSSH_9.2p1\r\n\r\n");
}

static void heads_are_bounded(void **state)
{
    (void)state;
    struct buf text = {NULL, 0, 0};
    struct response response;
    buf_append_str(&text, STR_LIT(OK "A: "));
    while (text.len < RESPONSE_HEAD_MAX - 1)
        buf_append(&text, "a", 1);
    assert_int_equal(response_parse((struct str){text.base, text.len}, 0, false, &response), RESPONSE_PARTIAL);
    buf_append(&text, "a", 1);
    assert_int_equal(response_parse((struct str){text.base, text.len}, 0, false, &response), RESPONSE_MALFORMED);
    text.len = 0;
    buf_append_str(&text, STR_LIT(OK));
    for (int i = 0; i <= HTTP1_MAX_HEADERS; i++)
        buf_append_str(&text, STR_LIT("A: b\r\n"));
    buf_append_str(&text, STR_LIT("\r\n"));
    expect_malformed(text.base);
    buf_free(&text);
}

static bool keeps_alive(const char *text)
{
    struct response response;
    assert_int_equal(parse(text, false, &response), RESPONSE_COMPLETE);
    return response.keep_alive;
}

static void a_connection_is_kept_where_both_sides_agree(void **state)
{
    (void)state;
    assert_true(keeps_alive(OK "\r\n"));
    assert_false(keeps_alive(OK "Connection: close\r\n\r\n"));
    assert_false(keeps_alive(OK "Connection: x, CLOSE\r\n\r\n"));
    assert_false(keeps_alive("HTTP/1.0 200 OK\r\n\r\n"));
    assert_true(keeps_alive("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n"));
    /* a body where none may be would be taken for the next answer */
    assert_false(keeps_alive("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"));
    assert_true(keeps_alive("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"));
}

static void connection_names_fields_of_one_hop(void **state)
{
    (void)state;
    struct response response;
    parse(OK "Connection: close, X-Hop\r\nX-Hop: a\r\nX-End: b\r\nconnection: Other\r\n\r\n", false, &response);
    assert_true(response.names_fields);
    assert_true(response_names(&response, STR_LIT("x-hop")));
    assert_true(response_names(&response, STR_LIT("Other")));
    assert_false(response_names(&response, STR_LIT("X-End")));
    parse(OK "Connection: keep-alive, Upgrade\r\n\r\n", false, &response);
    assert_false(response.names_fields);
}

/* Feeds BODY in pieces of STEP bytes; returns the last verdict, with the payload in OUT. */
static enum response_verdict feed(const char *head, const char *body, size_t step, struct buf *out, size_t *surplus)
{
    struct response response;
    struct response_body reader;
    enum response_verdict verdict = RESPONSE_PARTIAL;
    char piece[256];
    parse(head, false, &response);
    response_body_begin(&response, &reader);
    out->len = 0;
    for (size_t at = 0, left = strlen(body); at < left && verdict == RESPONSE_PARTIAL; at += step) {
        size_t len = left - at < step ? left - at : step;
        memcpy(piece, body + at, len);
        verdict = response_body_read(&reader, piece, &len, surplus);
        if (verdict != RESPONSE_MALFORMED)
            buf_append(out, piece, len);
    }
    return verdict;
}

static void a_body_ends_where_its_framing_says_however_it_is_cut(void **state)
{
    (void)state;
    struct buf out = {NULL, 0, 0};
    size_t surplus;
    const char *chunked = OK "Transfer-Encoding: chunked\r\n\r\n";
    for (size_t step = 1; step < 64; step++) {
        assert_int_equal(feed(chunked, "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: v\r\n\r\n", step, &out, &surplus),
                         RESPONSE_COMPLETE);
        assert_string_equal(out.base, "hello world");
        assert_int_equal(surplus, 0);
        assert_int_equal(feed(OK "Content-Length: 5\r\n\r\n", "hello", step, &out, &surplus), RESPONSE_COMPLETE);
        assert_string_equal(out.base, "hello");
        assert_int_equal(feed(OK "\r\n", "hello", step, &out, &surplus), RESPONSE_PARTIAL);
        assert_string_equal(out.base, "hello");
    }
    buf_free(&out);
}

static void what_comes_behind_a_body_is_surplus(void **state)
{
    (void)state;
    struct buf out = {NULL, 0, 0};
    size_t surplus;
    assert_int_equal(feed(OK "Content-Length: 5\r\n\r\n", "helloHTTP", 64, &out, &surplus), RESPONSE_COMPLETE);
    assert_int_equal(surplus, 4);
    assert_int_equal(feed(OK "Transfer-Encoding: chunked\r\n\r\n", "0\r\n\r\nXY", 64, &out, &surplus),
                     RESPONSE_COMPLETE);
    assert_int_equal(surplus, 2);
    assert_int_equal(feed("HTTP/1.1 204 No Content\r\n\r\n", "boo", 64, &out, &surplus), RESPONSE_COMPLETE);
    assert_int_equal(surplus, 3);
    buf_free(&out);
}

static void malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {"hello",  "5\r\nhelloX",           "5 \r\nhello\r\n",
                                         "-1\r\n", "11111111111111111\r\n", "\r\n"};
    struct buf out = {NULL, 0, 0};
    size_t surplus;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_int_equal(feed(OK "Transfer-Encoding: chunked\r\n\r\n", bodies[i], 64, &out, &surplus),
                         RESPONSE_MALFORMED);
    buf_free(&out);
}

#define NODES 4
static struct node nodes[NODES];
static struct node *list[NODES] = {&nodes[0], &nodes[1], &nodes[2], &nodes[3]};

static struct node *choose(const struct balance_tried *tried, uint64_t random)
{
    return balance_choose(list, NODES, tried, random);
}

static void reset_nodes(void)
{
    for (int i = 0; i < NODES; i++) {
        nodes[i].refused = nodes[i].reported = false;
        nodes[i].in_flight = 0;
    }
}

static uint64_t spread(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15ULL;
}

static void every_usable_node_is_chosen_and_no_other(void **state)
{
    (void)state;
    unsigned chosen[NODES] = {0};
    struct balance_tried tried = {.count = 0};
    reset_nodes();
    nodes[1].refused = true;
    nodes[2].reported = true;
    for (uint64_t i = 0; i < 1000; i++)
        chosen[choose(&tried, spread(i)) - nodes]++;
    assert_true(chosen[0] > 300 && chosen[3] > 300 && chosen[1] == 0 && chosen[2] == 0);
    balance_note(&tried, &nodes[0]);
    assert_ptr_equal(choose(&tried, 7), &nodes[3]);
    balance_note(&tried, &nodes[3]);
    assert_null(choose(&tried, 7));
}

static void the_busiest_node_gets_nothing_and_the_idlest_most(void **state)
{
    (void)state;
    unsigned chosen[NODES] = {0};
    struct balance_tried tried = {.count = 0};
    reset_nodes();
    for (unsigned i = 0; i < NODES; i++)
        nodes[i].in_flight = i;
    for (uint64_t i = 0; i < 1000; i++)
        chosen[choose(&tried, spread(i)) - nodes]++;
    assert_int_equal(chosen[3], 0); /* one of any two is idler */
    assert_true(chosen[0] > chosen[1] && chosen[1] > chosen[2] && chosen[2] > 0);
}

static void a_request_tries_a_bounded_number_of_nodes(void **state)
{
    (void)state;
    struct balance_tried tried = {.count = 0};
    struct node other = {.id = 9};
    reset_nodes();
    for (unsigned i = 0; i < BALANCE_TRIED_MAX; i++)
        balance_note(&tried, &other);
    assert_null(choose(&tried, 1));
    balance_note(&tried, &other);
    assert_int_equal(tried.count, BALANCE_TRIED_MAX);
}

static void where_all_are_out_the_one_tried_longest_ago_is_tried_once_an_interval(void **state)
{
    (void)state;
    struct gateway_config config = {.proxy = {.probe_interval = 500}};
    struct timers timers = {.loop = NULL};
    struct pool *pool = pool_create(&config, &timers);
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i].id = i * 20; /* far apart: the pool makes room */
    reset_nodes();
    nodes[0].reported = true; /* its agent says that it is ill */
    for (unsigned i = 1; i < NODES; i++) {
        nodes[i].refused = true;
        pool_note_refusal(pool, &nodes[i], 1000 + 100 * i);
    }
    assert_null(pool_last_resort(pool, list, NODES, 1599));
    assert_ptr_equal(pool_last_resort(pool, list, NODES, 1600), &nodes[1]);
    assert_null(pool_last_resort(pool, list, NODES, 1600));
    assert_ptr_equal(pool_last_resort(pool, list, NODES, 1700), &nodes[2]);
    assert_ptr_equal(pool_last_resort(pool, list, NODES, 5000), &nodes[3]);
    assert_ptr_equal(pool_last_resort(pool, list, NODES, 5000), &nodes[1]);
    nodes[1].reported = nodes[2].reported = nodes[3].reported = true;
    assert_null(pool_last_resort(pool, list, NODES, 9000));
    pool_destroy(&pool);
    assert_null(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_head_is_read),
        cmocka_unit_test(a_head_in_pieces_is_whole_only_at_its_end),
        cmocka_unit_test(the_framing_follows_rfc_9112),
        cmocka_unit_test(answers_that_can_be_read_in_two_ways_are_malformed),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(a_connection_is_kept_where_both_sides_agree),
        cmocka_unit_test(connection_names_fields_of_one_hop),
        cmocka_unit_test(a_body_ends_where_its_framing_says_however_it_is_cut),
        cmocka_unit_test(what_comes_behind_a_body_is_surplus),
        cmocka_unit_test(malformed_chunks_are_refused),
        cmocka_unit_test(every_usable_node_is_chosen_and_no_other),
        cmocka_unit_test(the_busiest_node_gets_nothing_and_the_idlest_most),
        cmocka_unit_test(a_request_tries_a_bounded_number_of_nodes),
        cmocka_unit_test(where_all_are_out_the_one_tried_longest_ago_is_tried_once_an_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
