/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/envelope.h"

#include "common/measure.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

static struct str name_of(const h2o_header_t *field)
{
    return (struct str){field->name->base, field->name->len};
}

static bool token_is_kept(const h2o_token_t *token)
{
    return !token->proxy_should_drop_for_req && !token->is_init_header_special && token != H2O_TOKEN_COOKIE &&
           token != H2O_TOKEN_AUTHORIZATION && token != H2O_TOKEN_CONTENT_LENGTH && token != H2O_TOKEN_EXPECT &&
           token != H2O_TOKEN_X_FORWARDED_FOR;
}

static bool text_is_kept(struct str name)
{
    static const struct str dropped[] = {STR_LIT("traceparent"), STR_LIT("prefer"),  STR_LIT("forwarded"),
                                         STR_LIT("keep-alive"),  STR_LIT("trailer"), STR_LIT("proxy")};
    for (size_t i = 0; i < COUNT_OF(dropped); i++)
        if (str_equal(name, dropped[i]))
            return false;
    return !str_starts(name, STR_LIT("ldc-")) && !str_starts(name, STR_LIT("proxy-")) &&
           !str_starts(name, STR_LIT("x-forwarded-"));
}

/* What is of one hop, what the gateway says itself and the client's secrets stay here; the app gets the rest. */
static bool field_is_kept(const struct exchange *exchange, const h2o_header_t *field, bool connection_names)
{
    bool kept = h2o_iovec_is_token(field->name) ? token_is_kept(H2O_STRUCT_FROM_MEMBER(h2o_token_t, buf, field->name))
                                                : text_is_kept(name_of(field));
    return kept && !(connection_names && forward_connection_names(exchange, field->name));
}

static char *put(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

#define TRACEPARENT "traceparent: "
#define VIA         "via: 1.1 "

static size_t room_for_headers(const struct exchange *exchange)
{
    const h2o_headers_t *headers = &exchange->req->headers;
    size_t room =
        sizeof(TRACEPARENT) + exchange->traceparent.len + sizeof(VIA) + strlen(exchange->worker->gateway->name);
    for (size_t i = 0; i < headers->size; i++)
        room += headers->entries[i].name->len + headers->entries[i].value.len + 3;
    return room;
}

/* And behind them which gateway it was: what became of the message is told with that name. */
static char *put_fields(const struct exchange *exchange, bool (*wanted)(const h2o_header_t *field), char *at)
{
    h2o_req_t *req = exchange->req;
    bool connection_names = forward_connection_names_any(req);
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *field = &req->headers.entries[i];
        if (!field_is_kept(exchange, field, connection_names) || !wanted(field))
            continue;
        at = put(put(at, field->name->base, field->name->len), ": ", 2);
        at = put(put(at, field->value.base, field->value.len), "\n", 1);
    }
    const char *gateway = exchange->worker->gateway->name;
    return put(put(put(at, VIA, sizeof(VIA) - 1), gateway, strlen(gateway)), "\n", 1);
}

static bool any_field(const h2o_header_t *field)
{
    (void)field;
    return true;
}

static bool no_field_of_the_batch(const h2o_header_t *field)
{
    struct str name = name_of(field);
    return !str_starts(name, STR_LIT("content-")) && !str_starts(name, STR_LIT("ce-")) &&
           !str_equal(name, STR_LIT("idempotency-key"));
}

/* "name: value" lines; the trace context always among them. */
static struct str headers_of(const struct exchange *exchange)
{
    char *text = h2o_mem_alloc_pool(&exchange->req->pool, room_for_headers(exchange));
    char *at = put_fields(exchange, any_field, text);
    at = put(at, TRACEPARENT, sizeof(TRACEPARENT) - 1);
    at = put(at, exchange->traceparent.base, exchange->traceparent.len);
    return (struct str){text, (size_t)(at - text)};
}

struct str envelope_batch_headers(const struct exchange *exchange)
{
    char *text = h2o_mem_alloc_pool(&exchange->req->pool, room_for_headers(exchange));
    return (struct str){text, (size_t)(put_fields(exchange, no_field_of_the_batch, text) - text)};
}

static struct str number(h2o_mem_pool_t *pool, uint64_t value)
{
    char *text = h2o_mem_alloc_pool(pool, 20);
    return (struct str){text, str_from_u64(value, text)};
}

void envelope_of_exchange(struct exchange *exchange, struct envelope *envelope)
{
    h2o_req_t *req = exchange->req;
    struct str *fields = envelope->fields;
    uint32_t slot = exchange->decision.slot;
    fields[ENVELOPE_ID] = exchange->message_id;
    fields[ENVELOPE_USER] = exchange->user;
    fields[ENVELOPE_SLOT] = slot == UINT32_MAX ? STR_LIT("") : number(&req->pool, slot);
    fields[ENVELOPE_EPOCH] = number(&req->pool, exchange->view->table->epoch);
    fields[ENVELOPE_INGRESS] = number(&req->pool, exchange->received_us);
    fields[ENVELOPE_COLOR] = str_of(color_name(exchange->decision.color));
    fields[ENVELOPE_METHOD] = (struct str){req->method.base, req->method.len};
    fields[ENVELOPE_PATH] = (struct str){req->path.base, req->path.len};
    fields[ENVELOPE_HEADERS] = headers_of(exchange);
    fields[ENVELOPE_BODY] = (struct str){req->entity.base, req->entity.len};
}
