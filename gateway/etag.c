/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/etag.h"

#include <string.h>

#define MOST_DIGITS 20

/* --- of an answer ------------------------------------------------------------------------------------------------- */

static void add_version(h2o_req_t *req, struct str digits)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-version"), 0, NULL, digits.base, digits.len);
}

void etag_add_version(h2o_req_t *req, uint64_t version)
{
    char *digits = h2o_mem_alloc_pool(&req->pool, MOST_DIGITS);
    add_version(req, (struct str){digits, str_from_u64(version, digits)});
}

void etag_add(h2o_req_t *req, uint64_t version)
{
    char *tag = h2o_mem_alloc_pool(&req->pool, MOST_DIGITS + 2);
    size_t len = 1 + str_from_u64(version, tag + 1);
    tag[0] = tag[len] = '"';
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_ETAG, NULL, tag, len + 1);
    add_version(req, (struct str){tag + 1, len - 1});
}

/* --- of a request ------------------------------------------------------------------------------------------------- */

/* What one of the two headers says, of as many fields as there are. */
struct tags {
    bool given, any; /* any: "*" */
    unsigned count;
    uint64_t versions[ETAG_MOST];
};

/* Versions are written in one way only, and none is 0. */
static bool is_version(struct str text, uint64_t *version)
{
    return text.len > 0 && text.base[0] != '0' && str_to_u64(text, version);
}

/* Takes a tag off REST. Where the comparison is STRONG, weak ones are like no other. */
static bool take_tag(struct str *rest, bool strong, struct tags *tags)
{
    uint64_t version;
    bool weak = str_starts(*rest, STR_LIT("W/"));
    struct str tail = weak ? (struct str){rest->base + 2, rest->len - 2} : *rest;
    const char *end = tail.len > 1 && tail.base[0] == '"' ? memchr(tail.base + 1, '"', tail.len - 1) : NULL;
    if (end == NULL)
        return false;
    struct str text = {tail.base + 1, (size_t)(end - tail.base) - 1};
    *rest = str_trim((struct str){end + 1, (size_t)(tail.base + tail.len - end) - 1});
    if ((weak && strong) || !is_version(text, &version))
        return true;
    if (tags->count == ETAG_MOST)
        return false;
    tags->versions[tags->count++] = version;
    return true;
}

static bool take_comma(struct str *rest)
{
    if (rest->base[0] != ',')
        return false;
    *rest = str_trim((struct str){rest->base + 1, rest->len - 1});
    return true;
}

static bool read_field(struct str value, bool strong, struct tags *tags)
{
    struct str rest = str_trim(value);
    bool between = true;
    tags->given = true;
    if (str_equal(rest, STR_LIT("*"))) {
        tags->any = true;
        return true;
    }
    while (rest.len > 0) {
        bool comma = take_comma(&rest);
        if (!comma && (!between || !take_tag(&rest, strong, tags)))
            return false;
        between = comma;
    }
    return true;
}

static bool read_fields(const h2o_headers_t *headers, struct str name, bool strong, struct tags *tags)
{
    for (ssize_t at = -1; (at = h2o_find_header_by_str(headers, name.base, name.len, at)) >= 0;) {
        h2o_iovec_t value = headers->entries[at].value;
        if (!read_field((struct str){value.base, value.len}, strong, tags))
            return false;
    }
    return true;
}

static bool has(const struct tags *tags, uint64_t version)
{
    for (unsigned i = 0; i < tags->count; i++)
        if (tags->versions[i] == version)
            return true;
    return tags->any;
}

static void put_versions(const struct tags *tags, const struct tags *without, struct buf *out)
{
    for (unsigned i = 0; i < tags->count; i++)
        if (!has(without, tags->versions[i])) {
            buf_append(out, " ", 1);
            out->len += str_from_u64(tags->versions[i], buf_reserve(out, MOST_DIGITS));
        }
}

/* In the function's words 0 is the version of what is not there. */
static void put_condition(const struct tags *match, const struct tags *none, struct buf *out)
{
    static const struct tags nothing;
    if (!match->given && !none->given)
        return;
    if (match->given && (!match->any || none->any)) {
        buf_append_str(out, STR_LIT("match"));
        put_versions(match, none, out);
    } else if (none->any) {
        buf_append_str(out, STR_LIT("match 0"));
    } else {
        buf_append_str(out, match->any ? STR_LIT("none 0") : STR_LIT("none"));
        put_versions(none, &nothing, out);
    }
}

bool etag_is_wanted(const h2o_headers_t *headers, uint64_t version)
{
    struct tags match = {.given = false};
    return read_fields(headers, STR_LIT("if-match"), true, &match) && (!match.given || has(&match, version));
}

bool etag_is_known(const h2o_headers_t *headers, uint64_t version)
{
    struct tags none = {.given = false};
    return read_fields(headers, STR_LIT("if-none-match"), false, &none) && has(&none, version);
}

bool etag_condition(const h2o_headers_t *headers, struct buf *out, const char **fault)
{
    struct tags match = {.given = false}, none = {.given = false};
    *fault = "If-Match and If-None-Match are * or tags such as \"17\", with commas, and not more than 64";
    if (!read_fields(headers, STR_LIT("if-match"), true, &match) ||
        !read_fields(headers, STR_LIT("if-none-match"), false, &none))
        return false;
    *fault = "What is written goes by If-Match: a second is too long a time for If-Unmodified-Since";
    if (!match.given && h2o_find_header_by_str(headers, H2O_STRLIT("if-unmodified-since"), -1) >= 0)
        return false;
    put_condition(&match, &none, out);
    return true;
}

bool etag_condition_of(struct str if_match, struct str if_none_match, struct buf *out)
{
    struct tags match = {.given = false}, none = {.given = false};
    bool sound = (if_match.base == NULL || read_field(if_match, true, &match)) &&
                 (if_none_match.base == NULL || read_field(if_none_match, false, &none));
    if (sound)
        put_condition(&match, &none, out);
    return sound;
}
