/* SPDX-License-Identifier: Apache-2.0 */
#include "common/http1.h"

#include "common/measure.h"

#define MAX_LENGTH_DIGITS 19 /* 10^19 - 1 still fits 64 bits; no body is longer */
#define MAX_SIZE_DIGITS   16

enum {
    IN_TOKEN = 1,  /* RFC 9110, 5.6.2 */
    IN_TARGET = 2, /* visible ASCII but for the fragment's sign */
    IN_HOST = 4,   /* RFC 3986, 3.2, less the comma, which some join two fields with */
    IN_VALUE = 8,  /* visible, blank, tab, or beyond ASCII */
};

#define ALPHANUM (IN_TOKEN | IN_TARGET | IN_HOST | IN_VALUE)
#define TARGETED (IN_TARGET | IN_VALUE)
static const unsigned char classes[256] = {
    ['\t'] = IN_VALUE,
    [' '] = IN_VALUE,
    [0x80 ... 0xff] = IN_VALUE,
    ['0' ... '9'] = ALPHANUM,
    ['A' ... 'Z'] = ALPHANUM,
    ['a' ... 'z'] = ALPHANUM,
    ['!'] = ALPHANUM,
    ['"'] = TARGETED,
    ['#'] = IN_TOKEN | IN_VALUE,
    ['$'] = ALPHANUM,
    ['%'] = ALPHANUM,
    ['&'] = ALPHANUM,
    ['\''] = ALPHANUM,
    ['('] = TARGETED | IN_HOST,
    [')'] = TARGETED | IN_HOST,
    ['*'] = ALPHANUM,
    ['+'] = ALPHANUM,
    [','] = TARGETED,
    ['-'] = ALPHANUM,
    ['.'] = ALPHANUM,
    ['/'] = TARGETED,
    [':'] = TARGETED | IN_HOST,
    [';'] = TARGETED | IN_HOST,
    ['<'] = TARGETED,
    ['='] = TARGETED | IN_HOST,
    ['>'] = TARGETED,
    ['?'] = TARGETED,
    ['@'] = TARGETED,
    ['['] = TARGETED | IN_HOST,
    ['\\'] = TARGETED,
    [']'] = TARGETED | IN_HOST,
    ['^'] = IN_TOKEN | TARGETED,
    ['_'] = ALPHANUM,
    ['`'] = IN_TOKEN | TARGETED,
    ['{'] = TARGETED,
    ['|'] = IN_TOKEN | TARGETED,
    ['}'] = TARGETED,
    ['~'] = ALPHANUM,
};

struct cursor {
    const char *at, *end;
    struct http1_head *head;
    unsigned hosts, lengths, codings;
    bool coding_known, connection_close, connection_keep_alive;
};

static inline bool in_class(char c, unsigned char_class)
{
    return (classes[(unsigned char)c] & char_class) != 0;
}

static enum http1_verdict refuse(struct http1_head *head, enum http1_verdict verdict, const char *fault)
{
    head->fault = fault;
    return verdict;
}

static enum http1_verdict bad(struct http1_head *head, const char *fault)
{
    return refuse(head, HTTP1_BAD_REQUEST, fault);
}

static const char *skip_class(const char *at, const char *end, unsigned char_class)
{
    while (at < end && in_class(*at, char_class))
        at++;
    return at;
}

/* Eight bytes at a time: stops at a word that holds a control character or DEL, then looks byte by byte. */
static const char *skip_value(const char *at, const char *end)
{
    const uint64_t ones = 0x0101010101010101ULL, highs = ones * 0x80;
    for (; end - at >= 8; at += 8) {
        uint64_t word, del;
        memcpy(&word, at, sizeof(word));
        del = word ^ (ones * 0x7f);
        if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & highs) {
            const char *stop = skip_class(at, at + 8, IN_VALUE);
            if (stop < at + 8)
                return stop;
        }
    }
    return skip_class(at, end, IN_VALUE);
}

/* Takes CRLF at the cursor. */
static enum http1_verdict take_line_end(struct cursor *cursor, const char *otherwise)
{
    if (cursor->at == cursor->end)
        return HTTP1_PARTIAL;
    if (*cursor->at == '\n')
        return bad(cursor->head, "A line ends in a bare LF");
    if (*cursor->at != '\r')
        return bad(cursor->head, otherwise);
    if (cursor->at + 1 == cursor->end)
        return HTTP1_PARTIAL;
    if (cursor->at[1] != '\n')
        return bad(cursor->head, "A CR stands outside a line end");
    cursor->at += 2;
    return HTTP1_COMPLETE;
}

