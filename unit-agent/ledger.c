/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "unit-agent/survey.h"

#define RETRY_US   100000 /* after a cursor write that the broker refused */
#define TRIM_MOST  "10000"
#define SCAN_COUNT "1000"

struct ledger {
    sd_event *loop;
    struct ledger_config config;
    struct broker *broker;
    sd_event_source *flush, *retry;
    bool holding;                      /* `retry` runs */
    bool refused;                      /* the last cursor write was, and the log has it */
    struct partition_record recording; /* reused from write to write */
    struct partition *first, **last;   /* to be recorded */
};

/* What a reply belongs to. */
struct errand {
    struct ledger *ledger;
    struct partition *partition;
    struct cursor cursor; /* linking: what HMGET said */
    bool has_cursor;
    unsigned owed; /* replies */
};

static struct errand *errand_create(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = mem_calloc(1, sizeof(*errand));
    errand->ledger = ledger;
    errand->partition = partition;
    return errand;
}

/* With the last reply that it waited for. */
static void errand_end(struct errand *errand)
{
    if (errand->owed > 0 && --errand->owed > 0)
        return;
    cursor_free(&errand->cursor);
    free(errand);
}

#define SEND(ledger, done, arg, ...)                                                                                   \
    send_command(ledger, done, arg, (const char *const[]){__VA_ARGS__},                                                \
                 sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static bool send_command(struct ledger *ledger, broker_reply_fn done, void *arg, const char *const *argv, size_t count)
{
    size_t lens[24];
    INVARIANT(count <= 24);
    for (size_t i = 0; i < count; i++)
        lens[i] = strlen(argv[i]);
    return broker_command(ledger->broker, done, arg, (int)count, argv, lens);
}

static const char *reply_fault(const redisReply *reply)
{
    return reply == NULL ? "no answer" : reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

/* --- cursors ----------------------------------------------------------------------------------------------------- */

static void wake(struct ledger *ledger);

static int on_retry(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct ledger *ledger = arg;
    ledger->holding = false;
    wake(ledger);
    return 0;
}

static void hold(struct ledger *ledger)
{
    ledger->holding = true;
    sd_event_source_set_time_relative(ledger->retry, RETRY_US);
    sd_event_source_set_enabled(ledger->retry, SD_EVENT_ONESHOT);
}

static void on_recorded(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct ledger *ledger = errand->ledger;
    const char *fault = reply_fault(reply);
    if (fault != NULL) {
        stat_add(&ledger->config.stats->agent_cursor_failures_total, 1);
        if (!ledger->refused)
            log_warning("cursor.refused", "%s: %s; users wait until it is written", errand->partition->cursor_key,
                        fault);
        hold(ledger);
    }
    ledger->refused = fault != NULL;
    partition_end_write(errand->partition, fault == NULL);
    if (errand->partition->dirty)
        ledger_note(ledger, errand->partition);
    errand_end(errand);
    ledger->config.progress(ledger->config.arg);
}

static const char *number_text(char text[24], uint64_t number)
{
    text[str_from_u64(number, text)] = '\0';
    return text;
}

static void record(struct ledger *ledger, struct partition *partition)
{
    struct partition_record *cursor = &ledger->recording;
    char watermark[STREAM_ID_TEXT], passed[24], beyond[24];
    struct errand *errand = errand_create(ledger, partition);
    partition_begin_write(partition, cursor);
    stream_id_format(watermark, cursor->watermark);
    stat_add(&ledger->config.stats->agent_cursor_writes_total, 1);
    if (!SEND(ledger, on_recorded, errand, "FCALL", "ldc1_commit", "2", partition->cursor_key, partition->state_key, "",
              watermark, cursor->done.base, number_text(passed, cursor->passed), number_text(beyond, cursor->beyond))) {
        partition_end_write(partition, false);
        errand_end(errand);
    }
}

/* What cannot be recorded now is noted again by what makes it possible: the end of a write, the link. */
static int on_flush(sd_event_source *source, void *arg)
{
    (void)source;
    struct ledger *ledger = arg;
    if (ledger->holding || broker_state(ledger->broker) != BROKER_READY)
        return 0;
    struct partition *partition = ledger->first;
    ledger->first = NULL;
    ledger->last = &ledger->first;
    while (partition != NULL) {
        struct partition *next = partition->next_recorded;
        partition->queued = false;
        if (partition->linked && partition->dirty && !partition->writing)
            record(ledger, partition);
        partition = next;
    }
    return 0;
}

static void wake(struct ledger *ledger)
{
    sd_event_source_set_enabled(ledger->flush, SD_EVENT_ONESHOT);
}

void ledger_note(struct ledger *ledger, struct partition *partition)
{
    if (!partition->queued) {
        partition->queued = true;
        partition->next_recorded = NULL;
        *ledger->last = partition;
        ledger->last = &partition->next_recorded;
    }
    wake(ledger);
}

bool ledger_idle(const struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->config.partitions->count; i++)
        if (ledger->config.partitions->items[i]->dirty || ledger->config.partitions->items[i]->writing)
            return false;
    return true;
}

/* --- linking ----------------------------------------------------------------------------------------------------- */

static struct str reply_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

static void on_cursor(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    const char *fault = reply_fault(reply);
    if (fault == NULL && (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4))
        fault = "not the answer to HMGET";
    if (fault == NULL && !cursor_decode(reply_text(reply->element[0]), reply_text(reply->element[1]),
                                        reply_text(reply->element[2]), &errand->cursor))
        fault = "it is malformed";
    if (fault == NULL)
        (void)str_to_u64(reply_text(reply->element[3]), &errand->cursor.beyond);
    errand->has_cursor = fault == NULL;
    if (fault != NULL && reply != NULL)
        log_error("cursor.unreadable", "%s: %s; the partition is not delivered", errand->partition->cursor_key, fault);
    errand_end(errand);
}

/* A stream that ends before what was read or recorded: the broker was restored from an older state, or emptied. What it
 * holds now counts. */
static void tell_regression(struct ledger *ledger, const struct partition *partition)
{
    stat_add(&ledger->config.stats->agent_stream_regressions_total, 1);
    log_warning("stream.regressed",
                "%s ends before what this agent knows: the broker lost entries; delivery starts from its cursor",
                partition->stream_key);
}

static void link_partition(struct ledger *ledger, struct partition *partition, struct cursor *cursor,
                           const struct survey *survey)
{
    bool regressed = partition->restored && stream_id_compare(survey->last, partition->last_read) < 0;
    if (regressed)
        partition_reset(partition);
    if (!partition->restored) {
        regressed |= cursor_clip(cursor, survey->last);
        partition_restore(partition, cursor);
    }
    if (regressed)
        tell_regression(ledger, partition);
    partition_survey(partition, survey->last_there, survey->total);
    partition->linked = true;
    if (partition->dirty)
        ledger_note(ledger, partition);
}

static void on_link_survey(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct ledger *ledger = errand->ledger;
    struct survey survey;
    struct error err;
    if (reply != NULL && errand->has_cursor) {
        if (survey_read(reply, 0, &survey, &err) != 0)
            log_error("stream.unreadable", "%s: %s; the partition is not delivered", errand->partition->stream_key,
                      err.text);
        else if (!errand->partition->linked)
            link_partition(ledger, errand->partition, &errand->cursor, &survey);
    }
    errand_end(errand);
    ledger->config.progress(ledger->config.arg);
}

/* Both commands leave in one write; the second answer decides, with what the first one brought. */
static void begin_link(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = errand_create(ledger, partition);
    errand->owed +=
        SEND(ledger, on_cursor, errand, "HMGET", partition->cursor_key, "watermark", "done", "passed", "beyond");
    errand->owed +=
        SEND(ledger, on_link_survey, errand, "FCALL", "ldc1_survey", "2", partition->stream_key, partition->state_key);
    if (errand->owed == 0)
        errand_end(errand);
}

/* --- discovery --------------------------------------------------------------------------------------------------- */

static void discover(struct ledger *ledger, const char *position);

static void on_discovered(void *arg, const redisReply *reply)
{
    struct ledger *ledger = arg;
    bool added = false;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING) {
        log_warning("stream.discovery", "the broker does not list its streams: %s", reply->str ? reply->str : "");
        return;
    }
    const redisReply *keys = reply->element[1];
    for (size_t i = 0; i < keys->elements; i++)
        added |= ledger->config.found(ledger->config.arg, reply_text(keys->element[i]));
    if (added)
        ledger_tick(ledger);
    if (strcmp(reply->element[0]->str, "0") != 0)
        discover(ledger, reply->element[0]->str);
}

