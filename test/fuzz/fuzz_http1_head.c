/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of an HTTP/1 request. The first byte of the input says where it is cut in two: however a head arrives, the
 * verdict is the same, and what was accepted is what it should be.
 */
#include <stdlib.h>

#include "common/http1.h"
#include "common/invariant.h"
#include "test/fuzz/replay.h"

#define LIMIT 4096

static struct http1_head whole, parted;

static bool within(struct str text, const char *bytes, size_t len)
{
    return text.len == 0 || (text.base >= bytes && text.base + text.len <= bytes + len);
}

static void check_framing(const struct http1_head *head)
{
    INVARIANT(!(head->chunked && head->has_length));
    INVARIANT(!(head->chunked && head->minor_version == 0));
    INVARIANT(head->minor_version == 0 || head->host.base != NULL);
    INVARIANT(head->host.base == NULL || http1_valid_host(head->host));
    INVARIANT(http1_valid_method(head->method) && http1_valid_target(head->method, head->target));
}

static void check_fields(const struct http1_head *head, const char *bytes)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    INVARIANT(head->header_count <= HTTP1_MAX_HEADERS);
    for (size_t i = 0; i < head->header_count; i++) {
        struct str name = head->headers[i].name, value = head->headers[i].value;
        INVARIANT(name.len > 0 && within(name, bytes, head->size) && within(value, bytes, head->size));
        INVARIANT(value.len == 0 ||
                  (memchr(value.base, '\0', value.len) == NULL && memchr(value.base, '\r', value.len) == NULL &&
                   memchr(value.base, '\n', value.len) == NULL));
        INVARIANT(str_equal(value, str_trim(value)));
        hosts += str_equal_nocase(name, STR_LIT("host"));
        lengths += str_equal_nocase(name, STR_LIT("content-length"));
        codings += str_equal_nocase(name, STR_LIT("transfer-encoding"));
    }
    INVARIANT(hosts <= 1 && lengths == head->has_length && codings == head->chunked);
}

/* The first part lies in memory of its own size, so that a sanitizer sees a look beyond it. */
static enum http1_verdict parse_part(const char *bytes, size_t len)
{
    char *copy = malloc(len);
    memcpy(copy, bytes, len);
    enum http1_verdict verdict = http1_parse_head((struct str){copy, len}, LIMIT, 0, &parted);
    free(copy);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str bytes = {(const char *)data + 1, size - 1};
    size_t cut = 1 + data[0] * bytes.len / 256;
    enum http1_verdict verdict = http1_parse_head(bytes, LIMIT, 0, &whole);
    INVARIANT(verdict <= HTTP1_PARTIAL || whole.fault != NULL);
    if (verdict == HTTP1_COMPLETE) {
        INVARIANT(whole.size > 0 && whole.size <= bytes.len && whole.size <= LIMIT);
        check_framing(&whole);
        check_fields(&whole, bytes.base);
    }
    enum http1_verdict first = parse_part(bytes.base, cut);
    if (first > HTTP1_PARTIAL || (first == HTTP1_COMPLETE && cut <= LIMIT))
        INVARIANT(verdict == first);
    if (first == HTTP1_PARTIAL && verdict == HTTP1_COMPLETE) {
        INVARIANT(http1_parse_head(bytes, LIMIT, cut, &parted) == HTTP1_COMPLETE);
        INVARIANT(parted.size == whole.size && parted.header_count == whole.header_count);
    }
    return 0;
}
