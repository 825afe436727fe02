/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/ledger.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/discovery.h"
#include "unit-agent/lease.h"
#include "unit-agent/parking.h"
#include "unit-agent/survey.h"
#include "unit-agent/trim.h"

#define RETRY_US        100000 /* after a cursor write that the broker refused */
#define MOST_KEYS       150
#define LINKS_AT_ONCE   512
#define SURVEYS_AT_ONCE 64   /* partitions in one command */
#define SURVEYS_A_TICK  2048 /* the others wait for the next ones */

struct ledger {
    sd_event *loop;
    struct ledger_config config;
    struct broker *broker;
    sd_event_source *flush, *retry;
    bool holding;                      /* `retry` runs */
    bool refused;                      /* the last cursor write was, and the log has it */
    struct partition_record recording; /* reused from write to write, */
    struct command command;            /* as this is */
    struct discovery discovery;
    struct parking *parking;
    struct partition *first, **last; /* to be recorded */
    size_t links;                    /* under way */
    size_t survey_at;                /* where the next tick goes on */
};

/* What a reply belongs to. */
struct errand {
    struct ledger *ledger;
    struct partition *partition;
    uint32_t life;            /* of the partition, when it was asked for */
    struct cursor cursor;     /* linking: what HMGET said */
    bool has_cursor, is_new;  /* IS_NEW: the broker holds none */
    uint64_t call, last_call; /* of the cursor being written; linking: what the broker knows of our last one */
    uint64_t parked_messages;
    struct buf parked; /* users, zero-terminated */
    unsigned owed;     /* replies */
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
    buf_free(&errand->parked);
    free(errand);
}

#define SEND(ledger, done, arg, ...)                                                                                   \
    broker_command((ledger)->broker, done, arg, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *),           \
                   (const char *const[]){__VA_ARGS__}, NULL)

static const char *reply_fault(const redisReply *reply)
{
    return reply == NULL ? "no answer" : reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

/* --- cursors ----------------------------------------------------------------------------------------------------- */

static void wake(struct ledger *ledger)
{
    loop_wake(ledger->flush);
}

static int on_retry(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct ledger *ledger = arg;
    ledger->holding = false;
    wake(ledger);
    return 0;
}

static void tell_refusal(struct ledger *ledger, const struct partition *partition, const char *fault)
{
    stat_add(&ledger->config.stats->agent_cursor_failures_total, 1);
    if (!ledger->refused)
        log_warning("cursor.refused", "%s: %s; users wait until it is written", partition->cursor_key, fault);
    ledger->holding = true;
    loop_wake_in(ledger->retry, RETRY_US);
}

static void on_progress(void *arg, struct partition *partition)
{
    struct ledger *ledger = arg;
    if (partition->dirty)
        ledger_note(ledger, partition);
    ledger->config.progress(ledger->config.arg);
}

void ledger_proven(struct ledger *ledger, struct partition *partition)
{
    partition_end_write(partition, true);
    on_progress(ledger, partition);
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
    if (fault == NULL)
        partition->confirmed = errand->call;
    errand_end(errand);
    if (fault != NULL && !command_fenced(reply))
        tell_refusal(ledger, partition, fault);
    ledger->refused = fault != NULL;
    if (fault == NULL && reply->type != REDIS_REPLY_INTEGER) {
        ledger->config.prove(ledger->config.arg, partition);
        return;
    }
    if (fault == NULL) /* who goes to a park waits there */
        parking_moved(ledger->parking, partition, reply);
    partition_end_write(partition, fault == NULL);
    on_progress(ledger, partition);
    if (command_fenced(reply))
        ledger->config.fenced(ledger->config.arg, partition);
}

/* The cursor, the state, and the cursors of the other shared subscriptions: together they make the floor. */
static void add_cursor_keys(struct command *command, const struct partition *partition)
{
    command_add_text(command, partition->cursor_key);
    if (partition->broadcast)
        return;
    command_add_text(command, partition->state_key);
    const struct partition *sibling = partition->lease != NULL ? partition->lease->first : NULL;
    for (; sibling != NULL && command->count < MOST_KEYS; sibling = sibling->sibling)
        if (!sibling->broadcast && sibling->owned && sibling != partition)
            command_add_text(command, sibling->cursor_key);
}

/* What goes to parks and to the dead letters does so together with the cursor that has it done. */
static bool send_record(struct errand *errand, const struct partition_record *cursor)
{
    struct ledger *ledger = errand->ledger;
    struct partition *partition = errand->partition;
    struct command *command = &ledger->command;
    command_begin(command, cursor->moves > 0 ? "park" : "commit");
    if (cursor->moves > 0)
        parking_add_keys(command, partition);
    add_cursor_keys(command, partition);
    command_end_keys(command);
    if (cursor->moves > 0)
        parking_add_moves(command, partition, cursor->moves);
    command_add(command, ledger->config.owner);
    command_add_id(command, cursor->watermark);
    command_add(command, buf_str(&cursor->done));
    command_add_number(command, (int64_t)cursor->passed);
    command_add_number(command, (int64_t)cursor->beyond);
    command_add_number(command, (int64_t)(errand->call = ++partition->call));
    return command_send(command, ledger->broker, on_recorded, errand);
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
        parking_tell(ledger->parking, partition);
        partition = next;
    }
    return 0;
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
    for (size_t i = 0; i < ledger->config.partitions->count; i++) {
        const struct partition *partition = ledger->config.partitions->items[i];
        if (partition->dirty || partition->writing || park_owes(&partition->park))
            return false;
    }
    return true;
}

