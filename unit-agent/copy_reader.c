/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_reader.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/copies.h"

#define BLOCK_MS      50   /* for so long one that begins to follow may have to wait */
#define IMPATIENT_MS  5    /* while one is left out whose queue is full */
#define PAUSE_US      1500 /* gathers what is written meanwhile: an answer costs the origin much more than an entry */
#define ACCURACY_US   100
#define RETRY_US      200000
#define QUEUE_ENTRIES 4096 /* of a copy, */
#define QUEUE_BYTES   (4u << 20)
#define QUEUE_PART    4   /* that one answer is to bring of it */
#define FEW_ENTRIES   64  /* of all logs in one answer: they may be larger than any that was seen */
#define MOST_ENTRIES  256 /* where the way is so long that the copy waits for the next ones */
#define WORDS_BEFORE  6   /* XREAD BLOCK ms COUNT n STREAMS, */
#define WORDS_TO_WAIT 2   /* of which so many make it wait */
#define AT_ONCE       0   /* in place of the ms */

/* --- what to read ------------------------------------------------------------------------------------------------- */

static void put(struct copy_reads *reads, struct copy *copy)
{
    if (reads->count == reads->room) {
        reads->room = reads->room > 0 ? 2 * reads->room : 16;
        reads->items = mem_realloc(reads->items, reads->room * sizeof(*reads->items));
    }
    reads->items[reads->count++] = (struct copy_read){copy, copy->life, copy->queue.added};
}

static bool is_full(const struct copy *copy)
{
    return copy_queue_count(&copy->queue) >= QUEUE_ENTRIES || copy_queue_bytes(&copy->queue) >= QUEUE_BYTES;
}

/* Returns whether one was left out that may be read soon. */
static bool choose(struct copy_reader *reader)
{
    bool left_out = false;
    reader->asked.count = 0;
    for (struct copy *copy = reader->copies->first; copy != NULL; copy = copy->next) {
        bool follows = copy->phase == COPY_FOLLOWS && !copy->rests && !copy->again;
        if (follows && !is_full(copy))
            put(&reader->asked, copy);
        left_out |= follows && is_full(copy);
    }
    return left_out;
}

/* Of each log. Sizes are guessed from what was seen lately: what is larger comes in small numbers, too. */
static long choose_entries(const struct copy_reader *reader)
{
    size_t fit = QUEUE_BYTES / QUEUE_PART / reader->entry_bytes;
    size_t entries = (fit < reader->most ? fit : reader->most) / reader->asked.count;
    return entries > 1 ? (long)entries : 1;
}

/* The last read was FULL; DRY: the copy has waited for it. */
static void choose_most(struct copy_reader *reader, bool full, bool dry)
{
    if (!full)
        reader->most = FEW_ENTRIES;
    else if (dry && reader->most < MOST_ENTRIES)
        reader->most *= 2;
}

/* --- what was read ------------------------------------------------------------------------------------------------ */

static void on_claimed(void *arg, bool covered);

/* All that stands uncovered in the queues, at once. */
static void claim(struct copy_reader *reader)
{
    if (reader->claiming)
        return;
    reader->claimed.count = 0;
    for (struct copy *copy = reader->copies->first; copy != NULL; copy = copy->next)
        if (copy->queue.covered < copy->queue.added)
            put(&reader->claimed, copy);
    reader->claiming = reader->claimed.count > 0;
    if (reader->claiming)
        copy_source_claim(&reader->copies->source, &reader->claim);
}

/* Not COVERED: the connection was lost, and it may be another broker's by now. */
static void end_reads(struct copy_reads *reads, bool covered)
{
    for (size_t i = 0; i < reads->count; i++) {
        struct copy_read *read = &reads->items[i];
        if (read->life != read->copy->life)
            continue;
        if (!covered) {
            copy_look_again(read->copy);
            continue;
        }
        copy_queue_cover(&read->copy->queue, read->added);
        copy_step(read->copy);
    }
    reads->count = 0;
}