/* Topics and partitions that the rules no longer name may still hold messages that were accepted. */
static void discover(struct ledger *ledger, const char *position)
{
    char pattern[PROTOCOL_KEY_MAX];
    snprintf(pattern, sizeof(pattern), "ldc:{%.*s/*}:stream", STR_ARG(ledger->config.unit));
    (void)!SEND(ledger, on_discovered, ledger, "SCAN", position, "MATCH", pattern, "COUNT", SCAN_COUNT, "TYPE",
                "stream");
}

/* --- surveys and trimming ---------------------------------------------------------------------------------------- */

static void on_trimmed(void *arg, const redisReply *reply)
{
    struct ledger *ledger = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
        stat_add(&ledger->config.stats->agent_entries_trimmed_total, (uint64_t)reply->integer);
}

/* Never beyond what the broker confirmed as done. Whole nodes of the stream go at a time, which costs little. */
static void trim(struct ledger *ledger, struct partition *partition, const struct survey *survey)
{
    uint64_t now_ms = clock_wall_us() / 1000, kept_ms = (uint64_t)partition->retention_ms;
    struct stream_id least = {now_ms > kept_ms ? now_ms - kept_ms : 0, 0};
    char text[STREAM_ID_TEXT];
    if (stream_id_compare(partition->recorded, least) < 0)
        least = partition->recorded;
    if (stream_id_compare(survey->first, least) >= 0)
        return;
    stream_id_format(text, least);
    (void)!SEND(ledger, on_trimmed, ledger, "XTRIM", partition->stream_key, "MINID", "~", text, "LIMIT", TRIM_MOST);
}

