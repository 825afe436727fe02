/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_list.h"

#include <inttypes.h>

#include "common/collection_value.h"
#include "common/json_text.h"
#include "common/percent.h"
#include "gateway/copy_read.h"

#define PRESET_LIMIT 100
#define MOST_LIMIT   1000
#define ESCAPED      "%&+=#?\"\\" /* in a query, beside what is always */

/* In the request's pool. */
struct list_read {
    struct copy_read read; /* first */
    struct str prefix, after;
    uint64_t limit;
    struct str from, to; /* the range that is asked for, as ZRANGEBYLEX takes it */
    struct str *keys;    /* that were found last, borrowed; one more than `limit` where there are more */
    size_t count;
};

/* --- asking ------------------------------------------------------------------------------------------------------- */

static struct str bound(h2o_req_t *req, char kind, struct str text)
{
    char *bytes = h2o_mem_alloc_pool(&req->pool, text.len + 1);
    bytes[0] = kind;
    if (text.len > 0)
        memcpy(bytes + 1, text.base, text.len);
    return (struct str){bytes, text.len + 1};
}

/* Behind all that begins with PREFIX: the first text that is greater. */
static struct str bound_behind(h2o_req_t *req, struct str prefix)
{
    size_t len = prefix.len;
    while (len > 0 && (unsigned char)prefix.base[len - 1] == 0xff)
        len--;
    if (len == 0)
        return STR_LIT("+");
    struct str to = bound(req, '(', (struct str){prefix.base, len});
    ((char *)to.base)[len]++;
    return to;
}

static bool is_before(struct str a, struct str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.base, b.base, len) : 0;
    return order != 0 ? order < 0 : a.len < b.len;
}

static void set_range(struct list_read *self)
{
    h2o_req_t *req = self->read.exchange->req;
    bool goes_on = self->after.base != NULL && !is_before(self->after, self->prefix);
    self->from = goes_on ? bound(req, '(', self->after) : bound(req, '[', self->prefix);
    self->to = bound_behind(req, self->prefix);
}

static struct str count_text(const struct list_read *self, char digits[20])
{
    return (struct str){digits, str_from_u64(self->limit + 1, digits)};
}

static void put_command(const struct copy_read *read, const struct copy *copy, struct buf *wire)
{
    const struct list_read *self = (const struct list_read *)read;
    char name[PROTOCOL_KEY_MAX + 4], digits[20];
    memcpy(name, copy->at, copy->at_len);
    memcpy(name + copy->at_len, "keys", 4);
    broker_put_count(wire, 7);
    broker_put_word(wire, STR_LIT("ZRANGEBYLEX"));
    broker_put_word(wire, (struct str){name, copy->at_len + 4});
    broker_put_word(wire, self->from);
    broker_put_word(wire, self->to);
    broker_put_word(wire, STR_LIT("LIMIT"));
    broker_put_word(wire, STR_LIT("0"));
    broker_put_word(wire, count_text(self, digits));
}

static struct message *ask_origin(struct copy_read *read, struct origin_answer *refusal)
{
    struct list_read *self = (struct list_read *)read;
    char digits[20];
    struct str words[] = {self->from, self->to, count_text(self, digits)};
    return collection_origin_ask(read->exchange->worker, &read->call, STR_LIT("ldc1_c_list"), words, 3, refusal);
}

/* --- what was found ----------------------------------------------------------------------------------------------- */

static void begin_keys(struct list_read *self)
{
    if (self->keys == NULL)
        self->keys = h2o_mem_alloc_pool(&self->read.exchange->req->pool, (self->limit + 1) * sizeof(*self->keys));
    self->count = 0;
}

static enum finding look(struct copy_read *read, const redisReply *reply)
{
    struct list_read *self = (struct list_read *)read;
    begin_keys(self);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > self->limit + 1)
        return FINDING_BAD;
    for (size_t i = 0; i < reply->elements; i++)
        self->keys[self->count++] = (struct str){reply->element[i]->str, reply->element[i]->len};
    return FINDING_VALUE;
}

