/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/reader.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/entry.h"

#define BLOCK_MS         1000
#define IMPATIENT_MS     20 /* while a partition is left out that may be read soon */
#define RETRY_US         200000
#define WHOLE            1024 /* so many streams are asked for in every read; of more, those that are busy and a slice */
#define BUSY_MOST        512
#define SLICE            512
#define SWEEP_MS         10
#define BUSY_US          2000000 /* after its last entry */
#define RECOUNT_US       20000
#define MOST_AT_ONCE     512 /* entries in one answer; the broker and hiredis hold them all at once */
#define GUESSED_BYTES    4096
#define ARGS_BEFORE_KEYS 6

struct asked {
    struct partition *partition;
    struct stream_id from;
    char from_text[STREAM_ID_TEXT];
};

struct reader {
    struct reader_config config;
    struct broker *broker;
    sd_event_source *pump, *retry;
    bool busy, refused;
    struct asked *asked; /* in the XREAD under way, in order */
    size_t asked_count, asked_room;
    struct partition *busy_ones[BUSY_MOST]; /* where there are more than WHOLE: those that had entries lately */
    size_t busy_count, sweep_at;
    size_t held; /* bytes, as of */
    uint64_t counted_us;
    const char **argv;
    size_t *lens;
    size_t message_bytes; /* how large messages are, guessed from the largest seen lately */
};

/* --- what to ask ------------------------------------------------------------------------------------------------- */

/* Counting many costs, so it is done now and then; what is read meanwhile is added. */
static size_t bytes_held(struct reader *reader, size_t limit)
{
    const struct partition_list *list = reader->config.partitions;
    uint64_t now_us = clock_monotonic_us();
    if (list->count > WHOLE && reader->held < limit && now_us < reader->counted_us + RECOUNT_US)
        return reader->held;
    reader->counted_us = now_us;
    reader->held = 0;
    for (size_t i = 0; i < list->count; i++)
        reader->held += list->items[i]->bytes;
    return reader->held;
}

/* Half a window of room, so that reads come in batches and do not trickle. */
static bool has_room(const struct reader *reader, const struct partition *partition)
{
    return partition->undone <= (size_t)reader->config.options->delivery.window / 2;
}

static void make_room(struct reader *reader, size_t count)
{
    if (count <= reader->asked_room)
        return;
    reader->asked_room = count;
    reader->asked = mem_realloc(reader->asked, count * sizeof(*reader->asked));
    reader->argv = mem_realloc(reader->argv, (ARGS_BEFORE_KEYS + 2 * count) * sizeof(*reader->argv));
    reader->lens = mem_realloc(reader->lens, (ARGS_BEFORE_KEYS + 2 * count) * sizeof(*reader->lens));
}

static bool put_asked(struct reader *reader, struct partition *partition)
{
    if (!partition->linked || partition->quiesced || !has_room(reader, partition))
        return false;
    struct asked *asked = &reader->asked[reader->asked_count++];
    *asked = (struct asked){.partition = partition, .from = partition->last_read};
    stream_id_format(asked->from_text, asked->from);
    return true;
}

static void choose_busy(struct reader *reader)
{
    uint64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < reader->busy_count;) {
        struct partition *partition = reader->busy_ones[i];
        partition->busy = now_us < partition->busy_us + BUSY_US;
        if (partition->busy) {
            put_asked(reader, partition);
            i++;
        } else {
            reader->busy_ones[i] = reader->busy_ones[--reader->busy_count];
        }
    }
}

/* The broker looks at every stream that it is asked for whenever one of them has something: thousands would cost it
 * more than all that is in them. */
static void choose_slice(struct reader *reader)
{
    const struct partition_list *list = reader->config.partitions;
    size_t chosen = 0;
    for (size_t i = 0; i < list->count && chosen < SLICE; i++) {
        struct partition *partition = list->items[reader->sweep_at++ % list->count];
        chosen += !partition->busy && put_asked(reader, partition);
    }
}