static void on_survey(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct survey survey;
    if (reply != NULL && errand->partition->linked && survey_read(reply, 0, &survey, NULL) == 0) {
        partition_survey(errand->partition, survey.last_there, survey.total);
        if (errand->partition->dirty)
            ledger_note(errand->ledger, errand->partition);
        trim(errand->ledger, errand->partition, &survey);
    }
    errand_end(errand);
}

static void begin_survey(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = errand_create(ledger, partition);
    if (!SEND(ledger, on_survey, errand, "FCALL", "ldc1_survey", "2", partition->stream_key, partition->state_key))
        errand_end(errand);
}

void ledger_tick(struct ledger *ledger)
{
    if (broker_state(ledger->broker) != BROKER_READY)
        return;
    for (size_t i = 0; i < ledger->config.partitions->count; i++) {
        struct partition *partition = ledger->config.partitions->items[i];
        if (partition->linked)
            begin_survey(ledger, partition);
        else
            begin_link(ledger, partition);
    }
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void unlink_all(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->config.partitions->count; i++)
        ledger->config.partitions->items[i]->linked = false;
}

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct ledger *ledger = arg;
    if (ledger->broker == NULL) /* told from within broker_create */
        ledger->broker = broker;
    if (state == BROKER_READY) {
        log_info("broker.up", "%s serves", ledger->config.broker->url);
        ledger_tick(ledger);
        discover(ledger, "0");
    } else if (state == BROKER_DOWN) {
        if (stat_get(&ledger->config.stats->agent_broker_up))
            log_warning("broker.down", "%s: %s; what is in memory goes on", ledger->config.broker->url,
                        broker_fault(broker));
        unlink_all(ledger);
    }
    stat_set(&ledger->config.stats->agent_broker_up, state == BROKER_READY);
    ledger->config.changed(ledger->config.arg);
}

const char *ledger_fault(const struct ledger *ledger)
{
    return broker_state(ledger->broker) == BROKER_READY ? NULL : broker_fault(ledger->broker);
}

struct ledger *ledger_create(sd_event *loop, const struct ledger_config *config)
{
    struct ledger *ledger = mem_calloc(1, sizeof(*ledger));
    ledger->loop = loop;
    ledger->config = *config;
    ledger->last = &ledger->first;
    INVARIANT(sd_event_add_defer(loop, &ledger->flush, on_flush, ledger) >= 0);
    INVARIANT(sd_event_source_set_enabled(ledger->flush, SD_EVENT_OFF) >= 0);
    INVARIANT(sd_event_add_time(loop, &ledger->retry, CLOCK_MONOTONIC, 0, 0, on_retry, ledger) >= 0);
    INVARIANT(sd_event_source_set_enabled(ledger->retry, SD_EVENT_OFF) >= 0);
    ledger->broker = broker_create(config->broker_loop, config->broker, on_state, ledger);
    return ledger;
}

void ledger_destroy(struct ledger **ledger_p)
{
    struct ledger *ledger = *ledger_p;
    if (ledger == NULL)
        return;
    *ledger_p = NULL;
    broker_destroy(&ledger->broker);
    unlink_all(ledger);
    for (size_t i = 0; i < ledger->config.partitions->count; i++)
        ledger->config.partitions->items[i]->queued = false;
    sd_event_source_disable_unref(ledger->flush);
    sd_event_source_disable_unref(ledger->retry);
    buf_free(&ledger->recording.done);
    free(ledger);
}
