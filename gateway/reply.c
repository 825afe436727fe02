/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/stream_id.h"
#include "gateway/broker_h2o.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"
#include "gateway/reply_answer.h"

#define BUCKETS   4096      /* a power of two */
#define READ_MOST "32"      /* answers a read */
#define BLOCK_MS  5000      /* how long one read waits */
#define IDLE_MS   10000     /* how long a connection is kept that nobody waits for */
#define RETRY_MS  200       /* after a read that the broker refused */
#define TRIM_EACH (1 << 18) /* bytes read before they are removed from the stream */

/* The reply stream at one unit's broker. */
struct follower {
    struct replies *replies;
    char *url, *next_url; /* NULL: none; the next one: what the rules say by now */
    struct broker *broker;
    struct stream_id last; /* what was read; the next read begins behind it */
    unsigned waiting;
    size_t untrimmed; /* bytes */
    bool reading;
    h2o_timeout_entry_t timer; /* to end it, or to read again */
};

struct replies {
    struct worker *worker;
    struct broker_h2o brokers;
    struct broker_loop loop;
    char stream[PROTOCOL_KEY_MAX];
    struct follower **followers; /* by unit id; NULL: none */
    uint32_t follower_count;
    struct reply_wait *buckets[BUCKETS];
};

/* An answer that came before the broker's word on the message itself. */
struct early {
    struct reply_answer answer;
    char bytes[];
};

struct reply_wait {
    struct replies *replies;
    struct exchange *exchange;
    uint32_t unit;
    uint64_t wait_ms;
    bool stored;
    enum durability durability;
    struct early *early;
    h2o_timeout_entry_t timer;
    struct reply_wait *next;
};

static void read_on(struct follower *follower);

/* --- who waits -----------------------------------------------------------------------------------------------------
 */

static struct reply_wait **bucket_of(struct replies *replies, struct str id)
{
    return &replies->buckets[XXH3_64bits(id.base, id.len) & (BUCKETS - 1)];
}

static struct reply_wait **find(struct replies *replies, struct str id)
{
    struct reply_wait **slot = bucket_of(replies, id);
    while (*slot != NULL && !str_equal((*slot)->exchange->message_id, id))
        slot = &(*slot)->next;
    return slot;
}

static void free_wait(struct reply_wait *wait)
{
    struct replies *replies = wait->replies;
    struct follower *follower = replies->followers[wait->unit];
    *find(replies, wait->exchange->message_id) = wait->next;
    timers_disarm(&wait->timer);
    stat_set(&replies->worker->stats.reply_waiting, stat_get(&replies->worker->stats.reply_waiting) - 1);
    if (--follower->waiting == 0 && !follower->reading)
        timers_arm(&replies->brokers.timers, &follower->timer, IDLE_MS);
    free(wait->early);
    free(wait);
}

void reply_forget(struct exchange *exchange)
{
    if (exchange->wait != NULL)
        free_wait(exchange->wait);
    exchange->wait = NULL;
}

/* --- answers -------------------------------------------------------------------------------------------------------
 */

/* Answering may bring the connection's next request at once: nothing is touched afterwards. */
static void answer(struct reply_wait *wait, const struct reply_answer *answer)
{
    struct exchange *exchange = wait->exchange;
    struct gateway_stats *stats = &wait->replies->worker->stats;
    enum durability durability = wait->durability;
    uint64_t wait_s = wait->wait_ms / 1000;
    struct early *early = wait->early;
    wait->early = NULL;
    exchange->detach = NULL;
    reply_forget(exchange);
    stat_add(&stats->reply_answers_total, 1);
    stat_observe(&stats->reply_latency, clock_monotonic_us() - exchange->received_mono_us);
    reply_answer_send(exchange, answer, durability, wait_s);
    free(early);
}

static struct str keep(char **at, struct str text)
{
    struct str kept = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.base, text.len);
    *at += text.len;
    return kept;
}

static void stash(struct reply_wait *wait, const struct reply_answer *answer)
{
    size_t bytes = answer->id.len + answer->status.len + answer->headers.len + answer->body.len + answer->fault.len;
    struct early *early = mem_alloc(sizeof(*early) + bytes);
    char *at = early->bytes;
    early->answer = (struct reply_answer){.id = keep(&at, answer->id),
                                          .status = keep(&at, answer->status),
                                          .headers = keep(&at, answer->headers),
                                          .body = keep(&at, answer->body),
                                          .fault = keep(&at, answer->fault)};
    wait->early = early;
}

