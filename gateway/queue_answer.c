/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/queue_answer.h"

#include "common/clock.h"
#include "common/protocol.h"

static char *put(char *at, struct str text)
{
    memcpy(at, text.base, text.len);
    return at + text.len;
}

/* What is not in its stream yet: the broker gave no entry id, but when it is due (ms), or `prepared`. */
static char *put_state(char *at, struct str entry)
{
    uint64_t due_ms;
    char due[CLOCK_UTC_SIZE];
    if (str_equal(entry, STR_LIT("prepared")))
        return put(at, STR_LIT(",\"state\":\"prepared\""));
    if (!str_to_u64(entry, &due_ms))
        return at;
    clock_format_utc(due_ms * 1000, due);
    at = put(put(at, STR_LIT(",\"state\":\"scheduled\",\"due\":\"")), str_of(due));
    return put(at, STR_LIT("\""));
}

/* Names are of the rules, so nothing in them needs escaping. The id says them all, also that of a replay. */
static size_t format_accepted(struct str id, const struct protocol_id *parts, struct str entry, char *body)
{
    char *at = put(put(body, STR_LIT("{\"id\":\"")), id);
    at = put(put(at, STR_LIT("\",\"unit\":\"")), parts->unit);
    at = put(put(at, STR_LIT("\",\"topic\":\"")), parts->topic);
    at = put(at, STR_LIT("\",\"partition\":"));
    at = put_state(at + str_from_u64(parts->partition, at), entry);
    return (size_t)(put(at, STR_LIT("}\n")) - body);
}

/* That of a replay is another one than the exchange was given. */
static void take_id(struct exchange *exchange, struct str id)
{
    if (str_equal(id, exchange->message_id))
        return;
    h2o_iovec_t copied = id.base ? h2o_strdup(&exchange->req->pool, id.base, id.len) : h2o_iovec_init(NULL, 0);
    exchange->message_id = (struct str){copied.base, copied.len};
}

static void add_headers(struct exchange *exchange, const struct publish_result *result)
{
    static const char prefix[] = "/-/messages/";
    h2o_req_t *req = exchange->req;
    struct str id = exchange->message_id;
    h2o_iovec_t location =
        h2o_concat(&req->pool, h2o_iovec_init(prefix, sizeof(prefix) - 1), h2o_iovec_init(id.base, id.len));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_LOCATION, NULL, location.base, location.len);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-message-id"), 0, NULL, id.base, id.len);
    const char *durability = durability_name(result->durability);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-durability"), 0, NULL, durability,
                          strlen(durability));
    if (result->replayed)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("idempotency-replayed"), 0, NULL,
                              H2O_STRLIT("true"));
    exchange_add_headers(exchange);
}

static void send_accepted(struct exchange *exchange, const struct publish_result *result)
{
    h2o_req_t *req = exchange->req;
    char body[3 * PROTOCOL_ID_MAX];
    struct protocol_id parts = {.partition = 0};
    if (!protocol_id_parse(exchange->message_id, &parts)) {
        exchange_fail(exchange, VERDICT_BROKER_AWAY, "The broker remembers no message id for this idempotency key");
        return;
    }
    struct gateway_stats *stats = &exchange->worker->stats;
    req->res.status = 202;
    req->res.reason = "Accepted";
    add_headers(exchange, result);
    stat_observe(&stats->queue_latency, clock_monotonic_us() - exchange->received_mono_us);
    stat_add(&stats->verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, body, format_accepted(exchange->message_id, &parts, result->entry, body));
}

void queue_answer(struct exchange *exchange, const struct publish_result *result)
{
    exchange->detach = NULL;
    take_id(exchange, result->message_id);
    if (result->verdict == VERDICT_OK)
        send_accepted(exchange, result);
    else
        exchange_fail(exchange, result->verdict, result->detail);
}