/* Takes a run of CHAR_CLASS and the blank behind it. */
static enum http1_verdict take_word(struct cursor *cursor, unsigned char_class, struct str *word, const char *otherwise)
{
    const char *start = cursor->at;
    cursor->at = skip_class(start, cursor->end, char_class);
    if (cursor->at == cursor->end)
        return HTTP1_PARTIAL;
    if (*cursor->at != ' ' || cursor->at == start)
        return bad(cursor->head, otherwise);
    *word = (struct str){start, (size_t)(cursor->at - start)};
    cursor->at++;
    return HTTP1_COMPLETE;
}

static enum http1_verdict take_version(struct cursor *cursor)
{
    static const char pattern[] = "HTTP/d.d";
    for (size_t i = 0; i < sizeof(pattern) - 1; i++, cursor->at++) {
        if (cursor->at == cursor->end)
            return HTTP1_PARTIAL;
        bool fits = pattern[i] == 'd' ? *cursor->at >= '0' && *cursor->at <= '9' : *cursor->at == pattern[i];
        if (!fits)
            return bad(cursor->head, "The request line names no HTTP version");
    }
    bool known = cursor->at[-3] == '1';
    cursor->head->minor_version = cursor->at[-1] != '0';
    enum http1_verdict verdict = take_line_end(cursor, "Something follows the HTTP version");
    if (verdict == HTTP1_COMPLETE && !known) /* the whole line: HTTP/2's preface is told by it */
        return refuse(cursor->head, HTTP1_BAD_VERSION, "Only HTTP/1.0 and HTTP/1.1 are spoken here");
    return verdict;
}

static enum http1_verdict take_request_line(struct cursor *cursor)
{
    struct http1_head *head = cursor->head;
    enum http1_verdict verdict = take_word(cursor, IN_TOKEN, &head->method, "The method is malformed");
    if (verdict == HTTP1_COMPLETE)
        verdict = take_word(cursor, IN_TARGET, &head->target, "The request target is malformed");
    return verdict == HTTP1_COMPLETE ? take_version(cursor) : verdict;
}

/* "[v6]", "name" or "address", and an optional port. */
bool http1_valid_host(struct str host)
{
    struct str port = {NULL, 0};
    const char *end = host.base + host.len;
    if (host.len == 0 || skip_class(host.base, end, IN_HOST) != end)
        return false;
    const char *close = host.base[0] == '[' ? memchr(host.base, ']', host.len) : host.base;
    const char *colon = close ? memchr(close, ':', (size_t)(end - close)) : NULL;
    if (close == NULL || (close != host.base && close + 1 != end && colon != close + 1) || colon == host.base)
        return false;
    if (colon != NULL)
        port = (struct str){colon + 1, (size_t)(end - colon - 1)};
    for (const char *at = close + (close != host.base); at < (colon ? colon : end); at++)
        if (*at == '[' || *at == ']')
            return false;
    uint64_t number = 0;
    return port.len == 0 || (port.len <= 5 && str_to_u64(port, &number) && number <= 65535);
}

static enum http1_verdict read_host(struct cursor *cursor, struct str value)
{
    if (++cursor->hosts > 1)
        return bad(cursor->head, "There is more than one Host field");
    if (!http1_valid_host(value))
        return bad(cursor->head, "The Host field is malformed");
    cursor->head->host = value;
    return HTTP1_COMPLETE;
}

static enum http1_verdict read_content_length(struct cursor *cursor, struct str value)
{
    if (++cursor->lengths > 1)
        return bad(cursor->head, "There is more than one Content-Length field");
    if (value.len > MAX_LENGTH_DIGITS || !str_to_u64(value, &cursor->head->content_length))
        return bad(cursor->head, "The Content-Length is not a number of bytes");
    cursor->head->has_length = true;
    return HTTP1_COMPLETE;
}

