/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "unit-agent/lease.h"
#include "unit-agent/survey.h"

#define RETRY_US         100000 /* after a cursor write that the broker refused */
#define TRIM_MOST        "10000"
#define SCAN_COUNT       "1000"
#define LEDGER_ARGS      160 /* of one command */
#define ARGS_BEHIND_KEYS 8
#define LINKS_AT_ONCE    512
#define SURVEYS_AT_ONCE  64   /* partitions in one command */
#define SURVEYS_A_TICK   2048 /* the others wait for the next ones */

struct ledger {
    sd_event *loop;
    struct ledger_config config;
    struct broker *broker;
    sd_event_source *flush, *retry;
    bool holding;                      /* `retry` runs */
    bool refused;                      /* the last cursor write was, and the log has it */
    struct partition_record recording; /* reused from write to write */
    struct partition *first, **last;   /* to be recorded */
    size_t links;                      /* under way */
    size_t survey_at;                  /* where the next tick goes on */
};

/* What a reply belongs to. */
struct errand {
    struct ledger *ledger;
    struct partition *partition;
    uint32_t life;           /* of the partition, when it was asked for */
    struct cursor cursor;    /* linking: what HMGET said */
    bool has_cursor, is_new; /* IS_NEW: the broker holds none */
    unsigned owed;           /* replies */
};

