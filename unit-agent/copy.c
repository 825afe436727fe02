/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/copies.h"
#include "unit-agent/copy_follow.h"
#include "unit-agent/copy_look.h"
#include "unit-agent/copy_push.h"
#include "unit-agent/copy_scrub.h"

#define TAKE_US   100000  /* until another agent's copy is asked for again */
#define EPOCH_US  10000   /* the record, or the broker's stamp, comes in a moment */
#define REFUSE_US 1000000 /* what a broker refuses it may refuse for long: its memory is full */
#define FCALL_KEY "1"
#define OWED_US   2000 /* a pause is worth its while */

/* --- calls -------------------------------------------------------------------------------------------------------- */

uint64_t copy_epoch(const struct copy *copy)
{
    return copy->copies->version;
}

static void put_text(struct buf *wire, const char *word)
{
    broker_put_word(wire, str_of(word));
}

bool copy_call_made(struct copy *copy, const char *name, struct str words, size_t count, broker_reply_fn done,
                    void *arg)
{
    struct copies *copies = copy->copies;
    char function[40], epoch[24];
    struct buf *wire = &copies->wire;
    if (!primary_is_ready(&copies->local))
        return false;
    snprintf(function, sizeof(function), "ldc1_%s", name);
    snprintf(epoch, sizeof(epoch), "%" PRIu64, copy_epoch(copy));
    wire->len = 0;
    broker_put_count(wire, 6 + count);
    put_text(wire, "FCALL");
    put_text(wire, function);
    put_text(wire, FCALL_KEY);
    put_text(wire, copy->at);
    put_text(wire, epoch);
    put_text(wire, copies->config.owner(copies->config.arg));
    buf_append_str(wire, words);
    return broker_command_made(copies->local.broker, copies->config.options->broker.timeout, done, arg, buf_str(wire));
}

bool copy_call(struct copy *copy, const char *name, const struct str *args, size_t count, broker_reply_fn done,
               void *arg)
{
    struct buf words = {0};
    for (size_t i = 0; i < count; i++)
        broker_put_word(&words, args[i]);
    bool sent = copy_call_made(copy, name, buf_str(&words), count, done, arg);
    buf_free(&words);
    return sent;
}

/* --- whose it is -------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct copy *copy)
{
    const struct copies *copies = copy->copies;
    return copy->listed && !copies->stopped && primary_is_ready(&copies->local) &&
           copies->config.chooses(copies->config.arg, copy->hash);
}

static void wait_for(struct copy *copy, uint64_t us)
{
    copy->wait_until_us = clock_monotonic_us() + us;
}

/* What was read is of no use for who comes back. */
static void leave(struct copy *copy, enum copy_phase phase)
{
    if (copy->copies->filling == copy)
        copy->copies->filling = NULL;
    copy_fill_reset(&copy->fill);
    copy_queue_clear(&copy->queue);
    copy->life++;
    copy->phase = phase;
    copy->again = false;
    if (phase == COPY_RESTS) {
        copy->owned = copy->live = copy->misled = false;
        copy->epoch = 0;
    }
}

static void on_removed(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply; /* what is there then is taken the next time */
}

/* Put in its place by hand, no function can do anything with it. */
static void remove_strange_meta(struct copy *copy)
{
    char meta[PROTOCOL_KEY_MAX + 8];
    snprintf(meta, sizeof(meta), "%smeta", copy->at);
    log_error("copy.strange", "%s is a key of another type, and is removed", meta);
    (void)!broker_command(copy->copies->local.broker, on_removed, NULL, 2, (const char *[]){"UNLINK", meta}, NULL);
}

static void on_taken(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    bool told = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1;
    copy->owned = told && reply->element[0]->type == REDIS_REPLY_INTEGER && reply->element[0]->integer == 1;
    leave(copy, copy->owned ? COPY_LOOKS : COPY_RESTS);
    copy->stray = reply == NULL;
    if (broker_is_error(reply, "WRONGTYPE"))
        remove_strange_meta(copy);
    if (!copy->owned)
        wait_for(copy, TAKE_US);
    copy_end_step(copy);
}

