/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "unit-agent/post.h"

static struct envelope example(void)
{
    return (struct envelope){.fields = {
                                 [ENVELOPE_ID] = STR_LIT("RZ01.payments.3.0123456789abcdef01234567"),
                                 [ENVELOPE_USER] = STR_LIT("42"),
                                 [ENVELOPE_SLOT] = STR_LIT("7"),
                                 [ENVELOPE_EPOCH] = STR_LIT("12"),
                                 [ENVELOPE_INGRESS] = STR_LIT("1769866620123456"),
                                 [ENVELOPE_COLOR] = STR_LIT("green"),
                                 [ENVELOPE_METHOD] = STR_LIT("PUT"),
                                 [ENVELOPE_PATH] = STR_LIT("/pay/1?a=b"),
                                 [ENVELOPE_HEADERS] = STR_LIT(""),
                                 [ENVELOPE_BODY] = STR_LIT("{}"),
                             }};
}

/* All headers, a line each. */
static struct buf compose(const struct envelope *envelope, uint32_t attempt)
{
    struct post post = {0};
    struct buf lines = {0};
    struct message *message = message_create((struct stream_id){5, 6}, envelope);
    message->attempt = attempt;
    post_compose(&post, message, STR_LIT("RZ01"), STR_LIT("payments"), 3);
    for (size_t i = 0; post.headers[i] != NULL; i++)
        buf_printf(&lines, "%s\n", post.headers[i]);
    message_free(message);
    post_free(&post);
    return lines;
}

static void a_message_becomes_a_cloud_event(void **state)
{
    (void)state;
    struct envelope envelope = example();
    struct buf lines = compose(&envelope, 4);
    assert_string_equal(lines.base, "ce-specversion: 1.0\n"
                                    "ce-type: ldcgate.message\n"
                                    "ce-id: RZ01.payments.3.0123456789abcdef01234567\n"
                                    "ce-source: /units/RZ01/topics/payments/3\n"
                                    "ce-time: 2026-01-31T13:37:00.123456Z\n"
                                    "ce-subject: 42\n"
                                    "LDC-Message-Id: RZ01.payments.3.0123456789abcdef01234567\n"
                                    "LDC-User: 42\n"
                                    "LDC-Unit: RZ01\n"
                                    "LDC-Slot: 7\n"
                                    "LDC-Color: green\n"
                                    "LDC-Epoch: 12\n"
                                    "LDC-Topic: payments\n"
                                    "LDC-Method: PUT\n"
                                    "LDC-Attempt: 4\n"
                                    "Idempotency-Key: RZ01.payments.3.0123456789abcdef01234567\n");
    buf_free(&lines);
}

static void the_clients_end_to_end_headers_go_along(void **state)
{
    (void)state;
    struct envelope envelope = example();
    envelope.fields[ENVELOPE_HEADERS] = STR_LIT("content-type: application/json\ntraceparent: 00-1-2-01\n"
                                                "idempotency-key: mine\nx-empty:\nhost: evil\ncontent-length: 9\n"
                                                "transfer-encoding: chunked\nconnection: close\nexpect: 100-continue\n"
                                                "ce-id: forged\nldc-user: forged\nproxy-authorization: x\nnonsense");
    struct buf lines = compose(&envelope, 1);
    const char *tail = strstr(lines.base, "LDC-Attempt: 1\n");
    assert_non_null(tail);
    assert_string_equal(tail, "LDC-Attempt: 1\ncontent-type: application/json\ntraceparent: 00-1-2-01\n"
                              "idempotency-key: mine\nx-empty: \n");
    buf_free(&lines);
}

static void an_event_of_the_clients_stays_that_event(void **state)
{
    (void)state;
    struct envelope envelope = example();
    envelope.fields[ENVELOPE_HEADERS] =
        STR_LIT("CE-SpecVersion: 1.0\nce-id: 7\nce-source: /shop\nce-type: paid\nldc-user: forged");
    struct buf lines = compose(&envelope, 1);
    assert_true(str_starts(buf_str(&lines),
                           STR_LIT("LDC-Message-Id: RZ01.payments.3.0123456789abcdef01234567\nLDC-User: 42\n")));
    const char *tail = strstr(lines.base, "LDC-Attempt: 1\n");
    assert_non_null(tail);
    assert_string_equal(tail, "LDC-Attempt: 1\nCE-SpecVersion: 1.0\nce-id: 7\nce-source: /shop\nce-type: paid\n"
                              "Idempotency-Key: RZ01.payments.3.0123456789abcdef01234567\n");
    buf_free(&lines);
}

