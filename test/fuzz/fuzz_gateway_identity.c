/* SPDX-License-Identifier: Apache-2.0
 *
 * Identity extraction: any path, header, cookie and body, read by any kind of source. The input is a byte that picks
 * the kind, then four parts separated by newlines: the source's name, the path, a header value, the body.
 */
#include <h2o.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "gateway/identity.h"
#include "test/fuzz/replay.h"

static void check_result(enum verdict verdict, struct str user)
{
    if (verdict != VERDICT_OK)
        return;
    INVARIANT(user.base == NULL || user.len > 0);
    INVARIANT(user.len <= 256 && str_is_utf8(user));
}

static void prepare(h2o_req_t *req, struct str path, struct str value, struct str body)
{
    memset(req, 0, sizeof(*req));
    h2o_mem_init_pool(&req->pool);
    req->path = h2o_iovec_init(path.base, path.len);
    req->path_normalized = h2o_url_normalize_path(&req->pool, path.base, path.len, &req->query_at, &req->norm_indexes);
    req->entity = h2o_iovec_init(body.base, body.len);
    h2o_add_header(&req->pool, &req->headers, H2O_TOKEN_COOKIE, NULL, value.base, value.len);
    h2o_add_header_by_str(&req->pool, &req->headers, H2O_STRLIT("x-user-id"), 0, NULL, value.base, value.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1}, name = {"", 0}, path = {"", 0}, value = {"", 0};
    str_next(&rest, '\n', &name);
    str_next(&rest, '\n', &path);
    str_next(&rest, '\n', &value);
    if (path.len == 0 || path.base[0] != '/')
        path = STR_LIT("/");
    h2o_req_t req;
    struct source source = {.kind = (enum source_kind)(data[0] % (SOURCE_JSON + 1)), .name = name, .text = name};
    if (source.kind == SOURCE_HEADER)
        source.name = STR_LIT("x-user-id");
    struct table table = {.sources = &source, .source_count = 1};
    struct identity identity = {.req = &req, .table = &table};
    struct str user;
    prepare(&req, path, value, rest);
    check_result(identity_user(&identity, &user), user);
    check_result(identity_participant(&identity, &source, &user), user);
    identity_path_plain(path);
    identity_dispose(&identity);
    h2o_mem_clear_pool(&req.pool);
    return 0;
}
