/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/forward.h"

#include <arpa/inet.h>

#include "common/invariant.h"

/* What becomes of a field of the client's request. */
enum fate {
    FATE_PASS = 0,
    FATE_DROP,
    FATE_JOIN_COOKIE, /* HTTP/2 may split them, HTTP/1 must not (RFC 9113, section 8.2.3) */
    FATE_JOIN_FOR,
    FATE_JOIN_FORWARDED,
    FATE_PASS_PROTO,
    FATE_PASS_HOST,
    FATE_COUNT,
};

/* All the words and numbers that the gateway itself puts into a request's head. Small, for pools serve less than a
 * kilobyte without malloc(). */
#define FIXED_ROOM 480

/* Where the head is written; the room was reckoned before. */
struct pen {
    char *at, *end;
};

struct request_head {
    const struct exchange *exchange;
    const h2o_req_t *req;
    struct pen pen;
    unsigned char *fates; /* by index of the field */
    bool seen[FATE_COUNT];
    bool connection_names;
    char client[INET6_ADDRSTRLEN]; /* "": a client on a Unix socket */
    bool client_v6;
};

static inline void put(struct pen *pen, const char *bytes, size_t len)
{
    memcpy(pen->at, bytes, len);
    pen->at += len;
}

#define PUT(pen, literal) put((pen), (literal), sizeof(literal) - 1)

static inline void put_vec(struct pen *pen, h2o_iovec_t vec)
{
    put(pen, vec.base, vec.len);
}

static inline void put_str(struct pen *pen, struct str s)
{
    if (s.len > 0)
        put(pen, s.base, s.len);
}

static inline void put_number(struct pen *pen, uint64_t number)
{
    pen->at += str_from_u64(number, pen->at);
}

static bool is(const h2o_iovec_t *name, struct str text)
{
    return name->len == text.len && memcmp(name->base, text.base, text.len) == 0;
}

static bool starts(const h2o_iovec_t *name, struct str prefix)
{
    return str_starts((struct str){name->base, name->len}, prefix);
}

/* Programs behind CGI's conventions read X_Forwarded_For and X-Forwarded-For as one. */
static bool is_x_forwarded(const h2o_iovec_t *name)
{
    static const struct str prefix = STR_LIT("x-forwarded-");
    if (name->len < prefix.len)
        return false;
    for (size_t i = 0; i < prefix.len; i++)
        if ((name->base[i] == '_' ? '-' : name->base[i]) != prefix.base[i])
            return false;
    return true;
}

/* ---- the request ---- */

static bool names_fields(const h2o_iovec_t *value)
{
    struct str options = {value->base, value->len}, option;
    while (str_next(&options, ',', &option)) {
        option = str_trim(option);
        if (!str_equal_nocase(option, STR_LIT("keep-alive")) && !str_equal_nocase(option, STR_LIT("close")) &&
            !str_equal_nocase(option, STR_LIT("upgrade")) && option.len > 0)
            return true;
    }
    return false;
}

bool forward_connection_names_any(const h2o_req_t *req)
{
    ssize_t at = -1;
    while ((at = h2o_find_header(&req->headers, H2O_TOKEN_CONNECTION, at)) != -1)
        if (names_fields(&req->headers.entries[at].value))
            return true;
    return false;
}

/* What says who the user is reaches all: a client that names it must not route by one user and ask as another. */
static bool is_credential(const struct exchange *exchange, const h2o_iovec_t *name)
{
    const struct table *table = exchange->view->table;
    if (name == &H2O_TOKEN_COOKIE->buf || name == &H2O_TOKEN_AUTHORIZATION->buf)
        return true;
    for (uint32_t i = 0; i < table->source_count; i++)
        if (table->sources[i].kind == SOURCE_HEADER && is(name, table->sources[i].name))
            return true;
    return false;
}