static void a_subject_is_percent_encoded(void **state)
{
    (void)state;
    struct envelope envelope = example();
    envelope.fields[ENVELOPE_USER] = STR_LIT("J\xc3\xbcrg \"50%\"");
    struct buf lines = compose(&envelope, 1);
    assert_non_null(strstr(lines.base, "\nce-subject: J%C3%BCrg%20%2250%25%22\n"));
    buf_free(&lines);
}

static void the_fields_of_a_request_and_of_an_event_all_go_on(void **state)
{
    (void)state;
    struct envelope envelope = example();
    struct buf many = {0};
    for (int i = 0; i < 100; i++)
        buf_printf(&many, "x-%d: y\nce-%d: y\n", i, i);
    buf_printf(&many, "ce-specversion: 1.0\ntraceparent: last");
    envelope.fields[ENVELOPE_HEADERS] = buf_str(&many);
    struct buf lines = compose(&envelope, 1);
    assert_non_null(strstr(lines.base, "\nce-99: y\n"));
    assert_non_null(strstr(lines.base, "\ntraceparent: last\n"));
    buf_free(&lines);
    buf_free(&many);
}

static void no_number_of_headers_is_too_large(void **state)
{
    (void)state;
    struct envelope envelope = example();
    struct buf many = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&many, "x-%d: y\n", i);
    envelope.fields[ENVELOPE_HEADERS] = buf_str(&many);
    struct buf lines = compose(&envelope, 1);
    size_t count = 0;
    for (const char *at = lines.base; (at = strchr(at, '\n')) != NULL; at++)
        count++;
    assert_in_range(count, 100, POST_MOST_HEADERS);
    buf_free(&lines);
    buf_free(&many);
}

static void what_http_does_not_take_does_not_fit(void **state)
{
    (void)state;
    struct envelope envelope = example();
    assert_true(message_fits_http(&envelope));
    static const struct {
        enum envelope_field field;
        struct str value;
        bool fits;
    } cases[] = {
        {ENVELOPE_USER, STR_LIT("a\r\nX: y"), false},
        {ENVELOPE_USER, STR_LIT("J\xc3\xbcrg"), true},
        {ENVELOPE_ID, STR_LIT("a\nb"), false},
        {ENVELOPE_PATH, STR_LIT("pay"), false},
        {ENVELOPE_PATH, STR_LIT(""), false},
        {ENVELOPE_PATH, STR_LIT("/a b"), false},
        {ENVELOPE_PATH, STR_LIT("/a\nb"), false},
        {ENVELOPE_METHOD, STR_LIT("GET X"), false},
        {ENVELOPE_METHOD, STR_LIT(""), false},
        {ENVELOPE_METHOD, STR_LIT("M-SEARCH"), true},
        {ENVELOPE_METHOD, STR_LIT("MOST-METHODS-ARE-SHORT-BUT-NOBODY-SAYS-SO-2"), true},
        {ENVELOPE_HEADERS, STR_LIT("a: b\nc: d"), true},
        {ENVELOPE_HEADERS, STR_LIT("a: b\rc: d"), false},
        {ENVELOPE_HEADERS, STR_LIT("a: b\x7f"), false},
        {ENVELOPE_BODY, STR_LIT("\0\r\n anything"), true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct envelope changed = envelope;
        changed.fields[cases[i].field] = cases[i].value;
        if (message_fits_http(&changed) != cases[i].fits)
            fail_msg("case %zu", i);
    }
}

static void a_queue_of_messages_keeps_its_order_when_one_is_taken_out(void **state)
{
    (void)state;
    struct envelope envelope = example();
    struct message *messages[4];
    struct message_queue queue = {0};
    for (unsigned out = 0; out < 4; out++) {
        for (unsigned i = 0; i < 4; i++) {
            messages[i] = message_create((struct stream_id){i, 0}, &envelope);
            message_queue_put(&queue, messages[i]);
        }
        message_queue_remove(&queue, messages[out]);
        message_free(messages[out]);
        for (unsigned i = 0; i < 4; i++)
            if (i != out) {
                struct message *message = message_queue_take(&queue);
                assert_ptr_equal(message, messages[i]);
                message_free(message);
            }
        assert_null(message_queue_take(&queue));
        assert_int_equal(queue.count, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_becomes_a_cloud_event),
        cmocka_unit_test(the_clients_end_to_end_headers_go_along),
        cmocka_unit_test(an_event_of_the_clients_stays_that_event),
        cmocka_unit_test(a_subject_is_percent_encoded),
        cmocka_unit_test(the_fields_of_a_request_and_of_an_event_all_go_on),
        cmocka_unit_test(no_number_of_headers_is_too_large),
        cmocka_unit_test(what_http_does_not_take_does_not_fit),
        cmocka_unit_test(a_queue_of_messages_keeps_its_order_when_one_is_taken_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
