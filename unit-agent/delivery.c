/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/delivery.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/post.h"

#define LONGEST_RETRY_AFTER_MS 3600000
#define MOST_ANSWER            (1024 * 1024)
#define MOST_LOSSES            3 /* then it counts as an attempt that failed */

/* What waits for one set of nodes. */
struct pool {
    struct pool *next;
    struct nodes *nodes;
    struct message_queue ready[COLOR_COUNT]; /* apart, so that a colour without nodes holds up only itself */
};

struct delivery {
    sd_event *loop;
    struct delivery_config config;
    struct http_client *client;
    sd_event_source *pump; /* at the end of the turn, when something may be sent */
    struct pool *pools;    /* made when they are first needed */
    size_t in_flight;
    struct message *first_flight, *last_flight; /* those in flight, oldest first */
    struct post post;
    uint64_t random;
    bool stopped;
};

static uint64_t next_random(struct delivery *delivery)
{
    delivery->random ^= delivery->random << 13;
    delivery->random ^= delivery->random >> 7;
    delivery->random ^= delivery->random << 17;
    return delivery->random;
}

void delivery_each_lasting(const struct delivery *delivery, uint64_t before_us,
                           void (*fn)(void *arg, struct message *message), void *arg)
{
    for (struct message *at = delivery->first_flight; at != NULL && at->began_us < before_us; at = at->flight_after)
        fn(arg, at);
}

void delivery_wake(struct delivery *delivery)
{
    loop_wake(delivery->pump);
}

static struct message_queue *ready_queue(struct delivery *delivery, const struct message *message)
{
    const struct subscription *rules = message->partition->rules;
    struct nodes *nodes = rules != NULL && rules->nodes != NULL ? rules->nodes : delivery->config.nodes;
    struct pool **at = &delivery->pools;
    while (*at != NULL && (*at)->nodes != nodes)
        at = &(*at)->next;
    if (*at == NULL) {
        *at = mem_calloc(1, sizeof(**at));
        (*at)->nodes = nodes;
    }
    return &(*at)->ready[message->color];
}

void delivery_ready(void *arg, struct message *message)
{
    struct delivery *delivery = arg;
    message->delivery = delivery;
    message->state = MESSAGE_READY;
    message_queue_put(ready_queue(delivery, message), message);
    delivery_wake(delivery);
}

/* --- after an attempt -------------------------------------------------------------------------------------------- */

int64_t delivery_backoff_ms(int64_t min_ms, int64_t max_ms, uint32_t fails, uint64_t random)
{
    int64_t wait_ms = min_ms;
    for (uint32_t i = 1; i < fails && wait_ms < max_ms; i++)
        wait_ms *= 2;
    return retry_spread_ms(wait_ms < max_ms ? wait_ms : max_ms, random);
}

static int64_t next_backoff_ms(struct delivery *delivery, uint32_t fails)
{
    const struct agent_config *options = delivery->config.options;
    return delivery_backoff_ms(options->delivery.backoff_min, options->delivery.backoff_max, fails,
                               next_random(delivery));
}

static struct delivery *delivery_of(const struct message *message)
{
    return message->delivery;
}

static int on_waited(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct message *message = arg;
    message->timer = sd_event_source_disable_unref(message->timer);
    delivery_ready(delivery_of(message), message);
    return 0;
}

static void back_off(struct delivery *delivery, struct message *message, int64_t wait_ms)
{
    message->state = MESSAGE_BACKING_OFF;
    INVARIANT(sd_event_add_time_relative(delivery->loop, &message->timer, CLOCK_MONOTONIC, (uint64_t)wait_ms * 1000,
                                         1000, on_waited, message) >= 0);
}

static void leave_node(struct delivery *delivery, struct message *message)
{
    struct message *before = message->flight_before, *after = message->flight_after;
    *(before != NULL ? &before->flight_after : &delivery->first_flight) = after;
    *(after != NULL ? &after->flight_before : &delivery->last_flight) = before;
    nodes_release(message->node->nodes, message->node);
    message->node = NULL;
    message->transfer = NULL;
    stat_set(&delivery->config.stats->agent_deliveries_in_flight, --delivery->in_flight);
}

static void tell_attempt(const struct delivery *delivery, const struct message *message,
                         const struct http_response *response)
{
    struct delivery_attempt attempt = {message->node->url, message->began_us, clock_wall_us(), response};
    if (delivery->config.attempted != NULL)
        delivery->config.attempted(delivery->config.arg, message, &attempt);
}

static void tell_settled(const struct delivery *delivery, const struct message *message,
                         const struct http_response *response)
{
    if (delivery->config.settled != NULL)
        delivery->config.settled(delivery->config.arg, message, response);
}

