/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /-/messages/ID: is the message still in its stream, and has the unit's agent passed it?
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/broker.h"
#include "common/clock.h"
#include "common/cursor.h"
#include "common/protocol.h"
#include "gateway/queue.h"

/* The broker stamps entries by its own clock, which may differ from that of the gateway that named the message; and
 * the message may have waited for the broker. So the search begins a little earlier and looks at bounded pages. */
#define CLOCK_SLACK_MS 2000
#define PAGE_ENTRIES   "500"
#define MOST_PAGES     20

/* One look-up, on its own: the client may go away while the broker is asked. */
struct lookup {
    struct exchange *exchange; /* NULL: nobody waits any more */
    struct broker *broker;
    char id[PROTOCOL_ID_MAX];
    struct protocol_id parts; /* points into `id` */
    struct stream_id entry;
    char from[STREAM_ID_TEXT + 1];
    unsigned pages;
};

static void detach(struct exchange *exchange)
{
    struct lookup *lookup = exchange->carrier;
    lookup->exchange = NULL;
}

static void finish(struct lookup *lookup, enum verdict verdict, const char *detail)
{
    if (lookup->exchange != NULL) {
        lookup->exchange->detach = NULL;
        exchange_fail(lookup->exchange, verdict, detail);
    }
    free(lookup);
}

static void send_state(struct lookup *lookup, bool delivered)
{
    struct exchange *exchange = lookup->exchange;
    h2o_req_t *req = exchange->req;
    char body[4 * PROTOCOL_ID_MAX], stored[28];
    clock_format_utc(lookup->entry.ms * 1000, stored);
    int len = snprintf(body, sizeof(body),
                       "{\"id\":\"%s\",\"unit\":\"%.*s\",\"topic\":\"%.*s\",\"partition\":%u,\"state\":\"%s\","
                       "\"entry\":\"%" PRIu64 "-%" PRIu64 "\",\"stored\":\"%s\"}\n",
                       lookup->id, STR_ARG(lookup->parts.unit), STR_ARG(lookup->parts.topic), lookup->parts.partition,
                       delivered ? "delivered" : "pending", lookup->entry.ms, lookup->entry.seq, stored);
    req->res.status = 200;
    req->res.reason = "OK";
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL, NULL, H2O_STRLIT("no-store"));
    exchange_add_headers(exchange);
    exchange->detach = NULL;
    h2o_send_inline(req, body, (size_t)len);
}

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : (struct str){NULL, 0};
}

static void on_cursor(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    struct cursor cursor;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        !cursor_decode(text_of(reply->element[0]), text_of(reply->element[1]), text_of(reply->element[2]), &cursor)) {
        finish(lookup, VERDICT_BROKER_AWAY, NULL);
        return;
    }
    if (lookup->exchange != NULL)
        send_state(lookup, cursor_covers(&cursor, lookup->entry));
    cursor_free(&cursor);
    free(lookup);
}

static void ask_cursor(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_key(key, lookup->parts.unit, lookup->parts.topic, lookup->parts.partition, "cursor");
    const char *words[] = {"HMGET", key, "watermark", "done", "passed"};
    if (!broker_command(lookup->broker, on_cursor, lookup, 5, words, NULL))
        finish(lookup, VERDICT_BROKER_AWAY, NULL);
}

static void ask_page(struct lookup *lookup);

/* The id is the envelope's first field. */
static bool is_wanted(const redisReply *entry, const struct lookup *lookup)
{
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;
    return fields != NULL && fields->elements >= 2 && str_equal(text_of(fields->element[1]), str_of(lookup->id));
}

static void on_page(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        finish(lookup, VERDICT_BROKER_AWAY, NULL);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++)
        if (is_wanted(reply->element[i], lookup) &&
            stream_id_parse(text_of(reply->element[i]->element[0]), &lookup->entry)) {
            ask_cursor(lookup);
            return;
        }
    if (reply->elements == 0 || ++lookup->pages == MOST_PAGES) {
        finish(lookup, VERDICT_NOT_FOUND,
               "No such message: it never was, or it was delivered and its retention is over");
        return;
    }
    snprintf(lookup->from, sizeof(lookup->from), "(%.*s",
             STR_ARG(text_of(reply->element[reply->elements - 1]->element[0])));
    ask_page(lookup);
}

static void ask_page(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_key(key, lookup->parts.unit, lookup->parts.topic, lookup->parts.partition, "stream");
    const char *words[] = {"XRANGE", key, lookup->from, "+", "COUNT", PAGE_ENTRIES};
    if (!broker_command(lookup->broker, on_page, lookup, 6, words, NULL))
        finish(lookup, VERDICT_BROKER_AWAY, NULL);
}

/* The id's last part begins with the milliseconds at which it was made. */
static uint64_t made_ms(struct str id)
{
    char digits[13] = "";
    memcpy(digits, id.base + id.len - 24, 12);
    return strtoull(digits, NULL, 16);
}

void queue_message_status(struct exchange *exchange, struct str id)
{
    const struct table *table = exchange->view->table;
    struct protocol_id parts;
    uint32_t unit = protocol_id_parse(id, &parts) ? table_unit_index(table, parts.unit) : NO_UNIT;
    struct broker *broker =
        unit == NO_UNIT ? NULL : queue_broker(exchange->worker->queue, exchange->view->units[unit].unit);
    if (broker == NULL) {
        exchange_fail(exchange, VERDICT_NOT_FOUND, "That is no message id of a unit of these rules");
        return;
    }
    struct lookup *lookup = mem_calloc(1, sizeof(*lookup));
    uint64_t ms = made_ms(id);
    lookup->exchange = exchange;
    lookup->broker = broker;
    memcpy(lookup->id, id.base, id.len);
    protocol_id_parse(str_of(lookup->id), &lookup->parts);
    snprintf(lookup->from, sizeof(lookup->from), "%" PRIu64, ms > CLOCK_SLACK_MS ? ms - CLOCK_SLACK_MS : 0);
    exchange->carrier = lookup;
    exchange->detach = detach;
    ask_page(lookup);
}