static enum http1_verdict read_transfer_encoding(struct cursor *cursor, struct str value)
{
    if (++cursor->codings > 1)
        return bad(cursor->head, "There is more than one Transfer-Encoding field");
    cursor->coding_known = true;
    unsigned chunked = 0;
    struct str coding;
    for (bool later = false; str_next(&value, ',', &coding); later = true) {
        if (later && chunked > 0)
            return bad(cursor->head, "The chunked coding is not the last one, or not the only one");
        if (str_equal_nocase(str_trim(coding), STR_LIT("chunked")))
            chunked++;
        else
            cursor->coding_known = false;
    }
    cursor->head->chunked = chunked == 1;
    return HTTP1_COMPLETE;
}

static enum http1_verdict read_connection(struct cursor *cursor, struct str value)
{
    struct str option;
    while (str_next(&value, ',', &option)) {
        option = str_trim(option);
        cursor->connection_close |= str_equal_nocase(option, STR_LIT("close"));
        cursor->connection_keep_alive |= str_equal_nocase(option, STR_LIT("keep-alive"));
    }
    return HTTP1_COMPLETE;
}

static enum http1_verdict read_expect(struct cursor *cursor, struct str value)
{
    if (cursor->head->minor_version == 0)
        return HTTP1_COMPLETE;
    if (!str_equal_nocase(value, STR_LIT("100-continue")))
        return refuse(cursor->head, HTTP1_UNKNOWN_EXPECTATION, "Only 100-continue can be expected");
    cursor->head->expect_continue = true;
    return HTTP1_COMPLETE;
}

/* The fields that frame the message; their names differ in length. */
static enum http1_verdict read_field(struct cursor *cursor, struct str name, struct str value)
{
    static const struct {
        struct str name;
        enum http1_verdict (*read)(struct cursor *cursor, struct str value);
    } framing[] = {
        [4] = {{"host", 4}, read_host},
        [6] = {{"expect", 6}, read_expect},
        [10] = {{"connection", 10}, read_connection},
        [14] = {{"content-length", 14}, read_content_length},
        [17] = {{"transfer-encoding", 17}, read_transfer_encoding},
    };
    if (name.len >= COUNT_OF(framing) || framing[name.len].read == NULL ||
        !str_equal_nocase(name, framing[name.len].name))
        return HTTP1_COMPLETE;
    return framing[name.len].read(cursor, value);
}

static const char *name_fault(const struct cursor *cursor, const char *start)
{
    if (cursor->at == start && *start == ':')
        return "A field has no name";
    if (cursor->at == start && (*start == ' ' || *start == '\t'))
        return "A field is folded over two lines";
    return *cursor->at == ' ' || *cursor->at == '\t' ? "A blank stands before a field's colon"
                                                     : "A field name is malformed";
}

static enum http1_verdict take_field(struct cursor *cursor)
{
    struct http1_head *head = cursor->head;
    const char *start = cursor->at;
    cursor->at = skip_class(start, cursor->end, IN_TOKEN);
    if (cursor->at == cursor->end)
        return HTTP1_PARTIAL;
    if (*cursor->at != ':' || cursor->at == start)
        return bad(head, *cursor->at == '\n' ? "A line ends in a bare LF" : name_fault(cursor, start));
    struct str name = {start, (size_t)(cursor->at - start)};
    const char *value = ++cursor->at;
    cursor->at = skip_value(value, cursor->end);
    struct str text = {value, (size_t)(cursor->at - value)};
    enum http1_verdict verdict = take_line_end(cursor, "A field value holds a control character");
    if (verdict != HTTP1_COMPLETE)
        return verdict;
    if (head->header_count == HTTP1_MAX_HEADERS)
        return bad(head, "There are too many header fields");
    text = str_trim(text);
    head->headers[head->header_count++] = (struct http1_header){name, text};
    return read_field(cursor, name, text);
}

static enum http1_verdict take_fields(struct cursor *cursor)
{
    enum http1_verdict verdict = HTTP1_COMPLETE;
    while (verdict == HTTP1_COMPLETE) {
        if (cursor->at == cursor->end)
            return HTTP1_PARTIAL;
        if (*cursor->at == '\r')
            return take_line_end(cursor, "");
        verdict = take_field(cursor);
    }
    return verdict;
}

