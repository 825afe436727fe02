/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http1_request.h"

/* Where TEXT of a head that lay at BYTES is in its copy at TO. */
static h2o_iovec_t moved(struct str text, const char *bytes, size_t len, char *to)
{
    if (text.base < bytes || text.base > bytes + len)
        return h2o_iovec_init(text.base, text.len);
    return h2o_iovec_init(to + (text.base - bytes), text.len);
}

static void add_header(h2o_req_t *req, h2o_iovec_t name, h2o_iovec_t value, h2o_iovec_t *upgrade)
{
    h2o_strtolower(name.base, name.len);
    const h2o_token_t *token = h2o_lookup_token(name.base, name.len);
    if (token == NULL)
        h2o_add_header_by_str(&req->pool, &req->headers, name.base, name.len, 0, NULL, value.base, value.len);
    else if (token == H2O_TOKEN_UPGRADE)
        *upgrade = value;
    else if (!token->is_init_header_special) /* Host, Content-Length, Transfer-Encoding, Expect */
        h2o_add_header(&req->pool, &req->headers, token, NULL, value.base, value.len);
}

/* An Upgrade field counts where a Connection field names it. */
static void set_upgrade(h2o_req_t *req, h2o_iovec_t upgrade)
{
    ssize_t at = -1;
    while (upgrade.base != NULL && (at = h2o_find_header(&req->headers, H2O_TOKEN_CONNECTION, at)) >= 0) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (h2o_contains_token(value.base, value.len, H2O_STRLIT("upgrade"), ','))
            req->upgrade = upgrade;
    }
}

void http1_request_fill(h2o_req_t *req, const struct http1_head *head, const char *bytes, bool tls)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, bytes, head->size), upgrade = {NULL, 0};
    req->input.method = moved(head->method, bytes, head->size, copy.base);
    req->input.path = moved(head->target, bytes, head->size, copy.base);
    if (head->host.base != NULL)
        req->input.authority = moved(head->host, bytes, head->size, copy.base);
    req->input.scheme = tls ? &H2O_URL_SCHEME_HTTPS : &H2O_URL_SCHEME_HTTP;
    req->version = 0x100 | head->minor_version;
    h2o_vector_reserve(&req->pool, &req->headers, head->header_count);
    for (size_t i = 0; i < head->header_count; i++)
        add_header(req, moved(head->headers[i].name, bytes, head->size, copy.base),
                   moved(head->headers[i].value, bytes, head->size, copy.base), &upgrade);
    set_upgrade(req, upgrade);
}
