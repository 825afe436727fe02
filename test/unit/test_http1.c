/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/http1.h"

#define LIMIT 16384
#define H     "Host: a.example\r\n"

struct trial {
    const char *what;
    struct str bytes;
    enum http1_verdict verdict;
};

#define TRIAL(what, text, verdict)                                                                                     \
    {                                                                                                                  \
        what, {text, sizeof(text) - 1}, HTTP1_##verdict                                                                \
    }

static const struct trial trials[] = {
    TRIAL("a plain request", "GET / HTTP/1.1\r\n" H "\r\n", COMPLETE),
    TRIAL("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", COMPLETE),
    TRIAL("one empty line in front", "\r\nGET / HTTP/1.1\r\n" H "\r\n", COMPLETE),
    TRIAL("HTTP/1.7 is read as 1.1", "GET / HTTP/1.7\r\n" H "\r\n", COMPLETE),
    TRIAL("a length", "POST / HTTP/1.1\r\n" H "Content-Length: 007\r\n\r\n", COMPLETE),
    TRIAL("chunked in any case", "POST / HTTP/1.1\r\n" H "transfer-ENCODING: \tChunked \r\n\r\n", COMPLETE),
    TRIAL("bytes beyond ASCII in a value", "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\r\n\r\n", COMPLETE),
    TRIAL("an empty value", "GET / HTTP/1.1\r\n" H "X:\r\n\r\n", COMPLETE),
    TRIAL("Host with a port", "GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", COMPLETE),
    TRIAL("Host in IPv6", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", COMPLETE),
    TRIAL("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" H "\r\n", COMPLETE),
    TRIAL("an absolute target", "GET http://b.example/x?y HTTP/1.1\r\n" H "\r\n", COMPLETE),
    TRIAL("a tab inside a value", "GET / HTTP/1.1\r\n" H "X: aaaaaaaaaaaa\tbbbbbbbbbbb\r\n\r\n", COMPLETE),

    TRIAL("nothing", "", PARTIAL),
    TRIAL("half an empty line", "\r", PARTIAL),
    TRIAL("half a request line", "GET /abc", PARTIAL),
    TRIAL("no empty line yet", "GET / HTTP/1.1\r\n" H, PARTIAL),
    TRIAL("half of the last line end", "GET / HTTP/1.1\r\n" H "\r", PARTIAL),

    TRIAL("two equal lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", BAD_REQUEST),
    TRIAL("two different lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
          BAD_REQUEST),
    TRIAL("a list of lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", BAD_REQUEST),
    TRIAL("a length with a sign", "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n", BAD_REQUEST),
    TRIAL("a negative length", "POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\n", BAD_REQUEST),
    TRIAL("a length in hex", "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n", BAD_REQUEST),
    TRIAL("a length with a blank inside", "POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n", BAD_REQUEST),
    TRIAL("an empty length", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", BAD_REQUEST),
    TRIAL("a length of 20 digits", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551616\r\n\r\n", BAD_REQUEST),
    TRIAL("length and coding", "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
          BAD_REQUEST),
    TRIAL("coding and length", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
          BAD_REQUEST),
    TRIAL("a coding on HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD_REQUEST),
    TRIAL("chunked twice", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", BAD_REQUEST),
    TRIAL("chunked not last", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", BAD_REQUEST),
    TRIAL("two coding fields", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n",
          BAD_REQUEST),
    TRIAL("an unknown coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", UNKNOWN_CODING),
    TRIAL("a coding before chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n",
          UNKNOWN_CODING),
    TRIAL("an almost chunked coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", UNKNOWN_CODING),
    TRIAL("identity", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", UNKNOWN_CODING),
    TRIAL("an empty coding", "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", UNKNOWN_CODING),
    TRIAL("a vertical tab before chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \vchunked\r\n\r\n", BAD_REQUEST),
    TRIAL("no Host", "GET / HTTP/1.1\r\n\r\n", BAD_REQUEST),
    TRIAL("two Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", BAD_REQUEST),
    TRIAL("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD_REQUEST),
    TRIAL("a path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD_REQUEST),
    TRIAL("a user in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD_REQUEST),
    TRIAL("two names in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BAD_REQUEST),
    TRIAL("a bad port in Host", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", BAD_REQUEST),
    TRIAL("a port out of range", "GET / HTTP/1.1\r\nHost: a:70000\r\n\r\n", BAD_REQUEST),
    TRIAL("two ports in Host", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", BAD_REQUEST),
    TRIAL("an open bracket in Host", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", BAD_REQUEST),
    TRIAL("text behind the bracket", "GET / HTTP/1.1\r\nHost: [::1]a:80\r\n\r\n", BAD_REQUEST),
    TRIAL("brackets inside a name", "GET / HTTP/1.1\r\nHost: a[b]\r\n\r\n", BAD_REQUEST),
    TRIAL("a folded field", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", BAD_REQUEST),
    TRIAL("a fold right behind the request line", "GET / HTTP/1.1\r\n " H "\r\n", BAD_REQUEST),
    TRIAL("bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", BAD_REQUEST),
    TRIAL("a bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", BAD_REQUEST),
    TRIAL("a bare LF as the last line", "GET / HTTP/1.1\r\n" H "\n", BAD_REQUEST),
    TRIAL("a bare CR in a value", "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", BAD_REQUEST),
    TRIAL("a bare CR in the line's end", "GET / HTTP/1.1\r\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("NUL in a value", "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n", BAD_REQUEST),
    TRIAL("NUL in a long value", "GET / HTTP/1.1\r\n" H "X: 0123456789\0 0123456789\r\n\r\n", BAD_REQUEST),
    TRIAL("DEL in a long value", "GET / HTTP/1.1\r\n" H "X: 0123456789\x7f 0123456789\r\n\r\n", BAD_REQUEST),
    TRIAL("ESC in a value", "GET / HTTP/1.1\r\n" H "X: \x1b[31m\r\n\r\n", BAD_REQUEST),
    TRIAL("NUL in a name", "GET / HTTP/1.1\r\n" H "X\0: a\r\n\r\n", BAD_REQUEST),
    TRIAL("a blank before the colon", "GET / HTTP/1.1\r\n" H "X : a\r\n\r\n", BAD_REQUEST),
    TRIAL("a blank in Content-Length's name", "POST / HTTP/1.1\r\n" H "Content-Length : 5\r\n\r\n", BAD_REQUEST),
    TRIAL("a field without name", "GET / HTTP/1.1\r\n" H ": a\r\n\r\n", BAD_REQUEST),
    TRIAL("a field without colon", "GET / HTTP/1.1\r\n" H "Xyz\r\n\r\n", BAD_REQUEST),
    TRIAL("a name beyond ASCII", "GET / HTTP/1.1\r\n" H "X\xc3\xa4: a\r\n\r\n", BAD_REQUEST),
    TRIAL("two empty lines in front", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a bare LF in front", "\nGET / HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("HTTP/0.9", "GET /\r\n", BAD_REQUEST),
    TRIAL("no target", "GET  HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("two blanks in the request line", "GET  / HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a tab in the request line", "GET\t/ HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a blank at the line's end", "GET / HTTP/1.1 \r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a blank in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("lower-case protocol name", "GET / http/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("two digits of a version", "GET / HTTP/1.10\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a malformed method", "G@T / HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a target beyond ASCII", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a control character in the target", "GET /\x01 HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a target without slash", "GET abc HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("an FTP target", "GET ftp://a/ HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("an absolute target without authority", "GET http:///x HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("an absolute target with a user", "GET http://u@b/x HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("an absolute target without Host", "GET http://b/x HTTP/1.1\r\n\r\n", BAD_REQUEST),
    TRIAL("half an absolute target", "GET http:/b HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("CONNECT with a path", "CONNECT / HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("GET *", "GET * HTTP/1.1\r\n" H "\r\n", BAD_REQUEST),
    TRIAL("a TLS client hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD_REQUEST),
    TRIAL("HTTP/2's preface up to its version", "PRI * HTTP/2.0", PARTIAL),
    TRIAL("half a line end after it", "PRI * HTTP/2.0\r", PARTIAL),
    TRIAL("HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD_VERSION),
    TRIAL("HTTP/3.0", "GET / HTTP/3.0\r\n" H "\r\n", BAD_VERSION),
    TRIAL("an unknown expectation", "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", UNKNOWN_EXPECTATION),
};

static struct http1_head head;

static void each_head_gets_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
        enum http1_verdict verdict = http1_parse_head(trials[i].bytes, LIMIT, 0, &head);
        if (verdict != trials[i].verdict)
            print_error("%s: verdict %d, not %d (%s)\n", trials[i].what, verdict, trials[i].verdict, head.fault);
        assert_int_equal(verdict, trials[i].verdict);
        if (verdict > HTTP1_PARTIAL)
            assert_non_null(head.fault);
        if (verdict == HTTP1_COMPLETE)
            assert_int_equal(head.size, trials[i].bytes.len);
    }
}

/* However the bytes are cut, the verdict is the same, and no prefix of a good head is refused. */
static void cuts_do_not_change_the_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
        struct str whole = trials[i].bytes;
        for (size_t cut = 1; cut < whole.len && trials[i].verdict == HTTP1_COMPLETE; cut++) {
            assert_int_equal(http1_parse_head((struct str){whole.base, cut}, LIMIT, 0, &head), HTTP1_PARTIAL);
            assert_int_equal(http1_parse_head(whole, LIMIT, cut, &head), HTTP1_COMPLETE);
        }
        for (size_t len = 1, seen = 0; len <= whole.len && trials[i].verdict == HTTP1_COMPLETE; seen = len++)
            assert_int_equal(http1_parse_head((struct str){whole.base, len}, LIMIT, seen, &head),
                             len == whole.len ? HTTP1_COMPLETE : HTTP1_PARTIAL);
    }
}

/* A refused head may come in two reads too; its end is then found although its line ends are bare. */
static void a_bad_head_in_two_reads_is_refused(void **state)
{
    (void)state;
    struct str whole = STR_LIT("GET / HTTP/1.1\nHost: a\n\n");
    for (size_t cut = 1; cut < whole.len; cut++)
        assert_int_equal(http1_parse_head(whole, LIMIT, cut, &head), HTTP1_BAD_REQUEST);
}

static void a_head_comes_apart_into_its_fields(void **state)
{
    (void)state;
    struct str bytes = STR_LIT("PATCH /a/b?c=d HTTP/1.1\r\nHost: h.example:81\r\nX-One:  1 \t\r\nx-two:2\r\n"
                               "Content-Length: 42\r\nExpect: 100-Continue\r\nConnection: x, CLOSE\r\n\r\nbody");
    assert_int_equal(http1_parse_head(bytes, LIMIT, 0, &head), HTTP1_COMPLETE);
    assert_true(str_equal(head.method, STR_LIT("PATCH")));
    assert_true(str_equal(head.target, STR_LIT("/a/b?c=d")));
    assert_true(str_equal(head.host, STR_LIT("h.example:81")));
    assert_int_equal(head.header_count, 6);
    assert_true(str_equal(head.headers[1].name, STR_LIT("X-One")));
    assert_true(str_equal(head.headers[1].value, STR_LIT("1")));
    assert_true(str_equal(head.headers[2].value, STR_LIT("2")));
    assert_true(head.has_length && head.content_length == 42 && !head.chunked);
    assert_true(head.expect_continue);
    assert_false(head.keep_alive);
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.size, bytes.len - 4);
}

static void an_absolute_target_replaces_the_host(void **state)
{
    (void)state;
    static const struct {
        const char *line, *host, *target;
    } cases[] = {
        {"GET http://b.example:81/x?y HTTP/1.1", "b.example:81", "/x?y"},
        {"GET HTTPS://b.example HTTP/1.1", "b.example", "/"},
        {"OPTIONS http://b.example HTTP/1.1", "b.example", "*"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "%s\r\nHost: a\r\n\r\n", cases[i].line);
        assert_int_equal(http1_parse_head(str_of(text), LIMIT, 0, &head), HTTP1_COMPLETE);
        assert_true(str_equal(head.host, str_of(cases[i].host)));
        assert_true(str_equal(head.target, str_of(cases[i].target)));
    }
}

static void keep_alive_follows_version_and_connection(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" H "\r\n", true},
        {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(http1_parse_head(str_of(cases[i].text), LIMIT, 0, &head), HTTP1_COMPLETE);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
}

static char *long_head(const char *before, size_t filler, const char *after)
{
    char *text = malloc(strlen(before) + filler + strlen(after) + 1);
    strcpy(text, before);
    memset(text + strlen(before), 'x', filler);
    strcpy(text + strlen(before) + filler, after);
    return text;
}

static void check_long_head(const char *before, size_t filler, const char *after, enum http1_verdict verdict)
{
    char *text = long_head(before, filler, after);
    assert_int_equal(http1_parse_head(str_of(text), LIMIT, 0, &head), verdict);
    free(text);
}

static void long_heads_are_refused_by_what_is_long(void **state)
{
    (void)state;
    check_long_head("GET / HTTP/1.1\r\n" H "X: ", 200 * 1024, "\r\n\r\n", HTTP1_HEAD_TOO_LARGE);
    check_long_head("GET / HTTP/1.1\r\n" H "X: ", 200 * 1024, "", HTTP1_HEAD_TOO_LARGE);
    check_long_head("GET / HTTP/1.1\r\n" H "X: ", LIMIT, "\r\n\r\n", HTTP1_HEAD_TOO_LARGE);
    check_long_head("GET / HTTP/1.1\r\n" H "X: ", LIMIT - 100, "\r\n\r\n", HTTP1_COMPLETE);
    check_long_head("GET / HTTP/1.1\r\n" H "X: ", LIMIT - 100, "\r\n", HTTP1_PARTIAL);
    check_long_head("GET /", 200 * 1024, " HTTP/1.1\r\n" H "\r\n", HTTP1_URI_TOO_LONG);
    check_long_head("", 200 * 1024, "", HTTP1_URI_TOO_LONG);
    check_long_head("GET / HTTP/1.1\r\n" H "\r\n", LIMIT, "", HTTP1_COMPLETE); /* the rest is a body */
}

static void a_hundred_fields_are_taken_and_no_more(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        struct buf text = {NULL, 0, 0};
        buf_append_str(&text, STR_LIT("GET / HTTP/1.1\r\n" H));
        for (int i = 1; i < HTTP1_MAX_HEADERS + extra; i++)
            buf_printf(&text, "X-%d: %d\r\n", i, i);
        buf_append_str(&text, STR_LIT("\r\n"));
        assert_int_equal(http1_parse_head(buf_str(&text), LIMIT, 0, &head),
                         extra == 0 ? HTTP1_COMPLETE : HTTP1_BAD_REQUEST);
        buf_free(&text);
    }
}

static const struct {
    const char *what;
    struct str raw;
    enum http1_verdict verdict;
    const char *decoded;
    size_t left; /* bytes of the next request */
} bodies[] = {
#define BODY(what, raw, verdict, decoded, left)                                                                        \
    {                                                                                                                  \
        what, {raw, sizeof(raw) - 1}, HTTP1_##verdict, decoded, left                                                   \
    }
    BODY("one chunk", "5\r\nhello\r\n0\r\n\r\n", COMPLETE, "hello", 0),
    BODY("a byte too many in the second chunk", "5\r\nhello\r\n2\r\nabc\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("sizes in both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\nGET", COMPLETE, "01234567890123456789",
         3),
    BODY("an empty body", "0\r\n\r\n", COMPLETE, "", 0),
    BODY("leading zeros", "0005\r\nhello\r\n000\r\n\r\n", COMPLETE, "hello", 0),
    BODY("an extension", "5;a=\"b c\"\r\nhello\r\n0;x\r\n\r\n", COMPLETE, "hello", 0),
    BODY("trailers", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", COMPLETE, "hello", 0),
    BODY("half a chunk", "5\r\nhel", PARTIAL, "hel", 0),
    BODY("half a size line", "5\r", PARTIAL, "", 0),
    BODY("no last line", "5\r\nhello\r\n0\r\n", PARTIAL, "hello", 0),
    BODY("no size", "\r\nhello\r\n", BAD_REQUEST, NULL, 0),
    BODY("a sign", "+5\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a prefix", "0x5\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a blank before the size", " 5\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a blank behind the size", "5 \r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a tab behind the size", "5\t\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare CR behind the size", "5\rXhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare LF behind the data", "5\r\nhello\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("more data than the size says", "5\r\nhello!\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("an overflowing size", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a size that wraps", "10000000000000005\r\nhello\r\n0\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a folded trailer", "0\r\nX: a\r\n b\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a trailer without name", "0\r\n: a\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a trailer without colon", "0\r\nabc\r\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare LF behind a trailer", "0\r\nX: a\n\r\n", BAD_REQUEST, NULL, 0),
    BODY("a bare LF as the end", "0\r\n\n", BAD_REQUEST, NULL, 0),
    BODY("a request in place of the last line", "0\r\nGET / HTTP/1.1\r\n\r\n", BAD_REQUEST, NULL, 0),
};

/* Feeds RAW in pieces of STEP bytes. */
static enum http1_verdict decode(struct str raw, size_t step, struct buf *decoded, size_t *left)
{
    struct http1_chunked chunked = {0};
    enum http1_verdict verdict = HTTP1_PARTIAL;
    size_t at = 0;
    while (at < raw.len && verdict == HTTP1_PARTIAL) {
        size_t piece = raw.len - at < step ? raw.len - at : step, len = piece, used = 0;
        char *bytes = malloc(piece);
        memcpy(bytes, raw.base + at, piece);
        verdict = http1_decode_chunked(&chunked, bytes, &len, &used);
        assert_true(used <= piece && len <= used);
        if (verdict == HTTP1_PARTIAL)
            assert_int_equal(used, piece);
        buf_append(decoded, bytes, len);
        at += used;
        free(bytes);
    }
    *left = raw.len - at;
    return verdict;
}

static void each_chunked_body_gets_its_verdict_in_pieces_of_any_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        for (size_t step = 1; step <= bodies[i].raw.len; step++) {
            struct buf decoded = {NULL, 0, 0};
            size_t left = 0;
            enum http1_verdict verdict = decode(bodies[i].raw, step, &decoded, &left);
            if (verdict != bodies[i].verdict)
                print_error("%s, by %zu: verdict %d, not %d\n", bodies[i].what, step, verdict, bodies[i].verdict);
            assert_int_equal(verdict, bodies[i].verdict);
            if (bodies[i].decoded != NULL)
                assert_true(str_equal(buf_str(&decoded), str_of(bodies[i].decoded)));
            if (verdict == HTTP1_COMPLETE)
                assert_int_equal(left, bodies[i].left);
            buf_free(&decoded);
        }
    }
}

static void extensions_and_trailers_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        size_t filler;
        const char *after;
        enum http1_verdict verdict;
    } cases[] = {
        {"1;", HTTP1_MAX_CHUNK_EXTENSION, "\r\nx\r\n0\r\n\r\n", HTTP1_COMPLETE},
        {"1;", HTTP1_MAX_CHUNK_EXTENSION + 1, "\r\nx\r\n0\r\n\r\n", HTTP1_BAD_REQUEST},
        {"1;", 20 * 1024, "\r\nx\r\n0\r\n\r\n", HTTP1_BAD_REQUEST},
        {"0\r\nX: ", HTTP1_MAX_TRAILERS - 16, "\r\n\r\n", HTTP1_COMPLETE},
        {"0\r\nX: ", HTTP1_MAX_TRAILERS, "\r\n\r\n", HTTP1_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = long_head(cases[i].before, cases[i].filler, cases[i].after);
        struct buf decoded = {NULL, 0, 0};
        size_t left;
        assert_int_equal(decode(str_of(text), 1000, &decoded, &left), cases[i].verdict);
        buf_free(&decoded);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_head_gets_its_verdict),
        cmocka_unit_test(cuts_do_not_change_the_verdict),
        cmocka_unit_test(a_bad_head_in_two_reads_is_refused),
        cmocka_unit_test(a_head_comes_apart_into_its_fields),
        cmocka_unit_test(an_absolute_target_replaces_the_host),
        cmocka_unit_test(keep_alive_follows_version_and_connection),
        cmocka_unit_test(long_heads_are_refused_by_what_is_long),
        cmocka_unit_test(a_hundred_fields_are_taken_and_no_more),
        cmocka_unit_test(each_chunked_body_gets_its_verdict_in_pieces_of_any_size),
        cmocka_unit_test(extensions_and_trailers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
