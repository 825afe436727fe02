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
#include "common/invariant.h"
#include "common/protocol.h"
#include "gateway/queue.h"

/* The broker stamps entries by its own clock when a message reaches it, a little after the gateway named it: so the
 * search goes forward from there first. Where the broker's clock is behind, the entry lies before: then back again,
 * nearest first. Pages grow while their entries are small, and the search is bounded both ways. */
#define CLOCK_SLACK_MS 10000
#define PAGE_LEAST     16
#define PAGE_MOST      128
#define PAGE_BYTES     (64u << 10)
#define MOST_ENTRIES   10000
#define MOST_BYTES     (16u << 20)

/* Messages come first: a broker that is this far behind answers no questions. */
#define MOST_IN_FLIGHT 1000

/* One look-up, on its own: the client may go away while the broker is asked. */
struct lookup {
    struct exchange *exchange; /* NULL: nobody waits any more */
    bool conflicts;            /* that it is there is a refusal */
    struct broker *broker;
    char id[PROTOCOL_ID_MAX];
    struct protocol_id parts; /* points into `id` */
    struct stream_id entry;   /* found */
    uint64_t made_ms;
    bool backward;
    char from[STREAM_ID_TEXT + 1], until[STREAM_ID_TEXT + 1];
    unsigned page;
    size_t entries, bytes; /* seen on this way */
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
    stat_add(&exchange->worker->stats.verdicts[VERDICT_OK], 1);
    h2o_send_inline(req, body, (size_t)len);
}

static void send_conflict(struct lookup *lookup, bool delivered)
{
    lookup->exchange->message_state = delivered ? STR_LIT("delivered") : STR_LIT("pending");
    lookup->exchange->detach = NULL;
    exchange_fail(lookup->exchange, VERDICT_MESSAGE_STATE, "The message has gone to its stream");
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
    if (lookup->exchange != NULL && lookup->conflicts)
        send_conflict(lookup, cursor_covers(&cursor, lookup->entry));
    else if (lookup->exchange != NULL)
        send_state(lookup, cursor_covers(&cursor, lookup->entry));
    cursor_free(&cursor);
    free(lookup);
}

static void ask_cursor(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX];
    protocol_key(key, lookup->parts.unit, lookup->parts.topic, lookup->parts.partition,
                 "cursor:" PROTOCOL_DEFAULT_SUBSCRIPTION);
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

static size_t bytes_of(const redisReply *entry)
{
    const redisReply *fields = entry->elements == 2 ? entry->element[1] : NULL;
    size_t bytes = 0;
    for (size_t i = 0; fields != NULL && i < fields->elements; i++)
        bytes += fields->element[i]->len;
    return bytes;
}

/* Behind the last entry of the page REPLY. */
static void go_on(struct lookup *lookup, const redisReply *reply, size_t bytes)
{
    lookup->entries += reply->elements;
    lookup->bytes += bytes;
    if (bytes < PAGE_BYTES && lookup->page < PAGE_MOST)
        lookup->page *= 2;
    else if (bytes > 4 * PAGE_BYTES && lookup->page > 1)
        lookup->page /= 2;
    snprintf(lookup->from, sizeof(lookup->from), "(%.*s",
             STR_ARG(text_of(reply->element[reply->elements - 1]->element[0])));
    ask_page(lookup);
}

static void turn_back(struct lookup *lookup)
{
    uint64_t made_ms = lookup->made_ms;
    lookup->backward = true;
    lookup->entries = lookup->bytes = 0;
    lookup->page = PAGE_LEAST;
    snprintf(lookup->from, sizeof(lookup->from), "%" PRIu64, made_ms);
    snprintf(lookup->until, sizeof(lookup->until), "%" PRIu64, made_ms > CLOCK_SLACK_MS ? made_ms - CLOCK_SLACK_MS : 0);
    ask_page(lookup);
}

static void give_up(struct lookup *lookup)
{
    finish(lookup, VERDICT_NOT_FOUND,
           "No such message: it was never stored, or it was delivered and its retention is over");
}

static void on_page(void *arg, const redisReply *reply)
{
    struct lookup *lookup = arg;
    size_t bytes = 0;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        finish(lookup, VERDICT_BROKER_AWAY, NULL);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *entry = reply->element[i];
        if (is_wanted(entry, lookup) && stream_id_parse(text_of(entry->element[0]), &lookup->entry)) {
            ask_cursor(lookup);
            return;
        }
        bytes += bytes_of(entry);
    }
    bool ended = reply->elements < lookup->page;
    if (lookup->exchange == NULL)
        give_up(lookup);
    else if (!ended && lookup->entries < MOST_ENTRIES && lookup->bytes < MOST_BYTES)
        go_on(lookup, reply, bytes);
    else if (!lookup->backward)
        turn_back(lookup);
    else
        give_up(lookup);
}

static void ask_page(struct lookup *lookup)
{
    char key[PROTOCOL_KEY_MAX], count[12];
    protocol_key(key, lookup->parts.unit, lookup->parts.topic, lookup->parts.partition, "stream");
    snprintf(count, sizeof(count), "%u", lookup->page);
    const char *words[] = {lookup->backward ? "XREVRANGE" : "XRANGE", key, lookup->from, lookup->until, "COUNT", count};
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

static void start_lookup(struct exchange *exchange, struct str id, struct broker *broker, bool conflicts)
{
    struct lookup *lookup = mem_calloc(1, sizeof(*lookup));
    lookup->exchange = exchange;
    lookup->conflicts = conflicts;
    lookup->broker = broker;
    memcpy(lookup->id, id.base, id.len);
    INVARIANT(protocol_id_parse(str_of(lookup->id), &lookup->parts));
    lookup->page = PAGE_LEAST;
    lookup->made_ms = made_ms(id);
    snprintf(lookup->from, sizeof(lookup->from), "%" PRIu64, lookup->made_ms);
    snprintf(lookup->until, sizeof(lookup->until), "+");
    exchange->carrier = lookup;
    exchange->detach = detach;
    ask_page(lookup);
}

static void look_up(struct exchange *exchange, struct str id, bool conflicts)
{
    const struct table *table = exchange->view->table;
    struct protocol_id parts;
    uint32_t unit = protocol_id_parse(id, &parts) ? table_unit_index(table, parts.unit) : NO_UNIT;
    struct broker *broker =
        unit == NO_UNIT ? NULL : queue_broker(exchange->worker->queue, exchange->view->units[unit].unit);
    if (broker == NULL)
        exchange_fail(exchange, VERDICT_NOT_FOUND, "That is no message id of a unit of these rules");
    else if (broker_in_flight(broker) > MOST_IN_FLIGHT)
        exchange_fail(exchange, VERDICT_UNIT_BUSY, "The unit's broker has many messages to store");
    else
        start_lookup(exchange, id, broker, conflicts);
}

void queue_message_status(struct exchange *exchange, struct str id)
{
    look_up(exchange, id, false);
}

void queue_message_conflict(struct exchange *exchange, struct str id)
{
    look_up(exchange, id, true);
}