static void acknowledge(struct delivery *delivery, struct message *message)
{
    struct partition *partition = message->partition;
    uint64_t now_us = clock_wall_us();
    stat_add(&delivery->config.stats->agent_acknowledged_total, 1);
    stat_observe(&delivery->config.stats->latency, now_us > message->ingress_us ? now_us - message->ingress_us : 0);
    partition_acknowledge(partition, message);
    delivery->config.acknowledged(delivery->config.arg, partition);
}

/* The message leaves the path of the others. */
static void park(struct delivery *delivery, struct message *message, int64_t wait_ms)
{
    struct partition *partition = message->partition;
    partition_park(partition, message, wait_ms);
    delivery->config.acknowledged(delivery->config.arg, partition);
}

static void bury(struct delivery *delivery, struct message *message, const struct http_response *response,
                 const char *reason)
{
    struct partition *partition = message->partition;
    log_warning("delivery.dead", "%.*s is a dead letter: %s %ld to attempt %u",
                STR_ARG(message->envelope.fields[ENVELOPE_ID]),
                response->status > 0 ? "the app answered" : response->error, response->status, message->attempt);
    tell_settled(delivery, message, response);
    partition_bury(partition, message, response->status, reason);
    delivery->config.acknowledged(delivery->config.arg, partition);
}

/* An app that says "later" did not fail, so the attempt does not count. */
static void put_off(struct delivery *delivery, struct message *message, int64_t retry_after_ms)
{
    int64_t wait_ms = next_backoff_ms(delivery, ++message->puts_off);
    stat_add(&delivery->config.stats->agent_deferred_total, 1);
    if (wait_ms < retry_after_ms)
        wait_ms = retry_after_ms < LONGEST_RETRY_AFTER_MS ? retry_after_ms : LONGEST_RETRY_AFTER_MS;
    if (wait_ms > delivery->config.options->delivery.park_after)
        park(delivery, message, wait_ms);
    else
        back_off(delivery, message, wait_ms);
}

static void fail(struct delivery *delivery, struct message *message, const struct http_response *response)
{
    const struct retry *retry = &message->partition->retry;
    stat_add(&delivery->config.stats->agent_retries_total, 1);
    log_debug("delivery.retry", "%.*s: %s answered %ld to attempt %u: %s",
              STR_ARG(message->envelope.fields[ENVELOPE_ID]), message->node->url, response->status, message->attempt,
              response->error);
    if (message->attempt >= retry->attempts) {
        bury(delivery, message, response, "attempts");
        return;
    }
    park(delivery, message, retry_wait_ms(retry, message->attempt++, next_random(delivery)));
}

/* The node is to blame, unless this process had no socket for it, and another one may do better; but what breaks off
 * again and again may be what kills them. */
static void lose(struct delivery *delivery, struct message *message, const struct http_response *response)
{
    if (!response->no_socket)
        nodes_report_failure(message->node->nodes, message->node, response->error);
    if (!response->unreached && (message->from_park || message->losses + 1 >= MOST_LOSSES)) {
        fail(delivery, message, response);
        return;
    }
    message->losses += !response->unreached;
    stat_add(&delivery->config.stats->agent_losses_total, 1);
    back_off(delivery, message, next_backoff_ms(delivery, 1));
}

static void judge(struct delivery *delivery, struct message *message, const struct http_response *response)
{
    if (response->status >= 200 && response->status < 300) {
        tell_settled(delivery, message, response);
        acknowledge(delivery, message);
    } else if (response->status == 429 || response->status == 503) {
        put_off(delivery, message, response->retry_after_ms);
    } else if (retry_is_dead(&message->partition->retry, response->status)) {
        bury(delivery, message, response, "status");
    } else if (response->status == 0 && (response->unreached || !response->timed_out)) {
        lose(delivery, message, response);
    } else {
        fail(delivery, message, response);
    }
}

/* What a ramp of colours is judged by: what comes of messages that were not tried before. Nodes of a subscription's own
 * have no colours. An app that asks for patience is not broken. */
static void count_for_color(struct delivery *delivery, const struct message *message,
                            const struct http_response *response)
{
    struct agent_stats *stats = delivery->config.stats;
    bool first = !message->from_park && message->attempt == 1 && message->puts_off + message->losses == 0;
    if (!first || message->node->nodes != delivery->config.nodes || response->no_socket)
        return;
    bool bad = response->status == 0 || (response->status >= 500 && response->retry_after_ms < 0);
    stat_add(&stats->judged[message->color], 1);
    stat_add(&stats->judged_badly[message->color], bad);
}