static void on_claimed(void *arg, bool covered)
{
    struct copy_reader *reader = arg;
    reader->claiming = false;
    end_reads(&reader->claimed, covered);
    if (covered)
        claim(reader);
}

/* What the read under way told, by the WAIT behind it. */
static void on_covered(void *arg, bool proven, const char *why)
{
    struct copy_reader *reader = arg;
    (void)why;
    if (proven || !primary_is_ready(&reader->primary)) {
        end_reads(&reader->unproven, proven);
    } else {
        reader->unproven.count = 0;
        claim(reader);
    }
    copy_reader_wake(reader);
}

static void note_unproven(struct copy_reader *reader)
{
    for (size_t i = 0; i < reader->asked.count; i++) {
        struct copy_read *read = &reader->asked.items[i];
        if (read->life == read->copy->life && read->copy->queue.covered < read->copy->queue.added)
            put(&reader->unproven, read->copy);
    }
}

static const struct broker_record *record_of(void *arg)
{
    return &((struct copy_reader *)arg)->copies->source.record;
}

static void take_entry(struct copy_reader *reader, struct copy *copy, const redisReply *entry)
{
    size_t before = copy_queue_bytes(&copy->queue);
    if (!copy_queue_add(&copy->queue, entry))
        return; /* the copy finds that it lacks one */
    size_t bytes = copy_queue_bytes(&copy->queue) - before;
    reader->entry_bytes = bytes > reader->entry_bytes ? bytes : (15 * reader->entry_bytes + bytes) / 16;
    (void)!stream_id_parse((struct str){entry->element[0]->str, (size_t)entry->element[0]->len}, &copy->read);
}

/* LOG: its key and its entries. Returns how many there were. */
static size_t take_log(struct copy_reader *reader, struct copy *copy, const redisReply *entries)
{
    for (size_t i = 0; i < entries->elements; i++)
        take_entry(reader, copy, entries->element[i]);
    copy->origin_seq = copy->read.ms > copy->origin_seq ? copy->read.ms : copy->origin_seq;
    return entries->elements;
}

static const redisReply *log_of(const redisReply *reply, const struct copy *copy)
{
    size_t len = strlen(copy->from);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *log = reply->element[i];
        if (log->type == REDIS_REPLY_ARRAY && log->elements == 2 && log->element[0]->type == REDIS_REPLY_STRING &&
            log->element[1]->type == REDIS_REPLY_ARRAY && strncmp(log->element[0]->str, copy->from, len) == 0 &&
            strcmp(log->element[0]->str + len, "log") == 0)
            return log->element[1];
    }
    return NULL;
}

/* Returns how many entries there were of the log that had most, and whether one of the copies had nothing to apply. */
static size_t take(struct copy_reader *reader, const redisReply *reply, bool *dry)
{
    size_t most = 0;
    for (size_t i = 0; i < reader->asked.count; i++) {
        struct copy *copy = reader->asked.items[i].copy;
        if (reader->asked.items[i].life != copy->life)
            continue;
        const redisReply *entries = log_of(reply, copy);
        *dry |= copy_queue_count(&copy->queue) == 0;
        size_t count = entries != NULL ? take_log(reader, copy, entries) : 0;
        most = count > most ? count : most;
        copy->rests = copy->rules.replication == COLLECTION_SNAPSHOT && copy->live && copy->read.ms >= copy->open_at;
    }
    return most;
}