/* http://authority/path: the authority wins over Host (RFC 9112, 3.2.2). */
static enum http1_verdict split_absolute_target(struct http1_head *head)
{
    const char *slash = memchr(head->target.base, '/', head->target.len);
    size_t scheme = slash ? (size_t)(slash - head->target.base) : 0;
    struct str name = {head->target.base, scheme};
    if (!str_equal_nocase(name, STR_LIT("http:")) && !str_equal_nocase(name, STR_LIT("https:")))
        return bad(head, "The request target is neither a path nor a URL");
    struct str rest = {head->target.base + scheme, head->target.len - scheme};
    if (!str_starts(rest, STR_LIT("//")))
        return bad(head, "The request target is neither a path nor a URL");
    struct str host = {rest.base + 2, 0};
    while (host.len < rest.len - 2 && host.base[host.len] != '/' && host.base[host.len] != '?')
        host.len++;
    if (!http1_valid_host(host))
        return bad(head, "The authority of the request target is malformed");
    head->host = host;
    head->target = (struct str){host.base + host.len, rest.len - 2 - host.len};
    if (head->target.len > 0 && head->target.base[0] == '?')
        return bad(head, "The request target has a query but no path");
    if (head->target.len == 0)
        head->target = str_equal(head->method, STR_LIT("OPTIONS")) ? STR_LIT("*") : STR_LIT("/");
    return HTTP1_COMPLETE;
}

bool http1_valid_method(struct str method)
{
    return method.len > 0 && skip_class(method.base, method.base + method.len, IN_TOKEN) == method.base + method.len &&
           !str_equal(method, STR_LIT("CONNECT"));
}

bool http1_valid_target(struct str method, struct str target)
{
    if (str_equal(target, STR_LIT("*")))
        return str_equal(method, STR_LIT("OPTIONS"));
    return target.len > 0 && target.base[0] == '/' &&
           skip_class(target.base, target.base + target.len, IN_TARGET) == target.base + target.len;
}

static enum http1_verdict check_target(struct http1_head *head)
{
    if (!http1_valid_method(head->method))
        return bad(head, "This gateway makes no tunnels: CONNECT is refused");
    if (head->target.base[0] == '/')
        return HTTP1_COMPLETE;
    if (str_equal(head->target, STR_LIT("*")))
        return str_equal(head->method, STR_LIT("OPTIONS")) ? HTTP1_COMPLETE
                                                           : bad(head, "The request target * belongs to OPTIONS alone");
    return split_absolute_target(head);
}

static enum http1_verdict check_framing(struct cursor *cursor)
{
    struct http1_head *head = cursor->head;
    if (head->minor_version > 0 && cursor->hosts == 0)
        return bad(head, "There is no Host field");
    if (cursor->codings > 0 && head->minor_version == 0)
        return bad(head, "HTTP/1.0 has no Transfer-Encoding");
    if (cursor->codings > 0 && head->has_length)
        return bad(head, "There are both Content-Length and Transfer-Encoding");
    if (cursor->codings > 0 && !cursor->coding_known)
        return refuse(head, HTTP1_UNKNOWN_CODING, "The only transfer coding spoken here is chunked");
    head->keep_alive = !cursor->connection_close && (head->minor_version > 0 || cursor->connection_keep_alive);
    return check_target(head);
}

/* True where an empty line may end in BYTES, of which SCANNED have been looked at before. */
static bool may_be_complete(struct str bytes, size_t scanned)
{
    size_t from = scanned > 3 ? scanned - 3 : 0;
    const char *at = bytes.base + from, *end = bytes.base + bytes.len;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if ((at < end && *at == '\n') || (at + 1 < end && at[0] == '\r' && at[1] == '\n'))
            return true;
    }
    return false;
}

static enum http1_verdict parse(struct cursor *cursor)
{
    enum http1_verdict verdict = HTTP1_COMPLETE;
    if (cursor->at < cursor->end && *cursor->at == '\r') /* one empty line is forgiven (RFC 9112, 2.2) */
        verdict = take_line_end(cursor, "");
    if (verdict == HTTP1_COMPLETE)
        verdict = take_request_line(cursor);
    if (verdict == HTTP1_PARTIAL)
        cursor->head->target.base = NULL;
    if (verdict == HTTP1_COMPLETE)
        verdict = take_fields(cursor);
    return verdict == HTTP1_COMPLETE ? check_framing(cursor) : verdict;
}