bool forward_connection_names(const struct exchange *exchange, const h2o_iovec_t *name)
{
    const h2o_headers_t *fields = &exchange->req->headers;
    ssize_t at = -1;
    while ((at = h2o_find_header(fields, H2O_TOKEN_CONNECTION, at)) != -1) {
        struct str options = {fields->entries[at].value.base, fields->entries[at].value.len}, option;
        while (str_next(&options, ',', &option))
            if (str_equal_nocase(str_trim(option), (struct str){name->base, name->len}))
                return !is_credential(exchange, name);
    }
    return false;
}

static enum fate token_fate(const struct request_head *head, const h2o_token_t *token)
{
    if (token == H2O_TOKEN_X_FORWARDED_FOR)
        return head->exchange->trusted_peer ? FATE_JOIN_FOR : FATE_DROP;
    if (token == H2O_TOKEN_COOKIE)
        return head->req->version >= 0x200 ? FATE_JOIN_COOKIE : FATE_PASS;
    return token->proxy_should_drop_for_req || token->is_init_header_special ? FATE_DROP : FATE_PASS;
}

static enum fate forwarded_fate(const h2o_iovec_t *name)
{
    return is(name, STR_LIT("forwarded"))           ? FATE_JOIN_FORWARDED
           : is(name, STR_LIT("x-forwarded-proto")) ? FATE_PASS_PROTO
           : is(name, STR_LIT("x-forwarded-host"))  ? FATE_PASS_HOST
                                                    : FATE_PASS;
}

/* The first letter rules most names out; those that a request carries as a rule are tokens. */
static enum fate text_fate(const struct request_head *head, const h2o_iovec_t *name)
{
    bool forwarded, own;
    switch (name->base[0]) {
    case 'f':
    case 'x':
        forwarded = is(name, STR_LIT("forwarded")) || is_x_forwarded(name);
        return !forwarded ? FATE_PASS : head->exchange->trusted_peer ? forwarded_fate(name) : FATE_DROP;
    case 'l':
        own = is(name, STR_LIT("ldc-unit")) || is(name, STR_LIT("ldc-slot")) || is(name, STR_LIT("ldc-color")) ||
              is(name, STR_LIT("ldc-epoch"));
        return own ? FATE_DROP : FATE_PASS;
    case 'p': /* "Proxy" too: CGI programs would take it for HTTP_PROXY */
        return is(name, STR_LIT("proxy")) || starts(name, STR_LIT("proxy-")) ? FATE_DROP : FATE_PASS;
    case 't':
        return is(name, STR_LIT("traceparent")) || is(name, STR_LIT("trailer")) ? FATE_DROP : FATE_PASS;
    }
    return FATE_PASS;
}

static enum fate fate_of(struct request_head *head, const h2o_header_t *field)
{
    enum fate fate = h2o_iovec_is_token(field->name)
                         ? token_fate(head, H2O_STRUCT_FROM_MEMBER(h2o_token_t, buf, field->name))
                         : text_fate(head, field->name);
    bool named = fate == FATE_PASS && head->connection_names && forward_connection_names(head->exchange, field->name);
    return named ? FATE_DROP : fate;
}

/* inet_ntop() goes through printf, which a request on its way feels. */
static void format_v4(const unsigned char address[4], char *text)
{
    struct pen pen = {text, NULL};
    for (int i = 0; i < 4; i++) {
        put_number(&pen, address[i]);
        *pen.at++ = i < 3 ? '.' : '\0';
    }
}

static void read_client(struct request_head *head)
{
    struct sockaddr_storage address = {0};
    h2o_conn_t *conn = head->req->conn;
    if (conn->callbacks->get_peername(conn, (struct sockaddr *)&address) == 0)
        return;
    head->client_v6 = address.ss_family == AF_INET6;
    if (head->client_v6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, head->client, sizeof(head->client));
    else if (address.ss_family == AF_INET)
        format_v4((const unsigned char *)&((struct sockaddr_in *)&address)->sin_addr, head->client);
}