static void on_read(void *arg, const redisReply *reply)
{
    struct copy_reader *reader = arg;
    reader->reading = reader->flows = false;
    if (reply == NULL)
        return; /* it goes on when the connection is there again */
    bool refused = reply->type == REDIS_REPLY_ERROR, dry = false;
    size_t most = refused ? 0 : take(reader, reply, &dry);
    bool gathers = most > 0 && most < (size_t)reader->entries;
    choose_most(reader, most >= (size_t)reader->entries, dry);
    reader->next_us = clock_monotonic_us() + (refused ? RETRY_US : gathers ? PAUSE_US : 0);
    reader->flows = most > 0 && !copy_source_is_alone(&reader->copies->source);
    if (reader->cover.asking)
        note_unproven(reader);
    else
        claim(reader);
    copy_reader_wake(reader);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool send(struct copy_reader *reader, int64_t block_ms)
{
    char count[24], block[24], (*texts)[PROTOCOL_KEY_MAX + 8];
    size_t streams = reader->asked.count, words = WORDS_BEFORE + 2 * streams;
    const char **argv = mem_calloc(words, sizeof(*argv));
    texts = mem_calloc(2 * streams, sizeof(*texts));
    snprintf(count, sizeof(count), "%ld", reader->entries);
    snprintf(block, sizeof(block), "%ld", (long)block_ms);
    memcpy(argv, (const char *[]){"XREAD", "BLOCK", block, "COUNT", count, "STREAMS"}, WORDS_BEFORE * sizeof(*argv));
    for (size_t i = 0; i < streams; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%slog", reader->asked.items[i].copy->from);
        stream_id_format(texts[streams + i], reader->asked.items[i].copy->read);
        argv[WORDS_BEFORE + i] = texts[i];
        argv[WORDS_BEFORE + streams + i] = texts[streams + i];
    }
    size_t left_out = block_ms == AT_ONCE ? WORDS_TO_WAIT : 0;
    int64_t deadline_ms = block_ms + reader->copies->config.options->broker.timeout;
    argv[left_out] = argv[0];
    bool sent = broker_command_for(reader->primary.broker, deadline_ms, on_read, reader, (int)(words - left_out),
                                   argv + left_out, NULL);
    free(texts);
    free(argv);
    return sent;
}

/* Where changes flow there is something to read: the read does not wait for it, and a WAIT behind it speaks of it. */
static void read_logs(struct copy_reader *reader, bool left_out)
{
    reader->entries = choose_entries(reader);
    reader->reading = send(reader, reader->flows ? AT_ONCE : left_out ? IMPATIENT_MS : BLOCK_MS);
    if (reader->reading && reader->flows)
        (void)!cover_ask_behind(&reader->cover, reader->primary.broker);
}

static int on_turn(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct copy_reader *reader = arg;
    uint64_t now_us = clock_monotonic_us();
    if (reader->reading || reader->cover.asking || !primary_is_ready(&reader->primary))
        return 0;
    if (now_us < reader->next_us)
        return loop_wake_in(source, reader->next_us - now_us);
    bool left_out = choose(reader);
    if (reader->asked.count > 0)
        read_logs(reader, left_out);
    return 0;
}

void copy_reader_wake(struct copy_reader *reader)
{
    if (!reader->reading && !reader->cover.asking)
        loop_wake_in(reader->turn, 0);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct copy_reader *reader = arg;
    (void)broker;
    if (state == BROKER_READY)
        copy_reader_wake(reader);
}

void copy_reader_adopt(struct copy_reader *reader, struct str primary)
{
    primary_adopt(&reader->primary, primary);
}

void copy_reader_init(struct copy_reader *reader, struct copies *copies)
{
    *reader = (struct copy_reader){.copies = copies, .entry_bytes = 256, .most = FEW_ENTRIES};
    reader->claim = (struct copy_claim){.done = on_claimed, .arg = reader};
    reader->cover = (struct cover){.record = record_of, .ended = on_covered, .arg = reader};
    reader->turn = loop_timer(copies->loop, on_turn, reader);
    (void)sd_event_source_set_time_accuracy(reader->turn, ACCURACY_US);
    primary_init(&reader->primary, copies->loop, copies->config.options, copies->config.password, on_state, reader);
}

void copy_reader_close(struct copy_reader *reader)
{
    primary_close(&reader->primary);
    sd_event_source_disable_unref(reader->turn);
    free(reader->asked.items);
    free(reader->claimed.items);
    free(reader->unproven.items);
}