enum http1_verdict http1_parse_head(struct str bytes, size_t head_limit, size_t scanned, struct http1_head *head)
{
    bool beyond = bytes.len > head_limit;
    struct str within = {bytes.base, beyond ? head_limit : bytes.len};
    memset(head, 0, offsetof(struct http1_head, headers));
    memset(&head->header_count, 0, sizeof(*head) - offsetof(struct http1_head, header_count));
    if (scanned > 0 && !beyond && !may_be_complete(within, scanned))
        return HTTP1_PARTIAL;
    struct cursor cursor = {.at = within.base, .end = within.base + within.len, .head = head};
    enum http1_verdict verdict = parse(&cursor);
    if (verdict == HTTP1_PARTIAL && beyond)
        verdict = head->target.base == NULL ? refuse(head, HTTP1_URI_TOO_LONG, "The request line exceeds the limit")
                                            : refuse(head, HTTP1_HEAD_TOO_LARGE, "The request head exceeds the limit");
    head->size = (size_t)(cursor.at - within.base);
    return verdict;
}

enum chunked_state {
    SIZE_FIRST = 0,
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED,
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a chunk's size line: the next state, or -1. */
static int step_size(struct http1_chunked *chunked, char c)
{
    int digit = hex_digit(c);
    if (chunked->state == SIZE_LF)
        return c != '\n' ? -1 : chunked->left > 0 ? DATA : TRAILER_FIRST;
    if (chunked->state == EXTENSION)
        return c == '\r'                                                               ? SIZE_LF
               : in_class(c, IN_VALUE) && ++chunked->line <= HTTP1_MAX_CHUNK_EXTENSION ? EXTENSION
                                                                                       : -1;
    if (digit >= 0) {
        if (chunked->state == SIZE_FIRST)
            chunked->left = chunked->line = 0;
        chunked->left = chunked->left << 4 | (uint64_t)digit;
        return ++chunked->line <= MAX_SIZE_DIGITS && chunked->left <= INT64_MAX ? SIZE : -1;
    }
    if (chunked->state == SIZE_FIRST || (c != ';' && c != '\r'))
        return -1;
    chunked->line = 0;
    return c == ';' ? EXTENSION : SIZE_LF;
}

static int step_trailer(struct http1_chunked *chunked, char c)
{
    if (++chunked->line > HTTP1_MAX_TRAILERS)
        return -1;
    switch (chunked->state) {
    case TRAILER_FIRST:
        return c == '\r' ? LAST_LF : in_class(c, IN_TOKEN) ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        return c == ':' ? TRAILER_VALUE : in_class(c, IN_TOKEN) ? TRAILER_NAME : -1;
    case TRAILER_VALUE:
        return c == '\r' ? TRAILER_LF : in_class(c, IN_VALUE) ? TRAILER_VALUE : -1;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_FIRST : -1;
    default:
        return c == '\n' ? ENDED : -1;
    }
}

static int step(struct http1_chunked *chunked, char c)
{
    switch (chunked->state) {
    case DATA_CR:
        return c == '\r' ? DATA_LF : -1;
    case DATA_LF:
        return c == '\n' ? SIZE_FIRST : -1;
    default:
        return chunked->state < DATA ? step_size(chunked, c) : step_trailer(chunked, c);
    }
}

enum http1_verdict http1_decode_chunked(struct http1_chunked *chunked, char *bytes, size_t *len, size_t *used)
{
    size_t at = 0, end = *len;
    *len = 0;
    while (at < end && chunked->state != ENDED) {
        if (chunked->state == DATA) {
            size_t piece = chunked->left < end - at ? (size_t)chunked->left : end - at;
            memmove(bytes + *len, bytes + at, piece);
            *len += piece;
            at += piece;
            chunked->left -= piece;
            if (chunked->left == 0)
                chunked->state = DATA_CR;
            continue;
        }
        int state = step(chunked, bytes[at++]);
        *used = at;
        if (state < 0)
            return HTTP1_BAD_REQUEST;
        if (state == TRAILER_FIRST && chunked->state == SIZE_LF)
            chunked->line = 0;
        chunked->state = state;
    }
    *used = at;
    return chunked->state == ENDED ? HTTP1_COMPLETE : HTTP1_PARTIAL;
}