/* --- linking ----------------------------------------------------------------------------------------------------- */

static struct str reply_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

/* "OWNER NUMBER" */
static void read_call(struct errand *errand, struct str text)
{
    struct str owner = errand->ledger->config.owner;
    errand->last_call = XXH3_64bits(text.base != NULL ? text.base : "", text.len);
    if (text.len > owner.len + 1 && str_equal((struct str){text.base, owner.len}, owner))
        (void)str_to_u64((struct str){text.base + owner.len + 1, text.len - owner.len - 1}, &errand->call);
}

static void on_cursor(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    const char *fault = reply_fault(reply);
    if (fault == NULL && (reply->type != REDIS_REPLY_ARRAY || reply->elements != 6))
        fault = "not the answer to HMGET";
    if (fault == NULL && !cursor_decode(reply_text(reply->element[0]), reply_text(reply->element[1]),
                                        reply_text(reply->element[2]), &errand->cursor))
        fault = "it is malformed";
    if (fault == NULL)
        (void)str_to_u64(reply_text(reply->element[3]), &errand->cursor.beyond);
    if (fault == NULL)
        read_call(errand, reply_text(reply->element[4]));
    if (fault == NULL)
        (void)str_to_u64(reply_text(reply->element[5]), &errand->parked_messages);
    errand->has_cursor = fault == NULL;
    errand->is_new = fault == NULL && reply->element[0]->type == REDIS_REPLY_NIL;
    if (fault != NULL && reply != NULL)
        log_error("cursor.unreadable", "%s: %s; the partition is not delivered", errand->partition->cursor_key, fault);
    errand_end(errand);
}

static void on_parked(void *arg, const redisReply *reply)
{
    struct errand *errand = arg;
    errand->has_cursor &= reply != NULL && reply->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; errand->has_cursor && i < reply->elements; i++)
        buf_append(&errand->parked, reply->element[i]->str, (size_t)reply->element[i]->len + 1);
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

/* Every call that was answered must have left its number, or a later one. Parks go with cursors: where a broker lost
 * the one, what memory says of the other is void. */
