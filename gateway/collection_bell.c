/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_bell.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/collection_value.h"
#include "common/log.h"
#include "common/measure.h"
#include "common/protocol.h"
#include "gateway/gateway.h"
#include "gateway/queue.h"

#define BLOCK_MS    500 /* after which all look, whatever the bell heard */
#define RETRY_MS    200 /* after a read that the broker refused */
#define PACE_MS     2
#define AUDIENCE_MS 20 /* so many who are told cost another ms between two rings */

/* Lifecycle: connected while anybody listens. A read begins when all who listen have looked,
 * and PACE_MS after the last one has ended. */
struct bell {
    struct bells *bells;
    struct unit *unit;
    struct bell *next;
    char *url;  /* NULL: not connected */
    bool moves; /* to the primary by the newest record */
    struct broker *broker;
    h2o_linklist_t listeners;
    bool reading;
    h2o_timeout_entry_t timer; /* to read again, to move, or to end */
};

static struct bell_listener *listener_at(h2o_linklist_t *link)
{
    return H2O_STRUCT_FROM_MEMBER(struct bell_listener, link, link);
}

static void arm(struct bell *bell, uint64_t delay_ms)
{
    timers_arm(&bell->bells->brokers.timers, &bell->timer, delay_ms);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static uint64_t pace_ms(const struct bell *bell)
{
    uint64_t audience = 0;
    for (h2o_linklist_t *link = bell->listeners.next; link != &bell->listeners; link = link->next)
        audience += listener_at(link)->audience;
    return PACE_MS + audience / AUDIENCE_MS;
}

static bool has_news(const redisReply *reply, struct str key)
{
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        if (stream->elements == 2 && str_equal((struct str){stream->element[0]->str, stream->element[0]->len}, key))
            return true;
    }
    return false;
}

static size_t log_key(const struct bell *bell, const struct bell_listener *listener, char *key)
{
    return collection_key(key, str_of(bell->unit->name), listener->collection, "log");
}

/* All are rung where nothing came: the copy may have been made anew, or gone back. Nobody leaves while it is rung. */
static void ring(struct bell *bell, const redisReply *reply)
{
    char key[PROTOCOL_KEY_MAX];
    bool quiet = reply->type == REDIS_REPLY_NIL;
    for (h2o_linklist_t *link = bell->listeners.next; link != &bell->listeners; link = link->next) {
        struct bell_listener *listener = listener_at(link);
        if (!listener->included)
            continue;
        listener->included = false;
        if (quiet || has_news(reply, (struct str){key, log_key(bell, listener, key)})) {
            listener->ready = false;
            listener->busy = true;
            listener->rung(listener);
        }
    }
}

static void on_read(void *arg, const redisReply *reply)
{
    struct bell *bell = arg;
    bool refused = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    bell->reading = false;
    if (refused)
        log_warning("watch.refused", "%s: %s", bell->url, reply->str);
    if (reply != NULL && !refused)
        ring(bell, reply);
    for (h2o_linklist_t *link = bell->listeners.next; link != &bell->listeners; link = link->next)
        listener_at(link)->included = false;
    if (reply != NULL)
        arm(bell, refused ? RETRY_MS : pace_ms(bell));
}

struct stream {
    char key[PROTOCOL_KEY_MAX], id[STREAM_ID_TEXT];
};

/* Returns how many there are; STREAMS is for free(). */
static int gather(struct bell *bell, struct stream **streams)
{
    int count = 0, room = 0;
    *streams = NULL;
    for (h2o_linklist_t *link = bell->listeners.next; link != &bell->listeners; link = link->next) {
        struct bell_listener *listener = listener_at(link);
        if (!listener->ready)
            continue;
        if (count == room)
            *streams = mem_realloc(*streams, (size_t)(room += 16) * sizeof(**streams));
        listener->included = true;
        log_key(bell, listener, (*streams)[count].key);
        stream_id_format((*streams)[count++].id, listener->behind);
    }
    return count;
}

/* One entry is enough to know that there are any: its value may be large. */
static bool ask(struct bell *bell, const struct stream *streams, int count)
{
    char block[12];
    const char *head[] = {"XREAD", "COUNT", "1", "BLOCK", block, "STREAMS"};
    const int before = COUNT_OF(head), words = before + 2 * count;
    const char **all = mem_alloc((size_t)words * sizeof(*all));
    snprintf(block, sizeof(block), "%d", BLOCK_MS);
    memcpy(all, head, sizeof(head));
    for (int i = 0; i < count; i++) {
        all[before + i] = streams[i].key;
        all[before + count + i] = streams[i].id;
    }
    int64_t deadline_ms = BLOCK_MS + bell->bells->worker->gateway->config.broker.timeout;
    bool asked = broker_command_for(bell->broker, deadline_ms, on_read, bell, words, all, NULL);
    free(all);
    return asked;
}