static struct errand *errand_create(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = mem_calloc(1, sizeof(*errand));
    errand->ledger = ledger;
    errand->partition = partition;
    errand->life = partition->life;
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
    size_t lens[LEDGER_ARGS];
    INVARIANT(count <= LEDGER_ARGS);
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

static bool is_fence(const redisReply *reply)
{
    return reply != NULL && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LDC_LEASE", 9) == 0;
}

static void tell_refusal(struct ledger *ledger, const struct partition *partition, const char *fault)
{
    stat_add(&ledger->config.stats->agent_cursor_failures_total, 1);
    if (!ledger->refused)
        log_warning("cursor.refused", "%s: %s; users wait until it is written", partition->cursor_key, fault);
    hold(ledger);
}

static void on_recorded(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct ledger *ledger = errand->ledger;
    struct partition *partition = errand->partition;
    const char *fault = reply_fault(reply);
    if (errand->life != partition->life) {
        errand_end(errand);
        return;
    }
    errand_end(errand);
    if (fault != NULL && !is_fence(reply))
        tell_refusal(ledger, partition, fault);
    ledger->refused = fault != NULL;
    partition_end_write(partition, fault == NULL);
    if (is_fence(reply))
        ledger->config.fenced(ledger->config.arg, partition);
    else if (partition->dirty)
        ledger_note(ledger, partition);
    ledger->config.progress(ledger->config.arg);
}

/* The state, and the cursors of the other shared subscriptions: together they make the floor. */
static size_t add_shared(const struct partition *partition, const char **argv, size_t argc)
{
    argv[argc++] = partition->state_key;
    const struct partition *sibling = partition->lease != NULL ? partition->lease->first : NULL;
    for (; sibling != NULL && argc < LEDGER_ARGS - ARGS_BEHIND_KEYS; sibling = sibling->sibling)
        if (!sibling->broadcast && sibling->owned && sibling != partition)
            argv[argc++] = sibling->cursor_key;
    return argc;
}

static const char *number_text(char text[24], uint64_t number)
{
    text[str_from_u64(number, text)] = '\0';
    return text;
}

static bool send_record(struct errand *errand, const struct partition_record *cursor)
{
    struct ledger *ledger = errand->ledger;
    struct partition *partition = errand->partition;
    char watermark[STREAM_ID_TEXT], passed[24], beyond[24], keys[24];
    const char *argv[LEDGER_ARGS] = {"FCALL", "ldc1_commit"};
    size_t argc = 3;
    argv[argc++] = partition->cursor_key;
    if (!partition->broadcast)
        argc = add_shared(partition, argv, argc);
    argv[2] = number_text(keys, argc - 3);
    stream_id_format(watermark, cursor->watermark);
    argv[argc++] = ledger->config.owner.base;
    argv[argc++] = watermark;
    argv[argc++] = cursor->done.base;
    argv[argc++] = number_text(passed, cursor->passed);
    argv[argc++] = number_text(beyond, cursor->beyond);
    return send_command(ledger, on_recorded, errand, argv, argc);
}

static void record(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = errand_create(ledger, partition);
    partition_begin_write(partition, &ledger->recording);
    stat_add(&ledger->config.stats->agent_cursor_writes_total, 1);
    if (!send_record(errand, &ledger->recording)) {
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
    errand->is_new = fault == NULL && reply->element[0]->type == REDIS_REPLY_NIL;
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

static bool is_foreign(const struct ledger *ledger, const struct partition *partition, const struct survey *survey)
{
    return !partition->broadcast && !str_equal(survey->owner, ledger->config.owner);
}

/* Who listens from now on hears what comes from now on. */
static void begin_at_end(struct partition *partition, const struct survey *survey)
{
    struct cursor cursor = {.watermark = survey->last, .passed = survey->total};
    partition_restore(partition, &cursor);
    partition->dirty = true;
}

static void link_partition(struct ledger *ledger, struct errand *errand, const struct survey *survey)
{
    struct partition *partition = errand->partition;
    struct cursor *cursor = &errand->cursor;
    bool regressed = partition->restored && stream_id_compare(survey->last, partition->last_read) < 0;
    if (regressed)
        partition_reset(partition);
    if (!partition->restored && partition->broadcast && errand->is_new) {
        begin_at_end(partition, survey);
    } else if (!partition->restored) {
        regressed |= cursor_clip(cursor, survey->last);
        partition_restore(partition, cursor);
    }
    if (regressed)
        tell_regression(ledger, partition);
    if (is_foreign(ledger, partition, survey)) {
        ledger->config.fenced(ledger->config.arg, partition);
        return;
    }
    partition_survey(partition, survey->last_there, survey->total);
    partition->linked = true;
    if (partition->dirty)
        ledger_note(ledger, partition);
}

static void link_some(struct ledger *ledger);

static void end_link(struct errand *errand)
{
    struct ledger *ledger = errand->ledger;
    if (errand->life == errand->partition->life)
        errand->partition->linking = false;
    errand_end(errand);
    if (--ledger->links == LINKS_AT_ONCE / 2)
        link_some(ledger);
    ledger->config.progress(ledger->config.arg);
}

static void on_link_survey(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    struct partition *partition = errand->partition;
    struct survey survey;
    struct error err;
    if (reply != NULL && errand->has_cursor && errand->life == partition->life) {
        if (survey_read(reply, 0, &survey, &err) != 0)
            log_error("stream.unreadable", "%s: %s; the partition is not delivered", partition->stream_key, err.text);
        else
            link_partition(errand->ledger, errand, &survey);
    }
    end_link(errand);
}

/* Both commands leave in one write; the second answer decides, with what the first one brought. */
static void begin_link(struct ledger *ledger, struct partition *partition)
{
    struct errand *errand = errand_create(ledger, partition);
    bool sent =
        SEND(ledger, on_cursor, errand, "HMGET", partition->cursor_key, "watermark", "done", "passed", "beyond");
    errand->owed = sent;
    sent = sent && SEND(ledger, on_link_survey, errand, "FCALL", "ldc1_survey", "2", partition->stream_key,
                        partition->state_key);
    errand->owed += sent;
    partition->linking = sent;
    ledger->links += sent;
    if (errand->owed == 0)
        errand_end(errand);
}

/* So many at a time, for an agent may come to own thousands at once. */
static void link_some(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->config.partitions->count && ledger->links < LINKS_AT_ONCE; i++) {
        struct partition *partition = ledger->config.partitions->items[i];
        if (partition->owned && !partition->linked && !partition->linking)
            begin_link(ledger, partition);
    }
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
        ledger_link(ledger);
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

/* Never beyond what the cursors of all subscriptions say: the broker looks at them once more. Whole nodes of the stream
 * go at a time, which costs little. */
static void trim(struct ledger *ledger, struct partition *partition, const struct survey *survey)
{
    uint64_t now_ms = clock_wall_us() / 1000, kept_ms = (uint64_t)partition->retention_ms;
    struct stream_id least = {now_ms > kept_ms ? now_ms - kept_ms : 0, 0};
    const char *argv[LEDGER_ARGS] = {"FCALL", "ldc1_trim", NULL, partition->stream_key};
    char text[STREAM_ID_TEXT], keys[24], shared[24];
    size_t argc = 4;
    const struct partition *at = partition->lease != NULL ? partition->lease->first : partition;
    for (; at != NULL && argc < LEDGER_ARGS - ARGS_BEHIND_KEYS; at = at->sibling) {
        if (at->broadcast || !at->owned)
            continue;
        least = stream_id_compare(at->recorded, least) < 0 ? at->recorded : least;
        argv[argc++] = at->cursor_key;
    }
    if (stream_id_compare(survey->first, least) >= 0)
        return;
    argv[2] = number_text(keys, argc - 3);
    number_text(shared, argc - 4);
    stream_id_format(text, least);
    argv[argc++] = shared;
    argv[argc++] = text;
    argv[argc++] = TRIM_MOST;
    (void)!send_command(ledger, on_trimmed, ledger, argv, argc);
}

/* Many partitions, asked about in one command. */
struct round {
    struct ledger *ledger;
    size_t count;
    struct {
        struct partition *partition;
        uint32_t life;
    } items[SURVEYS_AT_ONCE];
};

static void take_survey(struct ledger *ledger, struct partition *partition, const struct survey *survey)
{
    if (is_foreign(ledger, partition, survey)) {
        ledger->config.fenced(ledger->config.arg, partition);
        return;
    }
    partition_survey(partition, survey->last_there, survey->total);
    if (partition->dirty)
        ledger_note(ledger, partition);
    if (lease_led_by(partition))
        trim(ledger, partition, survey);
}

static void on_surveyed(void *arg, const redisReply *reply)
{
    struct round *round = arg;
    struct survey survey;
    for (size_t i = 0; i < round->count && reply != NULL; i++) {
        struct partition *partition = round->items[i].partition;
        if (round->items[i].life == partition->life && partition->linked && survey_read(reply, i, &survey, NULL) == 0)
            take_survey(round->ledger, partition, &survey);
    }
    free(round);
}

static void send_round(struct round *round)
{
    const char *argv[LEDGER_ARGS] = {"FCALL", "ldc1_survey"};
    char keys[24];
    size_t argc = 3;
    for (size_t i = 0; i < round->count; i++) {
        argv[argc++] = round->items[i].partition->stream_key;
        argv[argc++] = round->items[i].partition->state_key;
    }
    argv[2] = number_text(keys, argc - 3);
    if (!send_command(round->ledger, on_surveyed, round, argv, argc))
        free(round);
}

static struct round *round_put(struct ledger *ledger, struct round *round, struct partition *partition)
{
    if (round == NULL) {
        round = mem_alloc(sizeof(*round));
        round->ledger = ledger;
        round->count = 0;
    }
    round->items[round->count].partition = partition;
    round->items[round->count++].life = partition->life;
    if (round->count < SURVEYS_AT_ONCE)
        return round;
    send_round(round);
    return NULL;
}

static void survey_some(struct ledger *ledger)
{
    const struct partition_list *list = ledger->config.partitions;
    struct round *round = NULL;
    size_t asked = 0;
    for (size_t i = 0; i < list->count && asked < SURVEYS_A_TICK; i++) {
        struct partition *partition = list->items[ledger->survey_at++ % list->count];
        if (!partition->linked)
            continue;
        round = round_put(ledger, round, partition);
        asked++;
    }
    if (round != NULL)
        send_round(round);
}

void ledger_link(struct ledger *ledger)
{
    if (broker_state(ledger->broker) == BROKER_READY)
        link_some(ledger);
}

void ledger_tick(struct ledger *ledger)
{
    if (broker_state(ledger->broker) != BROKER_READY)
        return;
    link_some(ledger);
    survey_some(ledger);
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void unlink_all(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->config.partitions->count; i++)
        ledger->config.partitions->items[i]->linked = ledger->config.partitions->items[i]->linking = false;
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