static void take(struct copy *copy)
{
    struct copies *copies = copy->copies;
    char agents[PROTOCOL_KEY_MAX], meta[PROTOCOL_KEY_MAX + 8];
    protocol_unit_key(agents, str_of(copies->config.options->unit), "agents");
    snprintf(meta, sizeof(meta), "%smeta", copy->at);
    const char *const words[] = {"FCALL", "ldc1_take", "2", agents, meta, copies->config.owner(copies->config.arg)};
    copy->phase = COPY_TAKES;
    copy->busy = true;
    if (broker_command(copies->local.broker, on_taken, copy, 6, words, NULL))
        return;
    copy->busy = false;
    copy->phase = COPY_RESTS;
}

static void on_released(void *arg, const redisReply *reply)
{
    (void)reply;
    copy_end_step(arg);
}

static void release(struct copy *copy)
{
    struct copies *copies = copy->copies;
    char meta[PROTOCOL_KEY_MAX + 8];
    snprintf(meta, sizeof(meta), "%smeta", copy->at);
    const char *const words[] = {"FCALL", "ldc1_release", "1", meta, copies->config.owner(copies->config.arg)};
    leave(copy, COPY_RESTS);
    copy->busy =
        primary_is_ready(&copies->local) && broker_command(copies->local.broker, on_released, copy, 5, words, NULL);
    copy->stray = !copy->busy;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void turn_back(struct copy *copy)
{
    if (!copy->owned && copy->phase > COPY_TAKES)
        leave(copy, COPY_RESTS);
    else if (copy->again && copy->owned)
        leave(copy, COPY_LOOKS);
    copy->again = false;
}

void copy_step(struct copy *copy)
{
    if (copy->busy || clock_monotonic_us() < copy->wait_until_us)
        return;
    bool wanted = is_wanted(copy);
    if (!wanted && (copy->owned || (copy->stray && primary_is_ready(&copy->copies->local))))
        release(copy);
    if (copy->busy || !wanted)
        return;
    turn_back(copy);
    if (copy->phase == COPY_RESTS)
        take(copy);
    else if (copy->phase == COPY_LOOKS)
        copy_look_step(copy);
    else if (copy->phase == COPY_FILLS)
        copy_fill_step(copy);
    else if (copy->phase == COPY_FOLLOWS)
        copy_follow_step(copy);
}

void copy_end_step(struct copy *copy)
{
    copy->busy = false;
    copy_step(copy);
}

static int on_rested(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    copy_end_step(arg);
    return 0;
}

void copy_rest(struct copy *copy, uint64_t us)
{
    copy->owed_us += us;
    if (copy->owed_us < OWED_US) {
        copy_end_step(copy);
        return;
    }
    copies_listen(copy->copies);
    loop_wake_in(copy->rest, copy->owed_us);
    copy->owed_us = 0;
}

void copy_look_again(struct copy *copy)
{
    copy->again = true;
    copy_step(copy);
}

void copy_lose(struct copy *copy)
{
    copy->owned = false;
    copy->stray = true;
    copy_look_again(copy);
}

static void note_fault(struct copy *copy, const char *text)
{
    if (strcmp(copy->fault, text) == 0)
        return;
    snprintf(copy->fault, sizeof(copy->fault), "%.*s", (int)sizeof(copy->fault) - 1, text);
    log_warning("copy.refused", "the copy of %s does not go on: %s", copy->rules.name.base, text);
}

void copy_refuse_step(struct copy *copy, const char *why)
{
    leave(copy, COPY_LOOKS);
    note_fault(copy, why);
    wait_for(copy, REFUSE_US);
    copy_end_step(copy);
}

void copy_fail_step(struct copy *copy, const redisReply *reply)
{
    bool lost = reply == NULL || broker_is_error(reply, "LDC_LEASE");
    if (!lost && (!broker_is_error(reply, "LDC_") || broker_is_error(reply, "LDC_VALUE"))) {
        copy_refuse_step(copy, broker_is_error(reply, "") ? reply->str : "the broker's answer is of another type");
        return;
    }
    leave(copy, lost ? COPY_RESTS : COPY_LOOKS);
    wait_for(copy, EPOCH_US);
    copy_end_step(copy);
}

uint64_t copy_number(const redisReply *reply)
{
    uint64_t number = 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        return (uint64_t)reply->integer;
    (void)!(reply->type == REDIS_REPLY_STRING && str_to_u64((struct str){reply->str, (size_t)reply->len}, &number));
    return number;
}

void copy_note_bad(struct copy *copy, const char *buckets)
{
    if (copy->bad != NULL && strcmp(copy->bad, buckets) == 0)
        return;
    free(copy->bad);
    copy->bad = str_dup(str_of(buckets));
}

bool copy_note(struct copy *copy, const redisReply *reply)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        reply->element[1]->type != REDIS_REPLY_STRING || reply->element[2]->type != REDIS_REPLY_STRING)
        return false;
    copy->seq = copy_number(reply->element[0]);
    copy->live = strcmp(reply->element[1]->str, "live") == 0;
    copy_note_bad(copy, reply->element[2]->str);
    copy->fault[0] = '\0';
    return true;
}

