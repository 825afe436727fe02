/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http1_answer.h"

#include <string.h>

#include "common/str.h"

#define FIXED_HEAD_BYTES 192 /* status line without its reason, and the fields that are written here */

struct writer {
    char *at;
};

static void put(struct writer *writer, const char *text, size_t len)
{
    if (len > 0)
        memcpy(writer->at, text, len);
    writer->at += len;
}

static void put_str(struct writer *writer, struct str text)
{
    put(writer, text.base, text.len);
}

static void put_number(struct writer *writer, uint64_t number)
{
    char digits[20], *first = digits + sizeof(digits);
    do
        *--first = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    put(writer, first, (size_t)(digits + sizeof(digits) - first));
}

/* Fields that are the connection's business, whoever set them. */
static bool is_framing(const h2o_iovec_t *name)
{
    return name == &H2O_TOKEN_CONTENT_LENGTH->buf || name == &H2O_TOKEN_TRANSFER_ENCODING->buf ||
           name == &H2O_TOKEN_CONNECTION->buf;
}

static bool has_header(const h2o_req_t *req, const h2o_token_t *token)
{
    return h2o_find_header(&req->res.headers, token, -1) >= 0;
}

static size_t head_room(const h2o_req_t *req, size_t reason_len)
{
    size_t room = FIXED_HEAD_BYTES + reason_len + req->conn->ctx->globalconf->server_name.len;
    for (size_t i = 0; i < req->res.headers.size; i++)
        room += req->res.headers.entries[i].name->len + req->res.headers.entries[i].value.len + sizeof(": \r\n");
    return room;
}

static void put_date_and_server(struct writer *writer, h2o_req_t *req)
{
    h2o_context_t *ctx = req->conn->ctx;
    if (!has_header(req, H2O_TOKEN_DATE)) {
        h2o_get_timestamp(ctx, NULL, NULL);
        put_str(writer, STR_LIT("Date: "));
        put(writer, ctx->_timestamp_cache.value->rfc1123, H2O_TIMESTR_RFC1123_LEN);
        put_str(writer, STR_LIT("\r\n"));
    }
    if (!has_header(req, H2O_TOKEN_SERVER)) {
        put_str(writer, STR_LIT("Server: "));
        put(writer, ctx->globalconf->server_name.base, ctx->globalconf->server_name.len);
        put_str(writer, STR_LIT("\r\n"));
    }
}

static void put_framing(struct writer *writer, const struct http1_answer *answer, const h2o_req_t *req)
{
    if (!req->http1_is_persistent)
        put_str(writer, STR_LIT("Connection: close\r\n"));
    else if (req->version < 0x101)
        put_str(writer, STR_LIT("Connection: keep-alive\r\n"));
    if (answer->chunked) {
        put_str(writer, STR_LIT("Transfer-Encoding: chunked\r\n"));
    } else if (req->res.content_length != SIZE_MAX && req->res.status >= 200 && req->res.status != 204) {
        put_str(writer, STR_LIT("Content-Length: "));
        put_number(writer, req->res.content_length);
        put_str(writer, STR_LIT("\r\n"));
    }
}

static h2o_iovec_t format_head(const struct http1_answer *answer, h2o_req_t *req)
{
    size_t reason_len = strlen(req->res.reason);
    h2o_iovec_t head = {h2o_mem_alloc_pool(&req->pool, head_room(req, reason_len)), 0};
    struct writer writer = {head.base};
    put_str(&writer, STR_LIT("HTTP/1.1 "));
    put_number(&writer, (uint64_t)req->res.status);
    put_str(&writer, STR_LIT(" "));
    put(&writer, req->res.reason, reason_len);
    put_str(&writer, STR_LIT("\r\n"));
    put_date_and_server(&writer, req);
    put_framing(&writer, answer, req);
    for (size_t i = 0; i < req->res.headers.size; i++) {
        const h2o_header_t *header = &req->res.headers.entries[i];
        if (is_framing(header->name))
            continue;
        put(&writer, header->orig_name ? header->orig_name : header->name->base, header->name->len);
        put_str(&writer, STR_LIT(": "));
        put(&writer, header->value.base, header->value.len);
        put_str(&writer, STR_LIT("\r\n"));
    }
    put_str(&writer, STR_LIT("\r\n"));
    head.len = (size_t)(writer.at - head.base);
    return head;
}