static enum finding look_origin(struct copy_read *read, const struct origin_answer *answer)
{
    struct list_read *self = (struct list_read *)read;
    struct str texts = answer->texts;
    begin_keys(self);
    while (self->count <= self->limit && call_answer_next(&texts, &self->keys[self->count]))
        self->count++;
    return FINDING_VALUE;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static void put_parameter(const char *name, struct str value, struct buf *out)
{
    buf_printf(out, "%s=", name);
    percent_encode(value, ESCAPED, out);
}

/* Where the next page is. The last key is there as it is, also where JSON could not say it. */
static void put_next(const struct list_read *self, struct buf *out)
{
    buf_printf(out, ",\"next\":\"/-/c/%.*s?", STR_ARG(self->read.rules->name));
    put_parameter("prefix", self->prefix, out);
    buf_printf(out, "&limit=%" PRIu64 "&", self->limit);
    put_parameter("after", self->keys[self->limit - 1], out);
    buf_append_str(out, STR_LIT("\""));
}

/* What stands there by hand, and could not be read by its name, is passed over. */
static void put_document(const struct list_read *self, uint64_t seq, struct buf *out)
{
    bool first = true;
    buf_printf(out, "{\"collection\":\"%.*s\",\"sequence\":%" PRIu64 ",\"keys\":[", STR_ARG(self->read.rules->name),
               seq);
    for (size_t i = 0; i < self->count && i < self->limit; i++) {
        if (!collection_key_fits(self->keys[i]))
            continue;
        buf_append_str(out, first ? STR_LIT("\n") : STR_LIT(",\n"));
        json_append_text(out, self->keys[i]);
        first = false;
    }
    buf_append_str(out, STR_LIT("]"));
    if (self->count > self->limit)
        put_next(self, out);
    buf_append_str(out, STR_LIT("}\n"));
}

static void answer(struct copy_read *read, enum finding finding, const struct standing *standing)
{
    (void)finding;
    struct exchange *exchange = read->exchange;
    h2o_req_t *req = exchange->req;
    struct buf body = {NULL, 0, 0};
    put_document((const struct list_read *)read, standing->seq, &body);
    freshness_add_headers(req, standing);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-cache"));
    if (exchange_has_room(exchange, body.len)) {
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
        exchange_add_headers(exchange);
        exchange_send(exchange, 200, buf_str(&body));
    } else {
        exchange_fail(exchange, VERDICT_ANSWERS_FULL, NULL);
    }
    buf_free(&body);
}

static const struct copy_read_form form = {
    .exact = true,
    .command = put_command,
    .look = look,
    .ask_origin = ask_origin,
    .look_origin = look_origin,
    .answer = answer,
};

static const char *read_parameters(struct list_read *self, struct exchange *exchange, struct str query)
{
    struct str limit = {NULL, 0};
    self->limit = PRESET_LIMIT;
    if (!collection_parameter(exchange->req, query, "prefix", &self->prefix) ||
        !collection_parameter(exchange->req, query, "after", &self->after) ||
        !collection_parameter(exchange->req, query, "limit", &limit))
        return "The query is not well-formed percent-encoding";
    if (self->prefix.len > COLLECTION_KEY_MAX || self->after.len > COLLECTION_KEY_MAX)
        return "A key has 1024 bytes at most";
    if (limit.base != NULL && (!str_to_u64(limit, &self->limit) || self->limit < 1 || self->limit > MOST_LIMIT))
        return "The limit is a number from 1 to 1000";
    return NULL;
}

void collection_list_serve(struct exchange *exchange, const struct collection_path *path)
{
    struct list_read *self = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*self));
    *self = (struct list_read){.read.exchange = exchange, .prefix = STR_LIT("")};
    const char *fault = read_parameters(self, exchange, path->query);
    if (fault != NULL) {
        exchange_fail(exchange, VERDICT_BAD_REQUEST, fault);
        return;
    }
    set_range(self);
    copy_read_start(&self->read, &form, exchange, path);
}