/* How long the head can become: every byte of the client's fields, once more what is quoted, and what is added. */
static size_t room_for(const struct request_head *head, struct str via)
{
    const h2o_req_t *req = head->req;
    size_t room = FIXED_ROOM + req->method.len + req->path.len + 6 * req->authority.len + 2 * sizeof(head->client) +
                  via.len + req->upgrade.len + head->exchange->rules->name.len + head->exchange->traceparent.len;
    for (size_t i = 0; i < req->headers.size; i++)
        room += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4;
    return room;
}

static void put_request_line(struct request_head *head)
{
    put_vec(&head->pen, head->req->method);
    PUT(&head->pen, " ");
    put_vec(&head->pen, head->req->path);
    PUT(&head->pen, " HTTP/1.1\r\nHost: ");
    put_vec(&head->pen, head->req->authority);
    PUT(&head->pen, "\r\n");
}

static void put_field(struct pen *pen, const h2o_header_t *field)
{
    put(pen, field->orig_name != NULL ? field->orig_name : field->name->base, field->name->len);
    PUT(pen, ": ");
    put_vec(pen, field->value);
    PUT(pen, "\r\n");
}

static void put_fields(struct request_head *head)
{
    const h2o_headers_t *fields = &head->req->headers;
    for (size_t i = 0; i < fields->size; i++) {
        enum fate fate = fate_of(head, &fields->entries[i]);
        head->fates[i] = (unsigned char)fate;
        head->seen[fate] = true;
        if (fate == FATE_PASS || fate == FATE_PASS_PROTO || fate == FATE_PASS_HOST)
            put_field(&head->pen, &fields->entries[i]);
    }
}

/* The values of all fields with FATE, each behind it SEPARATOR. */
static void put_joined(struct request_head *head, enum fate fate, struct str separator, bool also_last)
{
    bool first = true;
    if (!head->seen[fate])
        return;
    for (size_t i = 0; i < head->req->headers.size; i++) {
        if (head->fates[i] != fate)
            continue;
        if (!first)
            put_str(&head->pen, separator);
        put_vec(&head->pen, head->req->headers.entries[i].value);
        first = false;
    }
    if (also_last)
        put_str(&head->pen, separator);
}

static void put_quoted(struct pen *pen, h2o_iovec_t text)
{
    PUT(pen, "\"");
    for (size_t i = 0; i < text.len; i++) {
        if (text.base[i] == '"' || text.base[i] == '\\')
            PUT(pen, "\\");
        put(pen, text.base + i, 1);
    }
    PUT(pen, "\"");
}

/* RFC 7239, beside the older fields that most programs still read. */
static void put_forwarded(struct request_head *head)
{
    struct pen *pen = &head->pen;
    struct str client = str_of(head->client);
    PUT(pen, "Forwarded: ");
    put_joined(head, FATE_JOIN_FORWARDED, STR_LIT(", "), true);
    PUT(pen, "for=");
    if (client.len == 0)
        PUT(pen, "unknown");
    else if (head->client_v6)
        PUT(pen, "\"[");
    put_str(pen, client);
    if (head->client_v6)
        PUT(pen, "]\"");
    PUT(pen, ";host=");
    put_quoted(pen, head->req->authority);
    PUT(pen, ";proto=");
    put_vec(pen, head->req->scheme->name);
    PUT(pen, "\r\n");
}

static void put_x_forwarded(struct request_head *head)
{
    struct pen *pen = &head->pen;
    if (head->client[0] != '\0' || head->seen[FATE_JOIN_FOR]) {
        PUT(pen, "X-Forwarded-For: ");
        put_joined(head, FATE_JOIN_FOR, STR_LIT(", "), head->client[0] != '\0');
        put_str(pen, str_of(head->client));
        PUT(pen, "\r\n");
    }
    if (!head->seen[FATE_PASS_PROTO]) {
        PUT(pen, "X-Forwarded-Proto: ");
        put_vec(pen, head->req->scheme->name);
        PUT(pen, "\r\n");
    }
    if (!head->seen[FATE_PASS_HOST]) {
        PUT(pen, "X-Forwarded-Host: ");
        put_vec(pen, head->req->authority);
        PUT(pen, "\r\n");
    }
}

