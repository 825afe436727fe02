/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/identity.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/percent.h"

#define USER_MOST 256 /* bytes of a user ID */

static enum verdict fault(struct identity *identity, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum verdict fault(struct identity *identity, enum verdict verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(identity->fault, sizeof(identity->fault), format, args);
    va_end(args);
    return verdict;
}

static enum verdict twice(struct identity *identity, const struct source *source)
{
    return fault(identity, VERDICT_BAD_REQUEST, "The request has more than one value for %.*s", STR_ARG(source->text));
}

static bool is_dots(unsigned dots, size_t len)
{
    return dots == len && (len == 1 || len == 2);
}

bool identity_path_plain(struct str path)
{
    unsigned dots = 0;
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        int c = (unsigned char)path.base[i];
        if (c == '%' && (c = percent_byte(path, i)) >= 0)
            i += 2;
        if (c <= 0)
            return false;
        if (c == '/' || c == '\\') {
            if (is_dots(dots, len))
                return false;
            dots = 0;
            len = 0;
            continue;
        }
        dots += c == '.';
        len++;
    }
    return !is_dots(dots, len);
}

/* Percent-decodes TEXT into the request's pool; in queries '+' is a blank. Base NULL where an escape is malformed. */
static struct str decode(h2o_req_t *req, struct str text, bool query)
{
    char *out = h2o_mem_alloc_pool(&req->pool, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.base[i];
        if (c == '%') {
            int byte = percent_byte(text, i);
            if (byte < 0)
                return (struct str){NULL, 0};
            c = (char)byte;
            i += 2;
        } else if (c == '+' && query) {
            c = ' ';
        }
        out[len++] = c;
    }
    return (struct str){out, len};
}

/* Programs behind CGI's conventions read X_User_Id and X-User-Id as one. */
static bool same_field(const h2o_iovec_t *field, struct str name)
{
    if (field->len != name.len)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (field->base[i] != name.base[i] &&
            ((field->base[i] != '_' && field->base[i] != '-') || (name.base[i] != '_' && name.base[i] != '-')))
            return false;
    return true;
}

static enum verdict from_header(struct identity *identity, const struct source *source, struct str *value)
{
    const h2o_headers_t *headers = &identity->req->headers;
    const h2o_header_t *found = NULL;
    for (size_t i = 0; i < headers->size; i++) {
        if (!same_field(headers->entries[i].name, source->name))
            continue;
        if (found != NULL)
            return twice(identity, source);
        found = &headers->entries[i];
    }
    if (found == NULL)
        return VERDICT_OK;
    if (memcmp(found->name->base, source->name.base, source->name.len) != 0)
        return fault(identity, VERDICT_BAD_REQUEST, "%.*s is misspelt with another dash", STR_ARG(source->text));
    *value = (struct str){found->value.base, found->value.len};
    return VERDICT_OK;
}

/* Values of NAME in TEXT, the cookies of one field; the last one stands in *value. */
static unsigned find_cookies(struct str text, struct str name, struct str *value)
{
    unsigned found = 0;
    for (struct str pair; str_next(&text, ';', &pair);) {
        struct str rest = str_trim(pair), key;
        if (!str_next(&rest, '=', &key) || rest.base == NULL || !str_equal(key, name))
            continue;
        *value = rest;
        found++;
    }
    return found;
}

static enum verdict from_cookie(struct identity *identity, const struct source *source, struct str *value)
{
    const h2o_headers_t *headers = &identity->req->headers;
    unsigned found = 0;
    for (ssize_t at = -1; (at = h2o_find_header(headers, H2O_TOKEN_COOKIE, at)) >= 0;) {
        struct str line = {headers->entries[at].value.base, headers->entries[at].value.len};
        found += find_cookies(line, source->name, value);
    }
    if (found > 1)
        return twice(identity, source);
    if (found == 1 && value->len >= 2 && value->base[0] == '"' && value->base[value->len - 1] == '"')
        *value = (struct str){value->base + 1, value->len - 2};
    return VERDICT_OK;
}

/* Nodes decode names as well as values, so a second one may come in disguise; one without a value is a value too. */
static unsigned find_parameters(h2o_req_t *req, struct str query, struct str name, struct str *value)
{
    unsigned found = 0;
    for (struct str pair; str_next(&query, '&', &pair);) {
        struct str rest = pair, key = {NULL, 0};
        str_next(&rest, '=', &key);
        if (key.base != NULL && (memchr(key.base, '%', key.len) != NULL || memchr(key.base, '+', key.len) != NULL))
            key = decode(req, key, true);
        if (key.base == NULL || !str_equal(key, name))
            continue;
        *value = rest;
        found++;
    }
    return found;
}