static void choose_framing(struct http1_answer *answer, h2o_req_t *req, uint64_t bytes, h2o_send_state_t state)
{
    int status = req->res.status;
    answer->bodiless = status < 200 || status == 204 || status == 304 ||
                       h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    if (answer->bodiless)
        return;
    if (req->res.content_length == SIZE_MAX && state == H2O_SEND_STATE_FINAL)
        req->res.content_length = bytes;
    answer->bounded = req->res.content_length != SIZE_MAX;
    answer->left = req->res.content_length;
    answer->chunked = !answer->bounded && req->version >= 0x101;
    if (!answer->bounded && !answer->chunked)
        req->http1_is_persistent = 0;
}

/* A body that is longer than its head said would be read as the next answer: the surplus stays here. */
static size_t frame_bounded(struct http1_answer *answer, h2o_req_t *req, const h2o_iovec_t *in, size_t count,
                            h2o_iovec_t *out)
{
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        size_t len = in[i].len < answer->left ? in[i].len : (size_t)answer->left;
        if (len < in[i].len)
            req->http1_is_persistent = 0;
        if (len > 0)
            out[written++] = h2o_iovec_init(in[i].base, len);
        answer->left -= len;
    }
    return written;
}

static size_t frame_chunk(struct http1_answer *answer, const h2o_iovec_t *in, size_t count, uint64_t bytes,
                          h2o_send_state_t state, h2o_iovec_t *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t written = 0;
    if (bytes > 0) {
        char *end = answer->size_line + sizeof(answer->size_line), *at = end;
        *--at = '\n';
        *--at = '\r';
        for (uint64_t rest = bytes; rest > 0; rest >>= 4)
            *--at = digits[rest & 15];
        out[written++] = h2o_iovec_init(at, (size_t)(end - at));
        memcpy(out + written, in, count * sizeof(*in));
        written += count;
    }
    if (state == H2O_SEND_STATE_FINAL)
        out[written++] =
            bytes > 0 ? h2o_iovec_init(H2O_STRLIT("\r\n0\r\n\r\n")) : h2o_iovec_init(H2O_STRLIT("0\r\n\r\n"));
    else if (bytes > 0)
        out[written++] = h2o_iovec_init(H2O_STRLIT("\r\n"));
    return written;
}

size_t http1_answer_frame(struct http1_answer *answer, h2o_req_t *req, const h2o_iovec_t *in, size_t count,
                          h2o_send_state_t state, h2o_iovec_t *out)
{
    uint64_t bytes = 0;
    size_t written = 0;
    for (size_t i = 0; i < count; i++)
        bytes += in[i].len;
    answer->broken = state == H2O_SEND_STATE_ERROR;
    if (answer->broken)
        req->http1_is_persistent = 0;
    if (!answer->begun) {
        answer->begun = true;
        choose_framing(answer, req, bytes, state);
        out[written++] = format_head(answer, req);
    }
    answer->ended = !h2o_send_state_is_in_progress(state);
    if (answer->bodiless)
        return written;
    req->bytes_sent += bytes;
    if (answer->chunked)
        return written + frame_chunk(answer, in, count, bytes, state, out + written);
    if (answer->bounded)
        written += frame_bounded(answer, req, in, count, out + written);
    else if (bytes > 0) {
        memcpy(out + written, in, count * sizeof(*in));
        written += count;
    }
    if (answer->bounded && answer->ended && answer->left > 0)
        req->http1_is_persistent = 0;
    return written;
}