static void note_busy(struct reader *reader, struct partition *partition)
{
    partition->busy_us = clock_monotonic_us();
    if (partition->busy || reader->busy_count == BUSY_MOST || reader->config.partitions->count <= WHOLE)
        return;
    partition->busy = true;
    reader->busy_ones[reader->busy_count++] = partition;
}

/* Chooses the partitions; returns how long the broker may take to find something. */
static int64_t choose(struct reader *reader)
{
    const struct partition_list *list = reader->config.partitions;
    reader->asked_count = 0;
    make_room(reader, list->count < WHOLE ? list->count : WHOLE);
    if (list->count > WHOLE) {
        choose_busy(reader);
        choose_slice(reader);
        return SWEEP_MS;
    }
    bool left_out = false;
    for (size_t i = 0; i < list->count; i++)
        left_out |= !put_asked(reader, list->items[i]) && list->items[i]->owned;
    return left_out ? IMPATIENT_MS : BLOCK_MS;
}

/* Entries of each stream that one answer may hold. */
static size_t fair_count(const struct reader *reader, size_t budget)
{
    size_t count = ((size_t)reader->config.options->delivery.window + 1) / 2;
    size_t by_answer = MOST_AT_ONCE / reader->asked_count;
    size_t by_memory = budget / reader->message_bytes / reader->asked_count;
    count = by_answer < count ? by_answer : count;
    count = by_memory < count ? by_memory : count;
    return count > 0 ? count : 1;
}

static bool send_read(struct reader *reader, size_t count, int64_t block_ms, broker_reply_fn done)
{
    char count_text[24], block_text[24];
    snprintf(count_text, sizeof(count_text), "%zu", count);
    snprintf(block_text, sizeof(block_text), "%ld", (long)block_ms);
    const char *const head[ARGS_BEFORE_KEYS] = {"XREAD", "COUNT", count_text, "BLOCK", block_text, "STREAMS"};
    size_t streams = reader->asked_count, argc = ARGS_BEFORE_KEYS + 2 * streams;
    memcpy(reader->argv, head, sizeof(head));
    for (size_t i = 0; i < streams; i++) {
        reader->argv[ARGS_BEFORE_KEYS + i] = reader->asked[i].partition->stream_key;
        reader->argv[ARGS_BEFORE_KEYS + streams + i] = reader->asked[i].from_text;
    }
    for (size_t i = 0; i < argc; i++)
        reader->lens[i] = strlen(reader->argv[i]);
    return broker_command_for(reader->broker, block_ms + reader->config.options->broker.timeout, done, reader,
                              (int)argc, reader->argv, reader->lens);
}

/* --- what came --------------------------------------------------------------------------------------------------- */

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

static void pass_over(struct reader *reader, struct partition *partition, const redisReply *entry)
{
    struct stream_id id;
    if (!entry_id(entry, &id))
        return;
    stat_add(&reader->config.stats->agent_messages_malformed_total, 1);
    log_error("message.malformed", "%s: entry %.*s cannot be delivered and is passed over", partition->stream_key,
              STR_ARG(text_of(entry->element[0])));
    partition_skip(partition, id, 0);
}

static void take_entry(struct reader *reader, struct partition *partition, const redisReply *entry)
{
    struct stream_id id;
    struct envelope envelope;
    size_t bytes_before = partition->bytes;
    if (!entry_read(entry, &id, &envelope)) {
        pass_over(reader, partition, entry);
        return;
    }
    if (!partition_add(partition, id, &envelope))
        return;
    stat_add(&reader->config.stats->agent_messages_read_total, 1);
    size_t bytes = partition->bytes - bytes_before;
    reader->held += bytes;
    reader->message_bytes = bytes > reader->message_bytes ? bytes : reader->message_bytes - reader->message_bytes / 64;
}