static enum verdict from_query(struct identity *identity, const struct source *source, struct str *value)
{
    h2o_req_t *req = identity->req;
    if (req->query_at == SIZE_MAX)
        return VERDICT_OK;
    struct str query = {req->path.base + req->query_at + 1, req->path.len - req->query_at - 1}, raw = {NULL, 0};
    unsigned found = find_parameters(req, query, source->name, &raw);
    if (found > 1)
        return twice(identity, source);
    if (found == 0 || raw.base == NULL)
        return VERDICT_OK;
    *value = decode(req, raw, true);
    return value->base ? VERDICT_OK
                       : fault(identity, VERDICT_BAD_REQUEST, "The value of %.*s is not well-formed percent-encoding",
                               STR_ARG(source->text));
}

/* A slash in disguise: some nodes split the path at it, others do not. */
static bool hides_slash(struct str path)
{
    for (size_t i = 0; i < path.len; i++) {
        int c = path.base[i] == '%' ? percent_byte(path, i) : 0;
        if (c == '/' || c == '\\')
            return true;
    }
    return false;
}

/* Segment by segment beside the template; the value is the segment where the template has its {variable}. */
static enum verdict from_path(struct identity *identity, const struct source *source, struct str *value)
{
    h2o_req_t *req = identity->req;
    struct str path = {req->path_normalized.base, req->path_normalized.len}, pattern = source->name;
    struct str wanted, segment, found = {NULL, 0};
    while (str_next(&pattern, '/', &wanted)) {
        if (!str_next(&path, '/', &segment))
            return VERDICT_OK;
        if (wanted.len > 0 && wanted.base[0] == '{')
            found = segment;
        else if (!str_equal(wanted, segment))
            return VERDICT_OK;
    }
    if (hides_slash((struct str){req->path.base, req->query_at == SIZE_MAX ? req->path.len : req->query_at}))
        return fault(identity, VERDICT_BAD_REQUEST, "The path of %.*s has an escaped slash", STR_ARG(source->text));
    *value = found;
    return VERDICT_OK;
}

/* One reference token of RFC 6901 (~1 is a slash, ~0 a tilde) into OUT. False where it is longer than a key may be. */
static bool unescape_token(struct str token, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < token.len; i++) {
        char c = token.base[i];
        if (c == '~' && i + 1 < token.len)
            c = token.base[++i] == '1' ? '/' : '~';
        if (len + 1 == size)
            return false;
        out[len++] = c;
    }
    out[len] = '\0';
    return true;
}

static json_t *resolve_pointer(json_t *at, struct str pointer)
{
    struct str token;
    char key[256];
    if (pointer.len == 0)
        return at;
    str_next(&pointer, '/', &token);
    while (at != NULL && str_next(&pointer, '/', &token)) {
        uint64_t index;
        if (json_is_array(at))
            at = str_to_u64(token, &index) ? json_array_get(at, (size_t)index) : NULL;
        else
            at = unescape_token(token, key, sizeof(key)) ? json_object_get(at, key) : NULL;
    }
    return at;
}

static enum verdict parse_body(struct identity *identity)
{
    h2o_iovec_t body = identity->req->entity;
    json_error_t error;
    if (identity->body.parsed || body.len == 0)
        return VERDICT_OK;
    identity->body.parsed = true;
    /* Of two equal keys the app could read the other one. */
    identity->body.json = json_loadb(body.base, body.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (identity->body.json != NULL)
        return VERDICT_OK;
    return fault(identity, VERDICT_BAD_JSON, "The body is not well-formed JSON: line %d, column %d: %.80s", error.line,
                 error.column, error.text);
}

static struct str copy(h2o_req_t *req, const char *text, size_t len)
{
    h2o_iovec_t kept = h2o_strdup(&req->pool, text, len);
    return (struct str){kept.base, kept.len};
}

/* A string or a whole number can name a user; nothing else can. */
static enum verdict from_json_value(struct identity *identity, const struct source *source, const json_t *found,
                                    struct str *value)
{
    char number[24];
    if (found == NULL || json_is_null(found))
        return VERDICT_OK;
    if (json_is_string(found))
        *value = copy(identity->req, json_string_value(found), json_string_length(found));
    else if (json_is_integer(found))
        *value = copy(identity->req, number,
                      (size_t)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(found)));
    else
        return fault(identity, VERDICT_BAD_USER, "%.*s is neither a string nor a whole number", STR_ARG(source->text));
    return VERDICT_OK;
}

