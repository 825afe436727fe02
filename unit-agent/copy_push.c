/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_push.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/http_client.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/cover.h"
#include "unit-agent/push_batch.h"
#include "unit-agent/retry.h"

#define LOOK_US     100000 /* between two looks where nobody says that something has changed */
#define PATIENCE_MS 600000 /* the longest wait that an app may ask for */
#define HEADER_SIZE 160

struct copy_push {
    struct copy_push_config config;
    sd_event *loop;
    sd_event_source *timer;
    struct http_client *client; /* NULL until there is somebody to tell */
    char key[PROTOCOL_KEY_MAX + 8];
    char run_id[BROKER_RUN_ID_SIZE]; /* of the broker that the cursor is of */
    struct push_cursor cursor;
    bool known, busy, again; /* AGAIN: woken meanwhile */
    struct push_batch batch;
    struct cover cover;
    int64_t wait_ms; /* after the last failure; 0: there was none */
    char fault[160]; /* as the log told it last */
};

static void rest(struct copy_push *push, uint64_t us)
{
    push->busy = false;
    loop_wake_in(push->timer, push->again ? 0 : us);
    push->again = false;
}

static void note_fault(struct copy_push *push, const char *fault)
{
    if (fault[0] != '\0' && strcmp(fault, push->fault) != 0)
        log_warning("push.failed", "%.*s does not take the changes of %.*s: %s", STR_ARG(*push->config.url),
                    STR_ARG(push->config.collection), fault);
    else if (fault[0] == '\0' && push->fault[0] != '\0')
        log_info("push.taken", "%.*s takes the changes of %.*s again", STR_ARG(*push->config.url),
                 STR_ARG(push->config.collection));
    snprintf(push->fault, sizeof(push->fault), "%s", fault);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

static void on_kept(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply; /* where it was not, the app is told some of it again */
}

static void keep_cursor(struct copy_push *push)
{
    char text[PUSH_CURSOR];
    struct broker *broker = push->config.broker(push->config.arg);
    push->cursor = push->batch.next;
    push_cursor_format(&push->cursor, text);
    push->known = broker != NULL && strcmp(broker_run_id(broker), push->run_id) == 0 &&
                  broker_command(broker, on_kept, push, 3, (const char *[]){"SET", push->key, text}, NULL);
}

/* What it asks for, or longer each time. */
static uint64_t next_try_us(struct copy_push *push, const struct http_response *response)
{
    const struct agent_config *options = push->config.options;
    int64_t wait_ms = push->wait_ms * 2, asked_ms = response->retry_after_ms;
    wait_ms = wait_ms < options->delivery.backoff_min   ? options->delivery.backoff_min
              : wait_ms > options->delivery.backoff_max ? options->delivery.backoff_max
                                                        : wait_ms;
    push->wait_ms = wait_ms;
    asked_ms = asked_ms > PATIENCE_MS ? PATIENCE_MS : asked_ms;
    return 1000 * (uint64_t)(asked_ms > wait_ms ? asked_ms : wait_ms);
}

static void on_answer(void *arg, const struct http_response *response)
{
    struct copy_push *push = arg;
    char fault[sizeof(push->fault)] = "";
    if (response->status / 100 == 2) {
        stat_add(&push->config.stats->agent_pushed_total, push->batch.count);
        push->wait_ms = 0;
        note_fault(push, "");
        keep_cursor(push);
        rest(push, 0);
        return;
    }
    if (response->status != 0)
        snprintf(fault, sizeof(fault), "it answered %ld", response->status);
    else
        snprintf(fault, sizeof(fault), "%s", response->error);
    stat_add(&push->config.stats->agent_push_failures_total, 1);
    note_fault(push, fault);
    push->again = false;
    rest(push, next_try_us(push, response));
}

static void tell(struct copy_push *push)
{
    const struct agent_config *options = push->config.options;
    char unit[HEADER_SIZE], collection[HEADER_SIZE];
    snprintf(unit, sizeof(unit), "LDC-Unit: %s", options->unit);
    snprintf(collection, sizeof(collection), "LDC-Collection: %.*s", STR_ARG(push->config.collection));
    const char *headers[] = {"Content-Type: application/cloudevents-batch+json", unit, collection, NULL};
    if (push->client == NULL)
        push->client = http_client_create(push->loop, 1);
    http_client_start(push->client,
                      &(struct http_request){.method = "POST",
                                             .url = push->config.url->base,
                                             .headers = headers,
                                             .body = buf_str(&push->batch.body),
                                             .timeout_ms = options->delivery.timeout,
                                             .connect_timeout_ms = options->delivery.connect_timeout},
                      NULL, on_answer, push);
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static const struct broker_record *record_of(void *arg)
{
    const struct copy_push_config *config = &((struct copy_push *)arg)->config;
    return config->record(config->arg);
}

static void on_covered(void *arg, bool covered, const char *why)
{
    (void)why;
    struct copy_push *push = arg;
    if (covered && push->config.url->len > 0)
        tell(push);
    else
        rest(push, LOOK_US);
}

static void on_changes(void *arg, const redisReply *reply)
{
    struct copy_push *push = arg;
    if (!push_batch_make(&push->batch, reply, &push->cursor, str_of(push->config.options->unit),
                         push->config.collection)) {
        rest(push, LOOK_US);
        return;
    }
    bool further = stream_id_compare(push->batch.next.last, push->cursor.last) != 0;
    if (push->batch.count == 0) {
        push->cursor = push->batch.next;
        rest(push, further ? 0 : LOOK_US);
        return;
    }
    struct broker *broker = push->config.broker(push->config.arg);
    if (push->config.record == NULL || record_of(push)->member_count == 1) /* it is in sync alone: none can take over */
        on_covered(push, true, "");
    else if (broker == NULL || !cover_ask(&push->cover, broker))
        rest(push, LOOK_US);
}

static void on_cursor(void *arg, const redisReply *reply)
{
    struct copy_push *push = arg;
    bool told = reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_NIL ||
                                  broker_is_error(reply, "WRONGTYPE")); /* put there by hand: it is written over */
    push->known = told;
    if (told)
        push_cursor_parse(&push->cursor,
                          reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : STR_LIT(""));
    rest(push, told ? 0 : LOOK_US);
}

/* Another app knows nothing of what this one was told. */
static void begin_anew_for(struct copy_push *push, struct str url)
{
    uint64_t app = XXH3_64bits(url.base, url.len);
    if (push->cursor.app != app)
        push->cursor = (struct push_cursor){.app = app};
}

static bool look(struct copy_push *push, struct broker *broker)
{
    char id[STREAM_ID_TEXT], most[16];
    if (strcmp(broker_run_id(broker), push->run_id) != 0)
        push->known = false;
    snprintf(push->run_id, sizeof(push->run_id), "%s", broker_run_id(broker));
    if (!push->known)
        return broker_command(broker, on_cursor, push, 2, (const char *[]){"GET", push->key}, NULL);
    begin_anew_for(push, *push->config.url);
    stream_id_format(id, push->cursor.last);
    snprintf(most, sizeof(most), "%d", PUSH_BATCH_MOST);
    return broker_command(broker, on_changes, push, 6,
                          (const char *[]){"FCALL", "ldc1_c_changes", "1", push->config.at, id, most}, NULL);
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct copy_push *push = arg;
    if (push->busy)
        return 0;
    struct broker *broker = push->config.url->len > 0 ? push->config.broker(push->config.arg) : NULL;
    push->known = push->known && broker != NULL;
    push->busy = broker != NULL && look(push, broker);
    return push->busy ? 0 : loop_wake_in(source, LOOK_US);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void copy_push_wake(struct copy_push *push)
{
    push->again = push->busy;
    if (!push->busy && push->wait_ms == 0)
        loop_wake_in(push->timer, 0);
}

uint64_t copy_push_pending(const struct copy_push *push)
{
    return push->known && push->batch.seq > push->cursor.last.ms ? push->batch.seq - push->cursor.last.ms : 0;
}

struct copy_push *copy_push_create(sd_event *loop, const struct copy_push_config *config)
{
    struct copy_push *push = mem_calloc(1, sizeof(*push));
    push->config = *config;
    push->loop = loop;
    push->cover = (struct cover){.record = record_of, .ended = on_covered, .arg = push};
    snprintf(push->key, sizeof(push->key), "%spushed", config->at);
    push->timer = loop_timer(loop, on_time, push);
    loop_wake_in(push->timer, 0);
    return push;
}

void copy_push_destroy(struct copy_push **slot)
{
    struct copy_push *push = *slot;
    if (push == NULL)
        return;
    *slot = NULL;
    http_client_destroy(&push->client);
    sd_event_source_disable_unref(push->timer);
    push_batch_free(&push->batch);
    free(push);
}