/* Whose answer this is: answers keep the order of the question, and hold what is beyond the id that was asked for. That
 * tells subscriptions of one stream apart. */
static struct asked *find_asked(const struct reader *reader, struct str key, struct stream_id first, size_t *at)
{
    for (size_t i = *at; i < reader->asked_count; i++)
        if (str_equal(key, str_of(reader->asked[i].partition->stream_key)) &&
            stream_id_compare(reader->asked[i].from, first) < 0) {
            *at = i + 1;
            return &reader->asked[i];
        }
    return NULL;
}

static bool first_id(const redisReply *entries, struct stream_id *id)
{
    return entries->type == REDIS_REPLY_ARRAY && entries->elements > 0 && entry_id(entries->element[0], id);
}

static void take_answer(struct reader *reader, const redisReply *reply)
{
    size_t at = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        struct stream_id first;
        if (stream->type != REDIS_REPLY_ARRAY || stream->elements != 2 || !first_id(stream->element[1], &first))
            continue;
        const struct asked *asked = find_asked(reader, text_of(stream->element[0]), first, &at);
        /* A partition that was reset meanwhile reads from elsewhere: what came here would leave a gap. */
        if (asked == NULL || !asked->partition->linked ||
            stream_id_compare(asked->from, asked->partition->last_read) != 0)
            continue;
        for (size_t entry = 0; entry < stream->element[1]->elements; entry++)
            take_entry(reader, asked->partition, stream->element[1]->element[entry]);
        note_busy(reader, asked->partition);
        reader->config.read(reader->config.arg, asked->partition);
    }
}

static void on_read(void *arg, const redisReply *reply)
{
    struct reader *reader = arg;
    reader->busy = false;
    if (reply == NULL)
        return;
    bool refused = reply->type == REDIS_REPLY_ERROR;
    if (refused) {
        if (!reader->refused)
            log_error("stream.refused", "the broker refuses to be read: %s", reply->str);
        loop_wake_in(reader->retry, RETRY_US);
    } else {
        if (reply->type == REDIS_REPLY_ARRAY)
            take_answer(reader, reply);
        reader_wake(reader);
    }
    reader->refused = refused;
}

static int on_pump(sd_event_source *source, void *arg)
{
    (void)source;
    struct reader *reader = arg;
    size_t limit = (size_t)reader->config.options->delivery.window_bytes, held = bytes_held(reader, limit);
    if (reader->busy || held >= limit || broker_state(reader->broker) != BROKER_READY)
        return 0;
    int64_t block_ms = choose(reader);
    if (reader->asked_count == 0)
        return 0;
    reader->busy = send_read(reader, fair_count(reader, limit - held), block_ms, on_read);
    return 0;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static int on_retry(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    reader_wake(arg);
    return 0;
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    (void)broker;
    if (state == BROKER_READY)
        reader_wake(arg);
}

void reader_wake(struct reader *reader)
{
    loop_wake(reader->pump);
}

struct reader *reader_create(sd_event *loop, const struct reader_config *config)
{
    struct reader *reader = mem_calloc(1, sizeof(*reader));
    reader->config = *config;
    reader->message_bytes = GUESSED_BYTES;
    reader->pump = loop_later(loop, on_pump, reader);
    reader->retry = loop_timer(loop, on_retry, reader);
    reader->broker = broker_create(config->broker_loop, config->broker, on_state, reader);
    return reader;
}

void reader_destroy(struct reader **reader_p)
{
    struct reader *reader = *reader_p;
    if (reader == NULL)
        return;
    *reader_p = NULL;
    for (size_t i = 0; i < reader->busy_count; i++)
        reader->busy_ones[i]->busy = false;
    broker_destroy(&reader->broker);
    sd_event_source_disable_unref(reader->pump);
    sd_event_source_disable_unref(reader->retry);
    free(reader->asked);
    free(reader->argv);
    free(reader->lens);
    free(reader);
}
