/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_read.h"

#include "common/collection_value.h"
#include "gateway/copy_read.h"
#include "gateway/etag.h"

#define MOST_DIGITS 20

/* In the request's pool. */
struct value_read {
    struct copy_read read; /* first */
    struct str key;
    uint32_t bucket;
    struct collection_value value; /* of what was found last */
};

static void put_command(const struct copy_read *read, const struct copy *copy, struct buf *wire)
{
    const struct value_read *self = (const struct value_read *)read;
    char name[PROTOCOL_KEY_MAX + MOST_DIGITS + 2];
    memcpy(name, copy->at, copy->at_len);
    memcpy(name + copy->at_len, "b/", 2);
    size_t len = copy->at_len + 2;
    len += str_from_u64(self->bucket, name + len);
    broker_put_count(wire, 3);
    broker_put_word(wire, STR_LIT("HGET"));
    broker_put_word(wire, (struct str){name, len});
    broker_put_word(wire, self->key);
}

static enum finding look_at(struct value_read *self, struct str packed)
{
    if (!collection_unpack(packed, &self->value) || !collection_is_sound(self->key, &self->value))
        return FINDING_BAD;
    self->read.version = self->value.version;
    return FINDING_VALUE;
}

static enum finding look(struct copy_read *read, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL)
        return FINDING_NOTHING;
    if (reply->type != REDIS_REPLY_STRING)
        return FINDING_BAD;
    return look_at((struct value_read *)read, (struct str){reply->str, reply->len});
}

static struct message *ask_origin(struct copy_read *read, struct origin_answer *refusal)
{
    struct value_read *self = (struct value_read *)read;
    read->call.key = self->key;
    read->call.order = self->bucket;
    return collection_origin_get(read->exchange->worker, &read->call, refusal);
}

static enum finding look_origin(struct copy_read *read, const struct origin_answer *answer)
{
    return answer->packed.len == 0 ? FINDING_NOTHING : look_at((struct value_read *)read, answer->packed);
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

static void add_header(h2o_req_t *req, const h2o_token_t *token, struct str value)
{
    h2o_add_header(&req->pool, &req->res.headers, token, NULL, value.base, value.len);
}

static struct str to_pool(h2o_req_t *req, struct str text)
{
    h2o_iovec_t copy = h2o_strdup(&req->pool, text.base, text.len);
    return (struct str){copy.base, copy.len};
}

static void add_written(h2o_req_t *req, uint64_t us)
{
    char *text = h2o_mem_alloc_pool(&req->pool, H2O_TIMESTR_RFC1123_LEN + 1);
    time_t seconds = (time_t)(us / 1000000);
    struct tm utc;
    h2o_time2str_rfc1123(text, gmtime_r(&seconds, &utc));
    add_header(req, H2O_TOKEN_LAST_MODIFIED, (struct str){text, H2O_TIMESTR_RFC1123_LEN});
}

static void send_value(struct exchange *exchange, const struct collection_value *value)
{
    h2o_req_t *req = exchange->req;
    bool known = etag_is_known(&req->headers, value->version);
    if (!known && !exchange_has_room(exchange, value->value.len)) {
        exchange_fail(exchange, VERDICT_ANSWERS_FULL, NULL);
        return;
    }
    etag_add(req, value->version);
    add_written(req, value->us);
    exchange_add_headers(exchange);
    if (!known && value->type.len > 0)
        add_header(req, H2O_TOKEN_CONTENT_TYPE, to_pool(req, value->type));
    exchange_send(exchange, known ? 304 : 200, value->value);
}

static void answer(struct copy_read *read, enum finding finding, const struct standing *standing)
{
    const struct value_read *self = (const struct value_read *)read;
    struct exchange *exchange = read->exchange;
    h2o_req_t *req = exchange->req;
    freshness_add_headers(req, standing);
    add_header(req, H2O_TOKEN_CACHE_CONTROL, STR_LIT("no-cache"));
    if (finding == FINDING_NOTHING) {
        exchange_fail(exchange, VERDICT_NO_KEY, NULL);
    } else if (!etag_is_wanted(&req->headers, self->value.version)) {
        etag_add(req, self->value.version);
        exchange_fail(exchange, VERDICT_CONDITION, NULL);
    } else {
        send_value(exchange, &self->value);
    }
}

static const struct copy_read_form form = {
    .command = put_command,
    .look = look,
    .ask_origin = ask_origin,
    .look_origin = look_origin,
    .answer = answer,
};

void collection_read_serve(struct exchange *exchange, const struct collection_path *path)
{
    struct value_read *self = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*self));
    *self = (struct value_read){.key = path->key, .bucket = collection_bucket(path->key)};
    copy_read_start(&self->read, &form, exchange, path);
}