static void take_entry(struct follower *follower, const redisReply *entry)
{
    struct replies *replies = follower->replies;
    struct reply_answer found;
    struct stream_id id;
    if (entry->elements == 2 && stream_id_parse((struct str){entry->element[0]->str, entry->element[0]->len}, &id))
        follower->last = id;
    if (!reply_answer_read(entry, &found))
        return;
    follower->untrimmed += found.body.len + found.headers.len + 64;
    struct reply_wait *wait = *find(replies, found.id);
    if (wait == NULL || wait->early != NULL)
        stat_add(&replies->worker->stats.reply_strays_total, 1);
    else if (wait->stored)
        answer(wait, &found);
    else
        stash(wait, &found);
}

static void on_timeout(h2o_timeout_entry_t *entry)
{
    struct reply_wait *wait = H2O_STRUCT_FROM_MEMBER(struct reply_wait, timer, entry);
    struct exchange *exchange = wait->exchange;
    stat_add(&wait->replies->worker->stats.reply_timeouts_total, 1);
    exchange->detach = NULL;
    reply_forget(exchange);
    exchange_fail(exchange, VERDICT_REPLY_TIMEOUT, "The message is stored and will be delivered; look it up by its id");
}

/* --- the stream ----------------------------------------------------------------------------------------------------
 */

static void on_trimmed(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

/* What was read is of no use to anybody; the stream's own limits are for what nobody reads. */
static void trim(struct follower *follower)
{
    char least[STREAM_ID_TEXT];
    if (follower->untrimmed < TRIM_EACH)
        return;
    follower->untrimmed = 0;
    stream_id_format(least, (struct stream_id){follower->last.ms, follower->last.seq + 1});
    const char *words[] = {"XTRIM", follower->replies->stream, "MINID", least};
    (void)!broker_command(follower->broker, on_trimmed, NULL, 4, words, NULL);
}

static void read_entries(struct follower *follower, const redisReply *reply)
{
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        for (size_t k = 0; stream->elements == 2 && k < stream->element[1]->elements; k++)
            take_entry(follower, stream->element[1]->element[k]);
    }
    trim(follower);
}

static void on_read(void *arg, const redisReply *reply)
{
    struct follower *follower = arg;
    bool refused = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    if (refused)
        log_warning("reply.refused", "%s: %s", follower->url, reply->str);
    else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY)
        read_entries(follower, reply);
    follower->reading = false;
    if (reply == NULL)
        return;
    if (refused || follower->waiting == 0)
        timers_arm(&follower->replies->brokers.timers, &follower->timer, refused ? RETRY_MS : IDLE_MS);
    else
        read_on(follower);
}

static void read_on(struct follower *follower)
{
    char from[STREAM_ID_TEXT], block[12];
    int64_t deadline_ms = BLOCK_MS + follower->replies->worker->gateway->config.broker.timeout;
    if (follower->reading || follower->waiting == 0 || follower->next_url != NULL ||
        broker_state(follower->broker) != BROKER_READY)
        return;
    stream_id_format(from, follower->last);
    snprintf(block, sizeof(block), "%d", BLOCK_MS);
    const char *words[] = {"XREAD", "COUNT", READ_MOST, "BLOCK", block, "STREAMS", follower->replies->stream, from};
    timers_disarm(&follower->timer);
    follower->reading = broker_command_for(follower->broker, deadline_ms, on_read, follower, 8, words, NULL);
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct follower *follower = arg;
    if (state == BROKER_READY && follower->broker == broker)
        read_on(follower);
}

static void disconnect(struct follower *follower)
{
    timers_disarm(&follower->timer);
    broker_destroy(&follower->broker);
    free(follower->url);
    free(follower->next_url);
    follower->url = follower->next_url = NULL;
}

static void connect_to(struct follower *follower, char *url)
{
    struct replies *replies = follower->replies;
    const struct gateway *gateway = replies->worker->gateway;
    follower->url = url;
    struct broker_config config = {.url = follower->url,
                                   .user = gateway->config.broker.user,
                                   .password = gateway->broker_password,
                                   .command_timeout_ms = gateway->config.broker.timeout};
    follower->broker = broker_create(&replies->loop, &config, on_state, follower);
}

static void on_follower_timer(h2o_timeout_entry_t *entry)
{
    struct follower *follower = H2O_STRUCT_FROM_MEMBER(struct follower, timer, entry);
    char *next_url = follower->next_url;
    follower->next_url = NULL;
    if (next_url != NULL) { /* another stream: what it holds is read from its beginning */
        disconnect(follower);
        follower->last = (struct stream_id){0, 0};
        connect_to(follower, next_url);
    } else if (follower->waiting > 0) {
        read_on(follower);
    } else {
        disconnect(follower);
    }
}

