/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/h2_fields.h"

#include <h2o/http2.h>
#include <h2o/http2_internal.h>

#include "common/http1.h"
#include "common/measure.h"
#include "gateway/gateway.h"

/* The key under which libh2o's per-request environment keeps the number of fields before the trailers. */
#define TRAILERS_KEY "ldcgate.fields"

static struct str str_of_iovec(h2o_iovec_t text)
{
    return (struct str){text.base, text.len};
}

void h2_fields_expect_trailers(h2o_req_t *req)
{
    h2o_req_getenv(req, H2O_STRLIT(TRAILERS_KEY), 1)->len = req->headers.size;
}

static void take_off_trailers(h2o_req_t *req)
{
    h2o_iovec_t *fields = h2o_req_getenv(req, H2O_STRLIT(TRAILERS_KEY), 0);
    if (fields != NULL && fields->len < req->headers.size)
        req->headers.size = fields->len;
}

/* The gateway reads bodies whole: whoever waited for a 100 has stopped waiting, and no node must begin to. */
static void take_off_expect(h2o_req_t *req)
{
    ssize_t at;
    while ((at = h2o_find_header(&req->headers, H2O_TOKEN_EXPECT, -1)) >= 0)
        h2o_delete_header(&req->headers, at);
}

/* Nodes are told by X-Forwarded-Proto: what came in clear is no HTTPS, whatever :scheme says. */
static void set_scheme(h2o_req_t *req)
{
    bool tls = req->conn->callbacks->get_socket(req->conn)->ssl != NULL;
    req->scheme = req->input.scheme = tls ? &H2O_URL_SCHEME_HTTPS : &H2O_URL_SCHEME_HTTP;
}

static bool is_connection_specific(const h2o_iovec_t *name)
{
    static const h2o_iovec_t names[] = {
        {H2O_STRLIT("connection")}, {H2O_STRLIT("keep-alive")},        {H2O_STRLIT("proxy-connection")},
        {H2O_STRLIT("upgrade")},    {H2O_STRLIT("transfer-encoding")}, {H2O_STRLIT("http2-settings")},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (h2o_memis(name->base, name->len, names[i].base, names[i].len))
            return true;
    return false;
}

static const char *field_fault(const h2o_header_t *header)
{
    struct str value = str_of_iovec(header->value), trimmed = str_trim(value);
    if (header->name->len == 0)
        return "A field has no name";
    if (is_connection_specific(header->name))
        return "A field belongs to HTTP/1 connections";
    if (trimmed.len != value.len)
        return "A field value begins or ends with a blank";
    return NULL;
}

static const char *pseudo_fault(const h2o_req_t *req)
{
    struct str method = str_of_iovec(req->input.method), path = str_of_iovec(req->input.path);
    const h2o_hostconf_t *host = req->conn->hosts[0];
    if (!http1_valid_method(method))
        return "The method is malformed, or CONNECT";
    if (!http1_valid_target(method, path))
        return "The path is malformed";
    if (req->input.authority.base == NULL || req->input.authority.base == host->authority.hostport.base)
        return "There is no authority";
    if (!http1_valid_host(str_of_iovec(req->input.authority)))
        return "The authority is malformed";
    return NULL;
}

static const char *length_fault(h2o_req_t *req)
{
    h2o_http2_stream_t *stream = H2O_STRUCT_FROM_MEMBER(h2o_http2_stream_t, req, req);
    if (stream->_expected_content_length != SIZE_MAX && stream->_expected_content_length != req->entity.len)
        return "The Content-Length is not that of the body";
    return NULL;
}

static enum verdict check_sizes(const h2o_req_t *req, const struct gateway_config *config)
{
    size_t size = req->input.method.len + req->input.path.len + req->input.authority.len;
    if (req->input.path.len > (size_t)config->limits.uri)
        return VERDICT_URI_TOO_LONG;
    for (size_t i = 0; i < req->headers.size; i++)
        size += req->headers.entries[i].name->len + req->headers.entries[i].value.len + sizeof(": \r\n") - 1;
    return size > (size_t)config->limits.head ? VERDICT_HEAD_TOO_LARGE : VERDICT_OK;
}

enum verdict h2_fields_check(h2o_req_t *req, const char **fault)
{
    *fault = NULL;
    take_off_trailers(req);
    take_off_expect(req);
    set_scheme(req);
    enum verdict verdict = check_sizes(req, &worker_of(req)->gateway->config);
    if (verdict != VERDICT_OK)
        return verdict;
    if (req->headers.size > HTTP1_MAX_HEADERS)
        *fault = "There are too many header fields";
    if (*fault == NULL)
        *fault = pseudo_fault(req);
    if (*fault == NULL)
        *fault = length_fault(req);
    for (size_t i = 0; i < req->headers.size && *fault == NULL; i++)
        *fault = field_fault(&req->headers.entries[i]);
    return *fault == NULL ? VERDICT_OK : VERDICT_BAD_REQUEST;
}