/* Nothing left: the partition is perhaps another agent's by now, or will be confirmed to be ours. */
static void take_back(struct delivery *delivery, struct message *message)
{
    leave_node(delivery, message);
    delivery_ready(delivery, message);
}

static void on_answered(void *arg, const struct http_response *response)
{
    struct message *message = arg;
    struct delivery *delivery = delivery_of(message);
    if (response->withheld) {
        take_back(delivery, message);
        return;
    }
    tell_attempt(delivery, message, response);
    count_for_color(delivery, message, response);
    judge(delivery, message, response);
    leave_node(delivery, message);
    delivery_wake(delivery);
}

/* --- attempts ---------------------------------------------------------------------------------------------------- */

static bool may_send(void *arg)
{
    struct delivery *delivery = delivery_of(arg);
    return delivery->config.may_begin(delivery->config.arg);
}

static void send_to(struct delivery *delivery, struct message *message, struct node *node)
{
    const struct agent_config *options = delivery->config.options;
    const struct partition *partition = message->partition;
    post_compose(&delivery->post, message, delivery->config.unit, str_of(partition->topic), partition->number);
    struct http_request request = {.method = "POST",
                                   .url = node->url,
                                   .target = message->envelope.fields[ENVELOPE_PATH].base,
                                   .headers = delivery->post.headers,
                                   .body = message->envelope.fields[ENVELOPE_BODY],
                                   .timeout_ms = options->delivery.timeout,
                                   .connect_timeout_ms = options->delivery.connect_timeout,
                                   .most_response = MOST_ANSWER,
                                   .cuts_response = true,
                                   .may_send = may_send};
    message->state = MESSAGE_IN_FLIGHT;
    message->node = node;
    message->began_us = clock_wall_us();
    message->told_begun = false;
    message->flight_after = NULL;
    message->flight_before = delivery->last_flight;
    *(delivery->last_flight != NULL ? &delivery->last_flight->flight_after : &delivery->first_flight) = message;
    delivery->last_flight = message;
    message->transfer = http_client_start(delivery->client, &request, NULL, on_answered, message);
    stat_add(&delivery->config.stats->agent_deliveries_total, 1);
    stat_set(&delivery->config.stats->agent_deliveries_in_flight, ++delivery->in_flight);
}

static bool send_next(struct delivery *delivery, struct pool *pool, enum color color)
{
    size_t most = (size_t)delivery->config.options->delivery.concurrency;
    if (pool->ready[color].head == NULL || delivery->in_flight >= most)
        return false;
    struct node *node = nodes_take(pool->nodes, color);
    if (node == NULL)
        return false;
    send_to(delivery, message_queue_take(&pool->ready[color]), node);
    return true;
}

static int on_pump(sd_event_source *source, void *arg)
{
    (void)source;
    struct delivery *delivery = arg;
    for (bool sent = !delivery->stopped && delivery->config.may_begin(delivery->config.arg); sent;) {
        sent = false;
        for (struct pool *pool = delivery->pools; pool != NULL; pool = pool->next)
            for (int color = 0; color < COLOR_COUNT; color++)
                sent |= send_next(delivery, pool, color);
    }
    return 0;
}

void delivery_withdraw(void *arg, struct message *message)
{
    struct delivery *delivery = arg;
    if (message->state == MESSAGE_READY)
        message_queue_remove(ready_queue(delivery, message), message);
    if (message->transfer != NULL) {
        http_transfer_cancel(message->transfer);
        leave_node(delivery, message);
    }
    message->timer = sd_event_source_disable_unref(message->timer);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

struct delivery *delivery_create(sd_event *loop, const struct delivery_config *config)
{
    struct delivery *delivery = mem_calloc(1, sizeof(*delivery));
    delivery->loop = loop;
    delivery->config = *config;
    delivery->random = clock_monotonic_us() | 1;
    delivery->client = http_client_create(loop, 0);
    delivery->pump = loop_later(loop, on_pump, delivery);
    return delivery;
}

void delivery_stop(struct delivery *delivery)
{
    delivery->stopped = true;
}

void delivery_destroy(struct delivery **delivery_p)
{
    struct delivery *delivery = *delivery_p;
    if (delivery == NULL)
        return;
    *delivery_p = NULL;
    INVARIANT(delivery->in_flight == 0);
    http_client_destroy(&delivery->client);
    sd_event_source_disable_unref(delivery->pump);
    post_free(&delivery->post);
    for (struct pool *pool; (pool = delivery->pools) != NULL;) {
        delivery->pools = pool->next;
        free(pool);
    }
    free(delivery);
}