static struct follower *follower_of(struct replies *replies, uint32_t unit)
{
    if (unit >= replies->follower_count) {
        replies->followers = mem_realloc(replies->followers, (unit + 1) * sizeof(struct follower *));
        while (replies->follower_count <= unit)
            replies->followers[replies->follower_count++] = NULL;
    }
    if (replies->followers[unit] == NULL) {
        struct follower *follower = replies->followers[unit] = mem_calloc(1, sizeof(*follower));
        follower->replies = replies;
        follower->timer.cb = on_follower_timer;
    }
    return replies->followers[unit];
}

/* On another turn: the connection may be calling now. */
static void move_to(struct follower *follower, struct str url)
{
    free(follower->next_url);
    follower->next_url = str_dup(url);
    timers_arm(&follower->replies->brokers.timers, &follower->timer, 0);
}

static void follow(struct follower *follower, struct str url)
{
    follower->waiting++;
    if (follower->url == NULL)
        connect_to(follower, str_dup(url));
    else if (!str_equal(str_of(follower->url), url))
        move_to(follower, url);
    else
        read_on(follower);
}

void replies_follow(struct replies *replies, const struct unit *unit)
{
    struct follower *follower = unit->id < replies->follower_count ? replies->followers[unit->id] : NULL;
    struct str url = queue_primary(replies->worker->queue, unit);
    if (follower != NULL && follower->url != NULL && url.base != NULL && !str_equal(str_of(follower->url), url))
        move_to(follower, url);
}

/* --- waiting -------------------------------------------------------------------------------------------------------
 */

/* The name is known only when the admin listener has its port. */
static struct str stream_of(struct replies *replies)
{
    if (replies->stream[0] == '\0')
        snprintf(replies->stream, sizeof(replies->stream), "ldc:{%s.%012lx}:reply:%u", replies->worker->gateway->name,
                 (unsigned long)(worker_random(replies->worker) >> 16), replies->worker->index);
    return str_of(replies->stream);
}

static void on_detach(struct exchange *exchange)
{
    reply_forget(exchange);
}

struct str reply_expect(struct exchange *exchange, uint64_t wait_ms)
{
    struct replies *replies = exchange->worker->replies;
    uint64_t most_ms = (uint64_t)exchange->worker->gateway->config.reply.max_wait;
    wait_ms = wait_ms < most_ms ? wait_ms : most_ms;
    struct str broker = queue_primary(exchange->worker->queue, exchange->unit);
    if (wait_ms == 0 || broker.base == NULL)
        return STR_LIT("");
    struct reply_wait *wait = mem_calloc(1, sizeof(*wait)), **bucket = bucket_of(replies, exchange->message_id);
    struct str stream = stream_of(replies);
    *wait = (struct reply_wait){.replies = replies,
                                .exchange = exchange,
                                .unit = exchange->unit->id,
                                .wait_ms = wait_ms,
                                .timer.cb = on_timeout,
                                .next = *bucket};
    *bucket = wait;
    exchange->wait = wait;
    stat_add(&replies->worker->stats.reply_waiting, 1);
    follow(follower_of(replies, wait->unit), broker);
    return stream;
}

void reply_wait(struct exchange *exchange, enum durability durability)
{
    struct reply_wait *wait = exchange->wait;
    wait->stored = true;
    wait->durability = durability;
    exchange->detach = on_detach;
    if (wait->early != NULL)
        answer(wait, &wait->early->answer);
    else
        timers_arm(&wait->replies->brokers.timers, &wait->timer, wait->wait_ms);
}

/* --- its life ------------------------------------------------------------------------------------------------------
 */

void replies_flush(struct replies *replies)
{
    broker_h2o_flush(&replies->brokers);
}

struct replies *replies_create(struct worker *worker)
{
    struct replies *replies = mem_calloc(1, sizeof(*replies));
    replies->worker = worker;
    broker_h2o_init(&replies->brokers, worker->h2o.loop);
    replies->loop = broker_h2o_loop(&replies->brokers);
    return replies;
}

static void fail_waiting(struct replies *replies)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (replies->buckets[i] != NULL) {
            struct exchange *exchange = replies->buckets[i]->exchange;
            exchange->detach = NULL;
            reply_forget(exchange);
            exchange_fail(exchange, VERDICT_DRAINING,
                          "The message is stored and will be delivered; look it up by its id");
        }
}

void replies_destroy(struct replies **replies_p)
{
    struct replies *replies = *replies_p;
    *replies_p = NULL;
    if (replies == NULL)
        return;
    fail_waiting(replies);
    for (uint32_t i = 0; i < replies->follower_count; i++)
        if (replies->followers[i] != NULL) {
            disconnect(replies->followers[i]);
            free(replies->followers[i]);
        }
    timers_dispose(&replies->brokers.timers);
    free(replies->followers);
    free(replies);
}