static bool is_connected(const struct bell *bell)
{
    return bell->broker != NULL && broker_state(bell->broker) == BROKER_READY;
}

static bool is_awaited(const struct bell *bell)
{
    for (h2o_linklist_t *link = bell->listeners.next; link != &bell->listeners; link = link->next)
        if (listener_at(link)->busy)
            return true;
    return false;
}

static void read_on(struct bell *bell)
{
    struct stream *streams;
    if (bell->reading || is_awaited(bell) || !is_connected(bell))
        return;
    int count = gather(bell, &streams);
    bell->reading = count > 0 && ask(bell, streams, count);
    free(streams);
}

/* --- the connection ----------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct bell *bell = arg;
    if (state == BROKER_READY && bell->broker == broker)
        read_on(bell);
}

static void disconnect(struct bell *bell)
{
    timers_disarm(&bell->timer);
    broker_destroy(&bell->broker);
    timers_disarm(&bell->timer);
    free(bell->url);
    bell->url = NULL;
    bell->moves = false;
}

static void connect_to(struct bell *bell)
{
    const struct gateway *gateway = bell->bells->worker->gateway;
    struct str url = queue_primary(bell->bells->worker->queue, bell->unit);
    if (url.base == NULL)
        return;
    bell->url = str_dup(url);
    struct broker_config config = {.url = bell->url,
                                   .user = gateway->config.broker.user,
                                   .password = gateway->broker_password,
                                   .command_timeout_ms = gateway->config.broker.timeout};
    bell->broker = broker_create(&bell->bells->loop, &config, on_state, bell);
}

static void on_timer(h2o_timeout_entry_t *entry)
{
    struct bell *bell = H2O_STRUCT_FROM_MEMBER(struct bell, timer, entry);
    if (h2o_linklist_is_empty(&bell->listeners)) {
        disconnect(bell);
    } else if (bell->moves || bell->broker == NULL) {
        disconnect(bell);
        connect_to(bell);
    } else {
        read_on(bell);
    }
}

/* On another turn, for the connection may be calling now. */
void bells_follow(struct bells *bells, const struct unit *unit)
{
    struct str url = queue_primary(bells->worker->queue, unit);
    for (struct bell *bell = bells->first; bell != NULL; bell = bell->next) {
        if (bell->unit != unit || (bell->url != NULL && url.base != NULL && str_equal(str_of(bell->url), url)))
            continue;
        bell->moves = true;
        arm(bell, 0);
    }
}

/* --- who listens -------------------------------------------------------------------------------------------------- */

static struct bell *find_or_create(struct bells *bells, struct unit *unit)
{
    struct bell *bell = bells->first;
    while (bell != NULL && bell->unit != unit)
        bell = bell->next;
    if (bell != NULL)
        return bell;
    bell = mem_calloc(1, sizeof(*bell));
    bell->bells = bells;
    bell->unit = unit;
    bell->timer.cb = on_timer;
    h2o_linklist_init_anchor(&bell->listeners);
    bell->next = bells->first;
    return bells->first = bell;
}

void bell_join(struct bells *bells, struct unit *unit, struct bell_listener *listener)
{
    listener->bell = find_or_create(bells, unit);
    h2o_linklist_insert(&listener->bell->listeners, &listener->link);
    if (listener->bell->broker == NULL)
        arm(listener->bell, 0);
}

void bell_leave(struct bell_listener *listener)
{
    struct bell *bell = listener->bell;
    h2o_linklist_unlink(&listener->link);
    if (h2o_linklist_is_empty(&bell->listeners))
        arm(bell, 0);
}

/* The last one that is ready begins the next read, unless that has to wait for its time. */
bool bell_answer(struct bell_listener *listener, bool ready)
{
    struct bell *bell = listener->bell;
    bool blocked = bell->reading || !is_connected(bell);
    listener->ready = ready;
    listener->busy = false;
    if (!blocked && !h2o_timeout_is_linked(&bell->timer))
        read_on(bell);
    return !blocked;
}

void bells_init(struct bells *bells, struct worker *worker)
{
    *bells = (struct bells){.worker = worker};
    broker_h2o_init(&bells->brokers, worker->h2o.loop);
    bells->loop = broker_h2o_loop(&bells->brokers);
}

void bells_flush(struct bells *bells)
{
    broker_h2o_flush(&bells->brokers);
}

void bells_dispose(struct bells *bells)
{
    while (bells->first != NULL) {
        struct bell *bell = bells->first;
        bells->first = bell->next;
        disconnect(bell);
        free(bell);
    }
    timers_dispose(&bells->brokers.timers);
}
