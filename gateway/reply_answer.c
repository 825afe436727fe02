/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/reply_answer.h"

#include <stdio.h>

#include "common/http_status.h"
#include "common/invariant.h"
#include "common/measure.h"
#include "gateway/forward.h"
#include "gateway/gateway.h"

/* --- what the stream says ----------------------------------------------------------------------------------------- */

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : (struct str){"", 0};
}

bool reply_answer_read(const redisReply *entry, struct reply_answer *answer)
{
    *answer = (struct reply_answer){.id = STR_LIT("")};
    const struct {
        struct str name;
        struct str *value;
    } known[] = {{STR_LIT("id"), &answer->id},
                 {STR_LIT("status"), &answer->status},
                 {STR_LIT("headers"), &answer->headers},
                 {STR_LIT("body"), &answer->body},
                 {STR_LIT("fault"), &answer->fault}};
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;
    for (size_t i = 0; fields != NULL && i + 1 < fields->elements; i += 2)
        for (size_t k = 0; k < COUNT_OF(known); k++)
            if (str_equal(text_of(fields->element[i]), known[k].name))
                *known[k].value = text_of(fields->element[i + 1]);
    return answer->id.len > 0 && answer->status.len > 0;
}

/* --- what the client gets ----------------------------------------------------------------------------------------- */

static char *put(char *at, struct str text)
{
    if (text.len > 0)
        memcpy(at, text.base, text.len);
    return at + text.len;
}

/* Of these the connection to the node was the only one that they were true for. */
static bool is_framing(struct str line)
{
    static const struct str names[] = {STR_LIT("content-length:"), STR_LIT("transfer-encoding:")};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (line.len >= names[i].len && str_equal_nocase((struct str){line.base, names[i].len}, names[i]))
            return true;
    return line.len == 0;
}

/* The head that a node would have sent with the same answer, so that one reader and one filter serve both ways. */
static struct str compose_head(h2o_mem_pool_t *pool, const struct reply_answer *answer)
{
    size_t room = 128 + answer->status.len + 2 * answer->headers.len;
    char *base = h2o_mem_alloc_pool(pool, room), *at = base;
    uint64_t status = 0;
    (void)!str_to_u64(answer->status, &status);
    at = put(put(at, STR_LIT("HTTP/1.1 ")), answer->status);
    at = put(put(at, STR_LIT(" ")), str_of(status >= 200 && status < 600 ? http_status_reason((int)status) : ""));
    at = put(at, STR_LIT("\r\n"));
    for (struct str rest = answer->headers, line; str_next(&rest, '\n', &line);)
        if (!is_framing(line))
            at = put(put(at, line), STR_LIT("\r\n"));
    at = put(at, STR_LIT("\r\n"));
    INVARIANT(at <= base + room);
    return (struct str){base, (size_t)(at - base)};
}

static void add_header(struct exchange *exchange, struct str name, const char *text, size_t len)
{
    h2o_req_t *req = exchange->req;
    h2o_iovec_t value = h2o_strdup(&req->pool, text, len);
    h2o_add_header_by_str(&req->pool, &req->res.headers, name.base, name.len, 0, NULL, value.base, value.len);
}

static void add_headers(struct exchange *exchange, enum durability durability, uint64_t wait_s)
{
    char applied[32];
    const char *met = durability_name(durability);
    int len = snprintf(applied, sizeof(applied), "wait=%lu", (unsigned long)wait_s);
    add_header(exchange, STR_LIT("ldc-message-id"), exchange->message_id.base, exchange->message_id.len);
    add_header(exchange, STR_LIT("ldc-durability"), met, strlen(met));
    add_header(exchange, STR_LIT("preference-applied"), applied, (size_t)len);
}

void reply_answer_send(struct exchange *exchange, const struct reply_answer *answer, enum durability durability,
                       uint64_t wait_s)
{
    h2o_req_t *req = exchange->req;
    struct response response;
    if (answer->fault.len > 0) {
        h2o_iovec_t fault = h2o_strdup(&req->pool, answer->fault.base, answer->fault.len);
        exchange_fail(exchange, VERDICT_REPLY_MISSING, fault.base);
        return;
    }
    struct str head = compose_head(&req->pool, answer);
    if (response_parse(head, 0, false, &response) != RESPONSE_COMPLETE || response.status < 200) {
        exchange_fail(exchange, VERDICT_REPLY_MISSING, "The app's answer is no HTTP answer that can be passed on");
        return;
    }
    forward_response_head(exchange, &response, str_of(exchange->worker->gateway->name));
    add_headers(exchange, durability, wait_s);
    bool bodiless = response.framing == RESPONSE_NO_BODY;
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, bodiless ? "" : answer->body.base, bodiless ? 0 : answer->body.len);
}