static bool has_forgotten(const struct ledger *ledger, const struct errand *errand)
{
    const struct partition *partition = errand->partition;
    bool is_known = errand->call > 0 && errand->call >= partition->confirmed;
    bool forgotten = !is_known && (partition->confirmed > 0 || errand->last_call != partition->last_call);
    if (forgotten) {
        stat_add(&ledger->config.stats->agent_stream_regressions_total, 1);
        log_warning("cursor.regressed", "%s: the broker lost what it had confirmed; delivery starts from what it has",
                    partition->cursor_key);
    }
    return forgotten;
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
    if (regressed || (partition->restored && has_forgotten(ledger, errand)))
        partition_reset(partition);
    bool fresh = !partition->restored;
    if (!partition->restored && partition->broadcast && errand->is_new) {
        begin_at_end(partition, survey);
    } else if (!partition->restored) {
        regressed |= cursor_clip(cursor, survey->last);
        partition_restore(partition, cursor);
    }
    if (fresh) {
        partition->last_call = errand->last_call;
        partition->park.messages = errand->parked_messages;
        parking_adopt(ledger->parking, partition, buf_str(&errand->parked));
    }
    if (regressed)
        tell_regression(ledger, partition);
    if (is_foreign(ledger, partition, survey)) {
        ledger->config.fenced(ledger->config.arg, partition);
        return;
    }
    partition_survey(partition, survey->last_there, survey->total);
    partition->linked = true;
    if (partition->unproven)
        ledger->config.prove(ledger->config.arg, partition);
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
    bool sent = SEND(ledger, on_cursor, errand, "HMGET", partition->cursor_key, "watermark", "done", "passed", "beyond",
                     "call", "parked");
    errand->owed = sent;
    sent = sent && SEND(ledger, on_parked, errand, "ZRANGE", partition->park.users_key, "0", "-1");
    errand->owed += sent;
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
    if (ledger->broker == NULL) /* told while it is let go */
        return;
    for (size_t i = 0; i < ledger->config.partitions->count && ledger->links < LINKS_AT_ONCE; i++) {
        struct partition *partition = ledger->config.partitions->items[i];
        if (partition->owned && !partition->linked && !partition->linking)
            begin_link(ledger, partition);
    }
}

/* --- surveys and trimming ---------------------------------------------------------------------------------------- */

static void on_trimmed(void *arg, const redisReply *reply)
{
    struct ledger *ledger = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
        stat_add(&ledger->config.stats->agent_entries_trimmed_total, (uint64_t)reply->integer);
}

static void trim(struct ledger *ledger, const struct partition *partition, const struct survey *survey)
{
    if (trim_compose(&ledger->command, ledger->config.unit, partition, survey, clock_wall_us() / 1000))
        (void)!command_send(&ledger->command, ledger->broker, on_trimmed, ledger);
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
    struct command *command = &round->ledger->command;
    command_begin(command, "survey");
    for (size_t i = 0; i < round->count; i++) {
        command_add_text(command, round->items[i].partition->stream_key);
        command_add_text(command, round->items[i].partition->state_key);
    }
    command_end_keys(command);
    if (!command_send(command, round->ledger->broker, on_surveyed, round))
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
    parking_tick(ledger->parking);
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
        discovery_begin(&ledger->discovery, broker);
    } else if (state == BROKER_DOWN) {
        if (stat_get(&ledger->config.stats->agent_broker_up))
            log_warning("broker.down", "%s: %s; what is in memory goes on", ledger->config.broker->url,
                        broker_fault(broker));
        unlink_all(ledger);
    }
    stat_set(&ledger->config.stats->agent_broker_up, state == BROKER_READY);
    ledger->config.changed(ledger->config.arg);
}

const char *ledger_fault(const struct ledger *ledger, bool *fenced)
{
    *fenced = broker_was_replica(ledger->broker);
    return broker_state(ledger->broker) == BROKER_READY ? NULL : broker_fault(ledger->broker);
}

static void on_added(void *arg)
{
    ledger_link(arg);
}

static void on_parking_fenced(void *arg, struct partition *partition)
{
    struct ledger *ledger = arg;
    ledger->config.fenced(ledger->config.arg, partition);
}

struct ledger *ledger_create(sd_event *loop, const struct ledger_config *config)
{
    struct ledger *ledger = mem_calloc(1, sizeof(*ledger));
    ledger->loop = loop;
    ledger->config = *config;
    ledger->last = &ledger->first;
    ledger->flush = loop_later(loop, on_flush, ledger);
    ledger->retry = loop_timer(loop, on_retry, ledger);
    ledger->discovery = (struct discovery){
        .unit = config->unit, .found = config->found, .arg = config->arg, .added = on_added, .ledger = ledger};
    ledger->parking = parking_create(loop, &(struct parking_config){.broker = &ledger->broker,
                                                                    .partitions = config->partitions,
                                                                    .stats = config->stats,
                                                                    .owner = config->owner,
                                                                    .fenced = on_parking_fenced,
                                                                    .progress = on_progress,
                                                                    .arg = ledger});
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
    parking_destroy(&ledger->parking);
    command_free(&ledger->command);
    buf_free(&ledger->recording.done);
    free(ledger);
}