bool copy_is_settled(const struct copy *copy)
{
    return copy->owned && copy->phase == COPY_FOLLOWS && copy->live && !copy->again && copy->seq >= copy->open_at;
}

bool copy_is_open(const struct copy *copy)
{
    return copy->live && copy->epoch == copy_epoch(copy);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void copy_adopt(struct copy *copy, const struct table_collection *rules, struct str core)
{
    copy->listed = rules != NULL;
    if (rules == NULL)
        return;
    struct str name = copy->rules.name;
    free((char *)copy->rules.push.base);
    copy->rules = *rules;
    copy->rules.name = name;
    copy->rules.push = (struct str){str_dup(rules->push), rules->push.len};
    collection_key(copy->from, core, name, "");
}

static struct broker *broker_to_push(void *arg)
{
    const struct copy *copy = arg;
    return copy_is_settled(copy) ? copy->copies->local.broker : NULL;
}

static struct copy_push *create_push(struct copy *copy)
{
    const struct copies_config *config = &copy->copies->config;
    return copy_push_create(copy->copies->loop, &(struct copy_push_config){.options = config->options,
                                                                           .stats = config->stats,
                                                                           .at = copy->at,
                                                                           .collection = copy->rules.name,
                                                                           .url = &copy->rules.push,
                                                                           .broker = broker_to_push,
                                                                           .arg = copy});
}

struct copy *copy_create(struct copies *copies, struct str name)
{
    struct copy *copy = mem_calloc(1, sizeof(*copy));
    copy->copies = copies;
    copy->rules.name = (struct str){str_dup(name), name.len};
    copy->hash = XXH3_64bits(name.base, name.len);
    copy->claim = (struct copy_claim){.done = copy_look_claimed, .arg = copy};
    collection_key(copy->at, str_of(copies->config.options->unit), name, "");
    copy->rest = loop_timer(copies->loop, on_rested, copy);
    copy_fill_init(&copy->fill, copy);
    copy->scrub = copy_scrub_create(copy);
    copy->push = create_push(copy);
    return copy;
}

void copy_destroy(struct copy **slot)
{
    struct copy *copy = *slot;
    if (copy == NULL)
        return;
    *slot = NULL;
    copy_push_destroy(&copy->push);
    copy_scrub_destroy(&copy->scrub);
    copy_fill_close(&copy->fill);
    copy_queue_free(&copy->queue);
    sd_event_source_disable_unref(copy->rest);
    free((char *)copy->rules.name.base);
    free((char *)copy->rules.push.base);
    free(copy->bad);
    free(copy);
}
