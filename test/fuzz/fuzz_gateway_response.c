/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of nodes: head and body, read at once and in pieces, must come to the same end and never leave the input.
 * The first byte says in how large pieces, and whether HEAD was asked; the rest is what the node sends.
 */
#include <stdlib.h>

#include "common/invariant.h"
#include "gateway/response.h"
#include "test/fuzz/replay.h"

struct outcome {
    enum response_verdict head, body;
    int status;
    size_t size, surplus;
    struct buf payload;
};

static bool within(struct str part, struct str whole)
{
    return part.len == 0 || (part.base >= whole.base && part.base + part.len <= whole.base + whole.len);
}

static void check_head(const struct response *response, struct str bytes)
{
    INVARIANT(response->size <= bytes.len && response->field_count <= HTTP1_MAX_HEADERS);
    INVARIANT(response->status >= 100 && response->status <= 599);
    INVARIANT(within(response->reason, bytes));
    for (size_t i = 0; i < response->field_count; i++) {
        INVARIANT(response->fields[i].name.len > 0);
        INVARIANT(within(response->fields[i].name, bytes) && within(response->fields[i].value, bytes));
        response_names(response, response->fields[i].name);
    }
}

static enum response_verdict read_head(struct str bytes, size_t step, bool is_head, struct response *response)
{
    enum response_verdict verdict = RESPONSE_PARTIAL;
    for (size_t seen = 0, len = 0; verdict == RESPONSE_PARTIAL && len < bytes.len; seen = len) {
        len = bytes.len - len < step ? bytes.len : len + step;
        verdict = response_parse((struct str){bytes.base, len}, seen, is_head, response);
    }
    return verdict;
}

static enum response_verdict read_body(const struct response *response, struct str bytes, size_t step,
                                       struct outcome *outcome)
{
    struct response_body body;
    enum response_verdict verdict = RESPONSE_PARTIAL;
    char *copy = mem_alloc(bytes.len + 1);
    response_body_begin(response, &body);
    memcpy(copy, bytes.base, bytes.len);
    for (size_t at = 0; verdict == RESPONSE_PARTIAL && at < bytes.len; at += step) {
        size_t raw = bytes.len - at < step ? bytes.len - at : step, len = raw;
        verdict = response_body_read(&body, copy + at, &len, &outcome->surplus);
        INVARIANT(verdict == RESPONSE_MALFORMED || len + outcome->surplus <= raw);
        if (verdict != RESPONSE_MALFORMED)
            buf_append(&outcome->payload, copy + at, len);
        outcome->surplus += verdict == RESPONSE_COMPLETE ? bytes.len - at - raw : 0;
    }
    free(copy);
    return verdict;
}

static void read_all(struct str bytes, size_t step, bool is_head, struct outcome *outcome)
{
    struct response response;
    *outcome = (struct outcome){.body = RESPONSE_PARTIAL};
    outcome->head = read_head(bytes, step, is_head, &response);
    if (outcome->head != RESPONSE_COMPLETE)
        return;
    check_head(&response, bytes);
    outcome->status = response.status;
    outcome->size = response.size;
    struct str rest = {bytes.base + response.size, bytes.len - response.size};
    outcome->body = read_body(&response, rest, step, outcome);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outcome whole, pieces;
    if (size < 2 || size > RESPONSE_HEAD_MAX)
        return 0;
    size_t step = (size_t)(data[0] >> 1) + 1;
    struct str bytes = {(const char *)data + 1, size - 1};
    read_all(bytes, bytes.len, data[0] & 1, &whole);
    read_all(bytes, step, data[0] & 1, &pieces);
    /* What is wrong with a head that is not whole yet may show earlier or later. */
    INVARIANT((whole.head == RESPONSE_COMPLETE) == (pieces.head == RESPONSE_COMPLETE));
    INVARIANT(whole.body == pieces.body);
    INVARIANT(whole.head != RESPONSE_COMPLETE || (whole.status == pieces.status && whole.size == pieces.size));
    if (whole.body == RESPONSE_COMPLETE) {
        INVARIANT(whole.surplus == pieces.surplus && whole.payload.len == pieces.payload.len);
        INVARIANT(whole.payload.len == 0 || memcmp(whole.payload.base, pieces.payload.base, whole.payload.len) == 0);
    }
    buf_free(&whole.payload);
    buf_free(&pieces.payload);
    return 0;
}
