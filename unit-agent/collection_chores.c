/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/collection_chores.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/bucket_walk.h"
#include "unit-agent/copy_push.h"
#include "unit-agent/origin_mend.h"
#include "unit-agent/primary.h"

#define BEAT_MOST_US  100000 /* between two beats, */
#define BEAT_LEAST_US 5000   /* of which some are to come within the staleness that readers bear */
#define BEATS_WITHIN  3
#define TRIM_US       1000000 /* between two looks whether the log may be shortened, once nothing is left to remove */

/* One collection at its origin. */
struct chore {
    struct chore *next;
    struct collection_chores *chores;
    struct table_collection rules; /* `name` and `push` are its own texts */
    char at[PROTOCOL_KEY_MAX];
    bool listed; /* the rules in force name it */
    sd_event_source *timer;
    struct bucket_walk *walk;
    struct copy_push *push;
    bool asking;
    uint64_t digest_us, trim_us; /* monotonic: when they are due */
    char fault[160];             /* the broker's last refusal, which was logged */
};

struct collection_chores {
    sd_event *loop;
    struct collection_chores_config config;
    struct primary primary;
    struct origin_mend *mend;
    struct chore *first; /* never removed: who is not in the rules any more rests */
    bool stopped;
};

/* --- what a chore may do, and with what --------------------------------------------------------------------------- */

static struct broker *origin_of(void *arg)
{
    const struct collection_chores *chores = arg;
    bool may = !chores->stopped && primary_is_ready(&chores->primary) && chores->config.is_keeper(chores->config.arg);
    return may ? chores->primary.broker : NULL;
}

static uint64_t epoch_of_unit(void *arg)
{
    const struct collection_chores_config *config = &((const struct collection_chores *)arg)->config;
    return config->record(config->arg)->version;
}

static struct broker *broker_of(void *arg)
{
    const struct chore *chore = arg;
    return chore->listed ? origin_of(chore->chores) : NULL;
}

static uint64_t epoch_of(void *arg)
{
    return epoch_of_unit(((const struct chore *)arg)->chores);
}

static const struct broker_record *record_of(void *arg)
{
    const struct collection_chores_config *config = &((const struct chore *)arg)->chores->config;
    return config->record(config->arg);
}

/* Another epoch is no fault: the record, or its stamp, comes in a moment. */
static void note_refusal(struct chore *chore, const redisReply *reply)
{
    const char *text = broker_is_error(reply, "") ? reply->str : "";
    if (broker_is_error(reply, "LDC_EPOCH"))
        return;
    if (text[0] != '\0' && strncmp(text, chore->fault, sizeof(chore->fault) - 1) != 0)
        log_error("collection.refused", "the broker does nothing for the collection %.*s: %s",
                  STR_ARG(chore->rules.name), text);
    snprintf(chore->fault, sizeof(chore->fault), "%s", text);
}

/* Calls ldc1_NAME with the epoch and up to two numbers. */
static bool call(struct chore *chore, struct broker *broker, const char *name, const uint64_t *numbers, int count,
                 broker_reply_fn done)
{
    char texts[3][24];
    const char *words[8] = {"FCALL", name, "1", chore->at, texts[0], texts[1], texts[2]};
    snprintf(texts[0], sizeof(texts[0]), "%llu", (unsigned long long)epoch_of(chore));
    for (int i = 0; i < count; i++)
        snprintf(texts[1 + i], sizeof(texts[1 + i]), "%llu", (unsigned long long)numbers[i]);
    return broker_command(broker, done, chore, 5 + count, words, NULL);
}

/* --- by the clock ------------------------------------------------------------------------------------------------- */

static void on_trimmed(void *arg, const redisReply *reply)
{
    struct chore *chore = arg;
    bool more = reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    chore->trim_us = more ? 0 : chore->trim_us;
    note_refusal(chore, reply);
}

static void on_digest(void *arg, const redisReply *reply)
{
    note_refusal(arg, reply);
}

/* The last of what one beat asks. */
static void on_beat(void *arg, const redisReply *reply)
{
    struct chore *chore = arg;
    chore->asking = false;
    note_refusal(chore, reply);
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
        log_error("collection.recalled", "%smeta was changed by hand: it said %lld, and the log is at %s", chore->at,
                  reply->element[1]->integer, reply->element[0]->str);
}

static void act(struct chore *chore, struct broker *broker, uint64_t now_us)
{
    const struct table_collection *rules = &chore->rules;
    const uint64_t kept[] = {rules->feed, (uint64_t)rules->keep_ms};
    if (now_us >= chore->digest_us && call(chore, broker, "ldc1_c_digest", NULL, 0, on_digest))
        chore->digest_us = now_us + (uint64_t)rules->digest_ms * 1000;
    if (now_us >= chore->trim_us && call(chore, broker, "ldc1_c_trim", kept, 2, on_trimmed))
        chore->trim_us = now_us + TRIM_US;
    chore->asking = call(chore, broker, "ldc1_c_beat", NULL, 0, on_beat);
}