static void put_via(struct pen *pen, int version, struct str via)
{
    if (version >= 0x200)
        PUT(pen, "Via: 2.0 ");
    else if (version == 0x100)
        PUT(pen, "Via: 1.0 ");
    else
        PUT(pen, "Via: 1.1 ");
    put_str(pen, via);
    PUT(pen, "\r\n");
}

static void put_routing(struct request_head *head)
{
    const struct exchange *exchange = head->exchange;
    struct pen *pen = &head->pen;
    PUT(pen, "LDC-Unit: ");
    put_str(pen, exchange->rules->name);
    if (exchange->decision.slot != UINT32_MAX) {
        PUT(pen, "\r\nLDC-Slot: ");
        put_number(pen, exchange->decision.slot);
    }
    PUT(pen, "\r\nLDC-Color: ");
    put_str(pen, str_of(color_name(exchange->decision.color)));
    PUT(pen, "\r\nLDC-Epoch: ");
    put_number(pen, exchange_epoch(exchange));
    PUT(pen, "\r\ntraceparent: ");
    put_str(pen, exchange->traceparent);
    PUT(pen, "\r\n");
}

static bool wants_length(const h2o_req_t *req)
{
    return req->entity.base != NULL || is(&req->method, STR_LIT("POST")) || is(&req->method, STR_LIT("PUT")) ||
           is(&req->method, STR_LIT("PATCH"));
}

static void put_framing(struct request_head *head, bool upgrade)
{
    if (wants_length(head->req)) {
        PUT(&head->pen, "Content-Length: ");
        put_number(&head->pen, head->req->entity.len);
        PUT(&head->pen, "\r\n");
    }
    if (upgrade) {
        PUT(&head->pen, "Connection: Upgrade\r\nUpgrade: ");
        put_vec(&head->pen, head->req->upgrade);
        PUT(&head->pen, "\r\n");
    }
}

static void put_all(struct request_head *head, struct str via, bool upgrade)
{
    put_request_line(head);
    put_fields(head);
    if (head->seen[FATE_JOIN_COOKIE]) {
        PUT(&head->pen, "Cookie: ");
        put_joined(head, FATE_JOIN_COOKIE, STR_LIT("; "), false);
        PUT(&head->pen, "\r\n");
    }
    put_x_forwarded(head);
    put_forwarded(head);
    put_via(&head->pen, head->req->version, via);
    put_routing(head);
    put_framing(head, upgrade);
    PUT(&head->pen, "\r\n");
}

h2o_iovec_t forward_request_head(struct exchange *exchange, struct str via, bool upgrade)
{
    h2o_req_t *req = exchange->req;
    struct request_head head = {
        .exchange = exchange, .req = req, .connection_names = forward_connection_names_any(req)};
    read_client(&head);
    size_t room = room_for(&head, via);
    char *base = h2o_mem_alloc_pool(&req->pool, room + req->headers.size);
    head.fates = (unsigned char *)base + room;
    head.pen = (struct pen){base, base + room};
    put_all(&head, via, upgrade);
    INVARIANT(head.pen.at <= head.pen.end);
    return h2o_iovec_init(base, (size_t)(head.pen.at - base));
}

/* ---- the answer ---- */

/* Fields that the gateway writes itself, that are of one hop, or that only a gateway may say. libh2o writes Date and
 * Server of its own into every HTTP/2 answer, so that the node's would be the second ones. */
static bool token_relays(const h2o_req_t *req, const h2o_token_t *token)
{
    if (token == H2O_TOKEN_DATE || token == H2O_TOKEN_SERVER)
        return req->version < 0x200;
    return !token->proxy_should_drop_for_res && token != H2O_TOKEN_CONTENT_LENGTH && token != H2O_TOKEN_TE &&
           token != H2O_TOKEN_PROXY_AUTHENTICATE && token != H2O_TOKEN_PROXY_AUTHORIZATION;
}

static bool text_relays(struct str name)
{
    return !str_starts(name, STR_LIT("proxy-")) && !str_starts(name, STR_LIT("ldc-")) &&
           !str_equal(name, STR_LIT("trailer"));
}

