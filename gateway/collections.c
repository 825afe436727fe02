/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collections.h"

#include "common/collection_value.h"
#include "common/percent.h"
#include "gateway/collection_batch.h"
#include "gateway/collection_list.h"
#include "gateway/collection_read.h"
#include "gateway/collection_watch.h"
#include "gateway/collection_write.h"

#define PREFIX "/-/c/"

/* Who serves what. The first row that fits counts. */
static const struct way {
    const char *method;
    bool keyed;            /* of a value, rather than of the collection */
    const char *parameter; /* that must be in the query; NULL: any query will do */
    void (*serve)(struct exchange *exchange, const struct collection_path *path);
} ways[] = {
    {"GET", true, NULL, collection_read_serve},
    {"HEAD", true, NULL, collection_read_serve},
    {"GET", false, "watch", collection_watch_serve},
    {"GET", false, NULL, collection_list_serve},
    {"HEAD", false, NULL, collection_list_serve},
    {"PUT", true, NULL, collection_write_serve},
    {"POST", false, NULL, collection_batch_serve},
    {"DELETE", true, NULL, collection_write_serve},
    {.method = NULL}, /* ends the list */
};

static struct str to_pool(h2o_req_t *req, const struct buf *text)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, text->base != NULL ? text->base : "", text->len);
    return (struct str){copy.base, copy.len};
}

static bool decode(h2o_req_t *req, struct str text, bool query, struct str *out)
{
    if (memchr(text.base, '%', text.len) == NULL && (!query || memchr(text.base, '+', text.len) == NULL)) {
        *out = text;
        return true;
    }
    struct buf plain = {NULL, 0, 0};
    bool sound = percent_decode(text, query, &plain);
    if (sound)
        *out = to_pool(req, &plain);
    buf_free(&plain);
    return sound;
}

static bool has_parameter(struct str query, const char *name, struct str *raw)
{
    for (struct str pair; str_next(&query, '&', &pair);) {
        struct str key;
        *raw = pair;
        if (str_next(raw, '=', &key) && str_equal(key, str_of(name)))
            return true;
    }
    return false;
}

bool collection_parameter(h2o_req_t *req, struct str query, const char *name, struct str *value)
{
    struct str raw;
    if (!has_parameter(query, name, &raw))
        return true;
    if (raw.base == NULL)
        raw = STR_LIT("");
    return decode(req, raw, true, value);
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

bool collection_key_fits(struct str key)
{
    unsigned dots = 0;
    size_t segment = 0;
    for (size_t i = 0; i <= key.len; i++) {
        if (i < key.len && is_control(key.base[i]))
            return false;
        if (i < key.len && key.base[i] != '/' && key.base[i] != '\\') {
            dots += key.base[i] == '.';
            segment++;
            continue;
        }
        if (dots == segment && (dots == 1 || dots == 2))
            return false;
        dots = 0;
        segment = 0;
    }
    return key.len > 0 && key.len <= COLLECTION_KEY_MAX && str_is_utf8(key);
}

/* A path that hides its slashes in escapes names nothing here. */
static bool read_path(const struct exchange *exchange, struct str *name, struct collection_path *path)
{
    const h2o_req_t *req = exchange->req;
    struct str rest = {req->path.base, req->query_at == SIZE_MAX ? req->path.len : req->query_at};
    if (!str_starts(rest, STR_LIT(PREFIX)))
        return false;
    rest = (struct str){rest.base + sizeof(PREFIX) - 1, rest.len - (sizeof(PREFIX) - 1)};
    str_next(&rest, '/', name);
    path->key = rest;
    if (req->query_at != SIZE_MAX)
        path->query = (struct str){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1};
    return true;
}

static bool read_key(struct exchange *exchange, struct collection_path *path)
{
    if (path->key.base == NULL)
        return true;
    struct str key = STR_LIT("");
    bool fits = decode(exchange->req, path->key, false, &key) && collection_key_fits(key);
    path->key = key;
    return fits;
}

static void refuse_method(struct exchange *exchange, const struct collection_path *path)
{
    struct buf allow = {NULL, 0, 0};
    for (size_t i = 0; ways[i].method != NULL; i++)
        if (ways[i].keyed == (path->key.base != NULL) && ways[i].parameter == NULL)
            buf_printf(&allow, "%s%s", allow.len > 0 ? ", " : "", ways[i].method);
    struct str value = to_pool(exchange->req, &allow);
    buf_free(&allow);
    h2o_add_header_by_str(&exchange->req->pool, &exchange->req->res.headers, H2O_STRLIT("allow"), 1, NULL, value.base,
                          value.len);
    exchange_fail(exchange, VERDICT_METHOD_NOT_ALLOWED, NULL);
}

static void serve(struct exchange *exchange, const struct collection_path *path)
{
    struct str method = {exchange->req->method.base, exchange->req->method.len}, ignored;
    for (size_t i = 0; ways[i].method != NULL; i++)
        if (ways[i].keyed == (path->key.base != NULL) && str_equal(method, str_of(ways[i].method)) &&
            (ways[i].parameter == NULL || has_parameter(path->query, ways[i].parameter, &ignored))) {
            ways[i].serve(exchange, path);
            return;
        }
    refuse_method(exchange, path);
}

void collections_serve(struct exchange *exchange)
{
    struct str name = {NULL, 0};
    struct collection_path path = {.rules = NULL};
    if (read_path(exchange, &name, &path))
        path.rules = table_collection(exchange->view->table, name);
    if (path.rules == NULL)
        exchange_fail(exchange, VERDICT_NO_COLLECTION, NULL);
    else if (!read_key(exchange, &path))
        exchange_fail(exchange, VERDICT_BAD_REQUEST, "A key has " COLLECTION_KEY_RULE);
    else
        serve(exchange, &path);
}