static uint64_t beat_us(const struct chore *chore)
{
    uint64_t us = (uint64_t)chore->rules.staleness_ms * 1000 / BEATS_WITHIN;
    return us > BEAT_MOST_US ? BEAT_MOST_US : us < BEAT_LEAST_US ? BEAT_LEAST_US : us;
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct chore *chore = arg;
    struct broker *broker = chore->asking ? NULL : broker_of(chore);
    if (broker != NULL)
        act(chore, broker, clock_monotonic_us());
    return loop_wake_in(source, beat_us(chore));
}

/* --- what was changed by hand ------------------------------------------------------------------------------------- */

static void on_found(void *arg, const struct bucket *bucket, enum bucket_fault fault, size_t where)
{
    struct chore *chore = arg;
    struct str key = fault == BUCKET_BAD_VALUE ? bucket_key(bucket, where) : STR_LIT("");
    if (!origin_mend_take(chore->chores->mend, chore->rules.name, bucket->number))
        return;
    stat_add(&chore->chores->config.stats->agent_buckets_divergent_total, 1);
    log_error("collection.wrong", "%sb/%u at its origin: %s%s%.*s", chore->at, bucket->number, bucket_fault_text(fault),
              key.len > 0 ? ": " : "", STR_ARG(key));
}

/* --- which there are ---------------------------------------------------------------------------------------------- */

static struct chore *find(const struct collection_chores *chores, struct str name)
{
    struct chore *chore = chores->first;
    while (chore != NULL && !str_equal(chore->rules.name, name))
        chore = chore->next;
    return chore;
}

static struct chore *chore_create(struct collection_chores *chores, struct str name)
{
    struct chore *chore = mem_calloc(1, sizeof(*chore));
    chore->chores = chores;
    chore->rules.name = (struct str){str_dup(name), name.len};
    collection_key(chore->at, str_of(chores->config.options->unit), name, "");
    chore->timer = loop_timer(chores->loop, on_time, chore);
    chore->walk = bucket_walk_create(chores->loop, &(struct bucket_walk_config){.at = chore->at,
                                                                                .digest = &chore->rules.digest_ms,
                                                                                .stats = chores->config.stats,
                                                                                .broker = broker_of,
                                                                                .epoch = epoch_of,
                                                                                .found = on_found,
                                                                                .arg = chore});
    chore->push = copy_push_create(chores->loop, &(struct copy_push_config){.options = chores->config.options,
                                                                            .stats = chores->config.stats,
                                                                            .at = chore->at,
                                                                            .collection = chore->rules.name,
                                                                            .url = &chore->rules.push,
                                                                            .broker = broker_of,
                                                                            .record = record_of,
                                                                            .arg = chore});
    loop_wake_in(chore->timer, 0);
    chore->next = chores->first;
    chores->first = chore;
    return chore;
}

static void chore_destroy(struct chore *chore)
{
    copy_push_destroy(&chore->push);
    bucket_walk_destroy(&chore->walk);
    sd_event_source_disable_unref(chore->timer);
    free((char *)chore->rules.name.base);
    free((char *)chore->rules.push.base);
    free(chore);
}

static void chore_adopt(struct chore *chore, const struct table_collection *rules)
{
    struct str name = chore->rules.name;
    free((char *)chore->rules.push.base);
    chore->rules = *rules;
    chore->rules.name = name;
    chore->rules.push = (struct str){str_dup(rules->push), rules->push.len};
    chore->listed = true;
}

void collection_chores_adopt(struct collection_chores *chores, const struct table *table, struct str primary)
{
    uint32_t unit = table_unit_index(table, str_of(chores->config.options->unit));
    bool core = unit != NO_UNIT && unit == table->core_unit && table->collection_count > 0;
    for (struct chore *chore = chores->first; chore != NULL; chore = chore->next)
        chore->listed = false;
    primary_adopt(&chores->primary, core ? primary : STR_LIT(""));
    origin_mend_adopt(chores->mend, table);
    for (uint32_t i = 0; i < table->collection_count && core; i++) {
        struct chore *chore = find(chores, table->collections[i].name);
        chore_adopt(chore != NULL ? chore : chore_create(chores, table->collections[i].name), &table->collections[i]);
    }
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void collection_chores_sync(struct collection_chores *chores, struct store *store)
{
    origin_mend_sync(chores->mend, store);
}

void collection_chores_stop(struct collection_chores *chores)
{
    chores->stopped = true;
}

struct collection_chores *collection_chores_create(sd_event *loop, const struct collection_chores_config *config)
{
    struct collection_chores *chores = mem_calloc(1, sizeof(*chores));
    chores->loop = loop;
    chores->config = *config;
    primary_init(&chores->primary, loop, config->options, config->password, NULL, NULL);
    chores->mend = origin_mend_create(loop, &(struct origin_mend_config){.options = config->options,
                                                                         .password = config->password,
                                                                         .stats = config->stats,
                                                                         .broker = origin_of,
                                                                         .epoch = epoch_of_unit,
                                                                         .arg = chores});
    return chores;
}

void collection_chores_destroy(struct collection_chores **slot)
{
    struct collection_chores *chores = *slot;
    if (chores == NULL)
        return;
    *slot = NULL;
    chores->stopped = true;
    primary_close(&chores->primary);
    origin_mend_destroy(&chores->mend);
    while (chores->first != NULL) {
        struct chore *chore = chores->first;
        chores->first = chore->next;
        chore_destroy(chore);
    }
    free(chores);
}
