/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/exchange.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/http_status.h"
#include "common/json_text.h"
#include "gateway/field.h"
#include "gateway/gateway.h"
#include "gateway/records.h"

#define SMALL_ANSWER 16384 /* bytes; a connection takes more than that */
#define RETRY_AFTER  "1"   /* seconds: failover and reconnects are faster than HTTP can say */

uint64_t exchange_epoch(const struct exchange *exchange)
{
    const struct view *view = exchange->view;
    if (view == NULL || exchange->rules == NULL)
        return view != NULL ? view->table->epoch : 0;
    return view_epoch(view, (uint32_t)(exchange->rules - view->table->units));
}

uint32_t exchange_slot(const struct exchange *exchange)
{
    uint32_t slot = exchange->decision.slot;
    return slot != UINT32_MAX ? slot : table_slot(exchange->view->table, exchange->user);
}

enum verdict exchange_check_epoch(const struct exchange *exchange, uint32_t unit)
{
    struct str epoch = field_of(exchange->req, STR_LIT("ldc-epoch"));
    uint64_t known, current = view_epoch(exchange->view, unit);
    if (epoch.base == NULL)
        return VERDICT_OK;
    if (!str_to_u64(epoch, &known))
        return VERDICT_BAD_REQUEST;
    if (known > current)
        records_ask(exchange->worker->gateway);
    return known < current ? VERDICT_STALE_EPOCH : VERDICT_OK;
}

static void append_problem(struct buf *out, enum verdict verdict, const char *detail, const struct exchange *exchange)
{
    const struct verdict_info *info = verdict_info(verdict);
    buf_printf(out, "{\"type\":\"urn:ldcgate:problem:%s\",\"title\":\"%s\",\"status\":%d", info->name, info->title,
               info->status);
    if (detail != NULL && detail[0] != '\0') {
        buf_append_str(out, STR_LIT(",\"detail\":"));
        json_append_text(out, str_of(detail));
    }
    if (exchange != NULL && exchange->rules != NULL)
        buf_printf(out, ",\"unit\":\"%.*s\"", STR_ARG(exchange->rules->name));
    if (exchange != NULL && exchange->view != NULL)
        buf_printf(out, ",\"epoch\":%" PRIu64, exchange_epoch(exchange));
    if (exchange != NULL && exchange->message_id.base != NULL)
        buf_printf(out, ",\"message\":\"%.*s\"", STR_ARG(exchange->message_id));
    if (exchange != NULL && exchange->message_state.base != NULL)
        buf_printf(out, ",\"state\":\"%.*s\"", STR_ARG(exchange->message_state));
    buf_append(out, "}\n", 2);
}

static void add_proxy_status(struct worker *worker, h2o_req_t *req, const struct verdict_info *info)
{
    char text[160];
    int len = snprintf(text, sizeof(text), "\"%.64s\"; error=%s", worker->gateway->name, info->proxy_status);
    h2o_iovec_t value = h2o_strdup(&req->pool, text, (size_t)len);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("proxy-status"), 0, NULL, value.base, value.len);
}

static void send_document(struct worker *worker, h2o_req_t *req, enum verdict verdict, struct buf *document)
{
    const struct verdict_info *info = verdict_info(verdict);
    stat_add(&worker->stats.verdicts[verdict], 1);
    req->res.status = info->status;
    req->res.reason = http_status_reason(info->status);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/problem+json"));
    if (info->retry_after)
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_RETRY_AFTER, NULL, H2O_STRLIT(RETRY_AFTER));
    if (info->proxy_status[0] != '\0')
        add_proxy_status(worker, req, info);
    h2o_send_inline(req, document->base, document->len);
    buf_free(document);
}

void problem_send(struct worker *worker, h2o_req_t *req, enum verdict verdict, const char *detail)
{
    struct buf document = {NULL, 0, 0};
    append_problem(&document, verdict, detail, NULL);
    send_document(worker, req, verdict, &document);
}

void problem_format_http1(struct worker *worker, enum verdict verdict, const char *detail, struct buf *out)
{
    const struct verdict_info *info = verdict_info(verdict);
    struct buf document = {NULL, 0, 0};
    stat_add(&worker->stats.verdicts[verdict], 1);
    append_problem(&document, verdict, detail, NULL);
    buf_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n", info->status,
               http_status_reason(info->status), document.len);
    if (info->retry_after)
        buf_append_str(out, STR_LIT("Retry-After: " RETRY_AFTER "\r\n"));
    buf_append_str(out, STR_LIT("Connection: close\r\n\r\n"));
    buf_append_str(out, buf_str(&document));
    buf_free(&document);
}

void exchange_fail(struct exchange *exchange, enum verdict verdict, const char *detail)
{
    struct buf document = {NULL, 0, 0};
    exchange->verdict = verdict;
    append_problem(&document, verdict, detail, exchange);
    exchange_add_headers(exchange);
    send_document(exchange->worker, exchange->req, verdict, &document);
}

void exchange_send(struct exchange *exchange, int status, struct str body)
{
    h2o_req_t *req = exchange->req;
    bool empty = status == 204 || status == 304;
    bool bodiless = empty || h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD"));
    req->res.status = status;
    req->res.reason = http_status_reason(status);
    if (!empty)
        req->res.content_length = body.len;
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, bodiless ? "" : body.base, bodiless ? 0 : body.len);
}

bool exchange_has_room(struct exchange *exchange, size_t bytes)
{
    struct gateway *gateway = exchange->worker->gateway;
    if (bytes < SMALL_ANSWER)
        return true;
    uint64_t held = atomic_fetch_add_explicit(&gateway->answer_bytes, bytes, memory_order_relaxed);
    exchange->answer_bytes += bytes;
    return held + bytes <= (uint64_t)gateway->config.limits.bodies_total;
}

static void add_number(h2o_req_t *req, const char *name, size_t name_len, uint64_t number)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 20);
    size_t len = str_from_u64(number, text);
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, name_len, 0, NULL, text, len);
}

void exchange_add_headers(struct exchange *exchange)
{
    h2o_req_t *req = exchange->req;
    if (exchange->view != NULL)
        add_number(req, H2O_STRLIT("ldc-epoch"), exchange_epoch(exchange));
    if (exchange->rules == NULL)
        return;
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-unit"), 0, NULL, exchange->rules->name.base,
                          exchange->rules->name.len);
    if (exchange->decision.unit == NO_UNIT)
        return;
    const char *color = color_name(exchange->decision.color);
    h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("ldc-color"), 0, NULL, color, strlen(color));
}