static enum verdict from_json(struct identity *identity, const struct source *source, struct str *value)
{
    enum verdict verdict = parse_body(identity);
    if (verdict != VERDICT_OK || identity->body.json == NULL)
        return verdict;
    return from_json_value(identity, source, resolve_pointer(identity->body.json, source->name), value);
}

static bool bearer_token(struct str value, struct str *token)
{
    struct str scheme;
    if (!str_next(&value, ' ', &scheme) || value.base == NULL || !str_equal_nocase(scheme, STR_LIT("bearer")))
        return false;
    *token = str_trim(value);
    return true;
}

static enum verdict verify_token(struct identity *identity, const struct source *source)
{
    const h2o_headers_t *headers = &identity->req->headers;
    struct str token;
    const char *why;
    ssize_t at = h2o_find_header(headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (identity->jwt_key == NULL || at < 0)
        return VERDICT_OK;
    if (h2o_find_header(headers, H2O_TOKEN_AUTHORIZATION, at) >= 0)
        return twice(identity, source);
    if (!bearer_token((struct str){headers->entries[at].value.base, headers->entries[at].value.len}, &token))
        return VERDICT_OK;
    if (!jwt_verify(identity->jwt_key, token, (int64_t)(clock_wall_us() / 1000000), &identity->token.claims, &why))
        return fault(identity, VERDICT_BAD_TOKEN, "%s", why);
    return VERDICT_OK;
}

/* A token that is there and does not verify is refused, rather than passed over for the next source. */
static enum verdict from_jwt(struct identity *identity, const struct source *source, struct str *value)
{
    struct identity_token *token = &identity->token;
    char claim[256];
    if (!token->verified) {
        token->verified = true;
        token->verdict = verify_token(identity, source);
        memcpy(token->fault, identity->fault, sizeof(token->fault));
    }
    if (token->verdict != VERDICT_OK)
        return fault(identity, token->verdict, "%s", token->fault);
    if (token->claims == NULL)
        return VERDICT_OK;
    snprintf(claim, sizeof(claim), "%.*s", STR_ARG(source->name));
    return from_json_value(identity, source, json_object_get(token->claims, claim), value);
}

typedef enum verdict (*source_fn)(struct identity *identity, const struct source *source, struct str *value);

static const source_fn readers[] = {
    [SOURCE_HEADER] = from_header, [SOURCE_COOKIE] = from_cookie, [SOURCE_QUERY] = from_query,
    [SOURCE_PATH] = from_path,     [SOURCE_JSON] = from_json,     [SOURCE_JWT] = from_jwt,
};

static bool printable(struct str value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.base[i] < 0x20 || value.base[i] == 0x7f)
            return false;
    return str_is_utf8(value);
}

enum verdict identity_check(struct identity *identity, struct str what, struct str value)
{
    if (value.len > USER_MOST)
        return fault(identity, VERDICT_BAD_USER, "%.*s is longer than %d bytes", STR_ARG(what), USER_MOST);
    if (!printable(value))
        return fault(identity, VERDICT_BAD_USER, "%.*s holds control characters or is not UTF-8", STR_ARG(what));
    return VERDICT_OK;
}

/* What SOURCE says, or base NULL where it says nothing; an empty value is nothing. */
static enum verdict read_source(struct identity *identity, const struct source *source, struct str *value)
{
    *value = (struct str){NULL, 0};
    enum verdict verdict = readers[source->kind](identity, source, value);
    if (verdict != VERDICT_OK)
        return verdict;
    if (value->len == 0)
        value->base = NULL;
    return identity_check(identity, source->text, *value);
}

enum verdict identity_user(struct identity *identity, struct str *user)
{
    *user = (struct str){NULL, 0};
    for (uint32_t i = 0; i < identity->table->source_count; i++) {
        enum verdict verdict = read_source(identity, &identity->table->sources[i], user);
        if (verdict != VERDICT_OK || user->base != NULL)
            return verdict;
    }
    return VERDICT_OK;
}

enum verdict identity_participant(struct identity *identity, const struct source *source, struct str *user)
{
    enum verdict verdict = read_source(identity, source, user);
    if (verdict != VERDICT_OK || user->base != NULL)
        return verdict;
    return fault(identity, source->kind == SOURCE_JSON ? VERDICT_BAD_JSON : VERDICT_BAD_REQUEST,
                 "This route needs a participant at %.*s", STR_ARG(source->text));
}

void identity_dispose(struct identity *identity)
{
    json_decref(identity->body.json);
    json_decref(identity->token.claims);
}