static void add_field(h2o_req_t *req, h2o_iovec_t *name, const char *orig_name, struct str value)
{
    h2o_headers_t *fields = &req->res.headers;
    h2o_vector_reserve(&req->pool, fields, fields->size + 1);
    fields->entries[fields->size++] =
        (h2o_header_t){.name = name, .orig_name = orig_name, .value = {(char *)value.base, value.len}};
}

static h2o_iovec_t *lower_case(h2o_mem_pool_t *pool, struct str name)
{
    h2o_iovec_t *lower = h2o_mem_alloc_pool(pool, sizeof(*lower) + name.len);
    *lower = h2o_iovec_init((char *)(lower + 1), name.len);
    memcpy(lower->base, name.base, name.len);
    h2o_strtolower(lower->base, lower->len);
    return lower;
}

static void relay_field(h2o_req_t *req, const struct response *response, struct str name, struct str value)
{
    h2o_iovec_t *lower = lower_case(&req->pool, name);
    const h2o_token_t *token = h2o_lookup_token(lower->base, lower->len);
    bool relays = token != NULL ? token_relays(req, token) : text_relays((struct str){lower->base, lower->len});
    if (relays && !(response->names_fields && response_names(response, name)))
        add_field(req, token != NULL ? (h2o_iovec_t *)&token->buf : lower, name.base, str_trim(value));
}

static void add_via(h2o_req_t *req, struct str via)
{
    struct str value = {h2o_mem_alloc_pool(&req->pool, via.len + 4), via.len + 4};
    memcpy((char *)value.base, "1.1 ", 4);
    memcpy((char *)value.base + 4, via.base, via.len);
    add_field(req, (h2o_iovec_t *)&H2O_TOKEN_VIA->buf, NULL, value);
}

void forward_response_head(struct exchange *exchange, const struct response *response, struct str via)
{
    h2o_req_t *req = exchange->req;
    char *copy = h2o_mem_alloc_pool(&req->pool, response->size);
    memcpy(copy, response->bytes, response->size);
    ptrdiff_t moved = copy - response->bytes;
    copy[response->reason.base + response->reason.len - response->bytes] = '\0';
    req->res.status = response->status;
    req->res.reason = response->reason.base + moved;
    req->res.content_length = response->has_length ? (size_t)response->length : SIZE_MAX;
    h2o_vector_reserve(&req->pool, &req->res.headers, req->res.headers.size + response->field_count + 4);
    for (size_t i = 0; i < response->field_count; i++) {
        const struct http1_header *field = &response->fields[i];
        relay_field(req, response, (struct str){field->name.base + moved, field->name.len},
                    (struct str){field->value.base + moved, field->value.len});
    }
    add_via(req, via);
    exchange_add_headers(exchange);
}

static struct str upgrade_of(const struct response *response)
{
    for (size_t i = 0; i < response->field_count; i++)
        if (str_equal_nocase(response->fields[i].name, STR_LIT("upgrade")))
            return str_trim(response->fields[i].value);
    return STR_LIT("");
}

struct str forward_upgrade_head(struct exchange *exchange, const struct response *response, struct str via)
{
    static const struct str start = STR_LIT("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ");
    h2o_req_t *req = exchange->req;
    struct str upgrade = upgrade_of(response);
    forward_response_head(exchange, response, via);
    size_t room = start.len + upgrade.len + 4;
    for (size_t i = 0; i < req->res.headers.size; i++)
        room += req->res.headers.entries[i].name->len + req->res.headers.entries[i].value.len + 4;
    char *base = h2o_mem_alloc_pool(&req->pool, room);
    struct pen pen = {base, base + room};
    put_str(&pen, start);
    put_str(&pen, upgrade);
    PUT(&pen, "\r\n");
    for (size_t i = 0; i < req->res.headers.size; i++)
        put_field(&pen, &req->res.headers.entries[i]);
    PUT(&pen, "\r\n");
    INVARIANT(pen.at == pen.end);
    return (struct str){base, room};
}
