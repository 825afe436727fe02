/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_scrub.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/bucket_walk.h"
#include "unit-agent/copies.h"

#define LOOK_US  20000   /* between two looks whether a bucket is doubted */
#define AGAIN_US 500000  /* until a bucket that could not be repaired has its next turn */
#define TRIM_US  1000000 /* between two looks whether the log may be shortened, once nothing is left to remove */

enum wrong {
    WRONG_NOT = 0,
    WRONG_KNOWN,
    WRONG_AT_BOTH, /* at the origin, too, which was told */
};

/* RESTS -> reads a wrong bucket at the origin -> claims that it is covered -> HOLDS it until the copy has got that far
 * -> repairs -> RESTS. One at a time. */
struct copy_scrub {
    struct copy *copy;
    struct bucket_walk *walk;
    sd_event_source *timer;
    uint8_t wrong[COLLECTION_BUCKETS]; /* enum wrong */
    size_t wrong_count;
    bool busy, holds;
    uint32_t number;  /* of the bucket that is repaired, */
    uint64_t seq;     /* as the origin had it at this sequence, */
    uint32_t making;  /* for this copy */
    struct buf words; /* of the call that does it */
    size_t word_count;
    struct copy_claim claim;
    uint64_t trim_us; /* monotonic: when it is due */
};

static struct copies *copies_of(const struct copy_scrub *scrub)
{
    return scrub->copy->copies;
}

static struct agent_stats *stats_of(const struct copy_scrub *scrub)
{
    return copies_of(scrub)->config.stats;
}

/* --- what is wrong ------------------------------------------------------------------------------------------------ */

static void set_wrong(struct copy_scrub *scrub, uint32_t number, bool wrong)
{
    if ((scrub->wrong[number] != WRONG_NOT) == wrong)
        return;
    scrub->wrong[number] = wrong ? WRONG_KNOWN : WRONG_NOT;
    scrub->wrong_count += wrong ? 1 : (size_t)-1;
    stat_add(&stats_of(scrub)->agent_buckets_wrong, wrong ? 1 : (uint64_t)-1);
    if (wrong)
        stat_add(&stats_of(scrub)->agent_buckets_divergent_total, 1);
}

static void on_doubted(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply; /* it is known here in any case; the note is for whoever comes after this agent */
}

static void on_found(void *arg, const struct bucket *bucket, enum bucket_fault fault, size_t where)
{
    struct copy_scrub *scrub = arg;
    struct str key = fault == BUCKET_BAD_VALUE ? bucket_key(bucket, where) : STR_LIT("");
    char number[16], epoch[24];
    if (!scrub->wrong[bucket->number])
        log_error("collection.diverged", "%sb/%u: %s%s%.*s", scrub->copy->at, bucket->number, bucket_fault_text(fault),
                  key.len > 0 ? ": " : "", STR_ARG(key));
    set_wrong(scrub, bucket->number, true);
    snprintf(number, sizeof(number), "%u", bucket->number);
    snprintf(epoch, sizeof(epoch), "%" PRIu64, copy_epoch(scrub->copy));
    const char *words[] = {"FCALL", "ldc1_c_doubt", "1", scrub->copy->at, epoch, number};
    (void)!broker_command(copies_of(scrub)->local.broker, on_doubted, NULL, 6, words, NULL);
    loop_wake_in(scrub->timer, 0);
}

/* What the copy's digests found, and what operators doubt. */
static void take_bad(struct copy_scrub *scrub)
{
    struct str rest = str_of(scrub->copy->bad), text;
    uint64_t number;
    while (rest.len > 0 && str_next(&rest, ',', &text)) {
        if (!str_to_u64(text, &number) || number >= COLLECTION_BUCKETS || scrub->wrong[number])
            continue;
        log_error("collection.diverged", "%sb/%" PRIu64 " is not what it is at the origin", scrub->copy->at, number);
        set_wrong(scrub, (uint32_t)number, true);
    }
}

/* Another agent, or a copy that is made anew, finds what is left of it. */
static void forget(struct copy_scrub *scrub)
{
    for (uint32_t i = 0; i < COLLECTION_BUCKETS && scrub->wrong_count > 0; i++)
        set_wrong(scrub, i, false);
}

/* --- the repair of a bucket --------------------------------------------------------------------------------------- */

static void end(struct copy_scrub *scrub, uint64_t wait_us)
{
    scrub->busy = false;
    loop_wake_in(scrub->timer, wait_us);
}

static void on_repaired(void *arg, const redisReply *reply)
{
    struct copy_scrub *scrub = arg;
    bool done = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    if (done) {
        log_info("collection.repaired", "%sb/%u: %lld values", scrub->copy->at, scrub->number, reply->integer);
        stat_add(&stats_of(scrub)->agent_values_repaired_total, (uint64_t)reply->integer);
        copy_note_bad(scrub->copy, ""); /* what was known is from before */
        set_wrong(scrub, scrub->number, false);
    }
    bool again = broker_is_error(reply, "LDC_AGAIN");
    end(scrub, done || again ? 0 : AGAIN_US);
}

/* A copy that is behind has to get there first; a snapshot does not by itself. */
static void mend(struct copy_scrub *scrub)
{
    if (scrub->copy->seq < scrub->seq) {
        if (scrub->copy->rests)
            copy_look_again(scrub->copy);
        return;
    }
    scrub->holds = false;
    scrub->busy =
        copy_call_made(scrub->copy, "c_repair", buf_str(&scrub->words), scrub->word_count, on_repaired, scrub);
}

static void on_covered(void *arg, bool covered)
{
    struct copy_scrub *scrub = arg;
    scrub->holds = covered && scrub->making == scrub->copy->makings;
    end(scrub, covered ? 0 : LOOK_US);
}

static void put_number(struct buf *words, uint64_t number)
{
    char text[24];
    broker_put_word(words, (struct str){text, str_from_u64(number, text)});
}

static void take_bucket(struct copy_scrub *scrub, const struct bucket *bucket)
{
    scrub->seq = bucket->seq;
    scrub->words.len = 0;
    scrub->word_count = 2 + 2 * bucket->count;
    put_number(&scrub->words, bucket->number);
    put_number(&scrub->words, bucket->seq);
    for (size_t i = 0; i < bucket->count; i++) {
        broker_put_word(&scrub->words, bucket_key(bucket, i));
        broker_put_word(&scrub->words, bucket_value(bucket, i));
    }
}

static void note_unsound(struct copy_scrub *scrub)
{
    if (scrub->wrong[scrub->number] == WRONG_KNOWN)
        log_error("collection.unrepaired", "%sb/%u cannot be repaired: it is wrong at the origin, too", scrub->copy->at,
                  scrub->number);
    scrub->wrong[scrub->number] = WRONG_AT_BOTH;
}

static void on_bucket(void *arg, const redisReply *reply)
{
    struct copy_scrub *scrub = arg;
    struct bucket bucket;
    if (!bucket_read(reply, scrub->number, 1, 0, &bucket)) {
        end(scrub, LOOK_US);
    } else if (bucket_judge(&bucket, NULL) != BUCKET_SOUND) {
        note_unsound(scrub);
        end(scrub, AGAIN_US);
    } else {
        take_bucket(scrub, &bucket);
        copy_source_claim(&copies_of(scrub)->source, &scrub->claim);
    }
}

/* In turn, so that one that cannot be repaired holds up no other. */
static uint32_t next_wrong(const struct copy_scrub *scrub)
{
    uint32_t number = scrub->number;
    do
        number = (number + 1) % COLLECTION_BUCKETS;
    while (!scrub->wrong[number]);
    return number;
}

static void repair(struct copy_scrub *scrub)
{
    struct copy_source *source = &copies_of(scrub)->source;
    scrub->number = next_wrong(scrub);
    scrub->making = scrub->copy->makings;
    scrub->busy = copy_source_is_ready(source) &&
                  copy_source_read_bucket(source, scrub->copy->from, scrub->number, on_bucket, scrub);
}

/* --- by the clock ------------------------------------------------------------------------------------------------- */

static void on_trimmed(void *arg, const redisReply *reply)
{
    struct copy_scrub *scrub = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer > 0)
        scrub->trim_us = 0;
}

static void trim(struct copy_scrub *scrub, uint64_t now_us)
{
    const struct table_collection *rules = &scrub->copy->rules;
    char epoch[24], feed[24], keep[24];
    snprintf(epoch, sizeof(epoch), "%" PRIu64, copy_epoch(scrub->copy));
    snprintf(feed, sizeof(feed), "%" PRIu64, rules->feed);
    snprintf(keep, sizeof(keep), "%" PRId64, rules->keep_ms);
    const char *words[] = {"FCALL", "ldc1_c_trim", "1", scrub->copy->at, epoch, feed, keep};
    scrub->trim_us = now_us + TRIM_US;
    (void)!broker_command(copies_of(scrub)->local.broker, on_trimmed, scrub, 7, words, NULL);
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct copy_scrub *scrub = arg;
    uint64_t now_us = clock_monotonic_us();
    if (scrub->busy)
        return 0;
    if (!copy_is_settled(scrub->copy)) {
        scrub->holds = scrub->holds && scrub->copy->live && scrub->making == scrub->copy->makings;
        if (!scrub->copy->live)
            forget(scrub);
        return loop_wake_in(source, LOOK_US);
    }
    if (now_us >= scrub->trim_us)
        trim(scrub, now_us);
    take_bad(scrub);
    if (scrub->holds)
        mend(scrub);
    else if (scrub->wrong_count > 0)
        repair(scrub);
    return scrub->busy ? 0 : loop_wake_in(source, LOOK_US);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

static struct broker *broker_of(void *arg)
{
    const struct copy *copy = ((struct copy_scrub *)arg)->copy;
    return copy_is_settled(copy) ? copy->copies->local.broker : NULL;
}

static uint64_t epoch_of(void *arg)
{
    return copy_epoch(((struct copy_scrub *)arg)->copy);
}

struct copy_scrub *copy_scrub_create(struct copy *copy)
{
    struct copy_scrub *scrub = mem_calloc(1, sizeof(*scrub));
    scrub->copy = copy;
    scrub->claim = (struct copy_claim){.done = on_covered, .arg = scrub};
    scrub->timer = loop_timer(copy->copies->loop, on_time, scrub);
    scrub->walk = bucket_walk_create(copy->copies->loop, &(struct bucket_walk_config){.at = copy->at,
                                                                                      .digest = &copy->rules.digest_ms,
                                                                                      .stats = stats_of(scrub),
                                                                                      .broker = broker_of,
                                                                                      .epoch = epoch_of,
                                                                                      .found = on_found,
                                                                                      .arg = scrub});
    loop_wake_in(scrub->timer, 0);
    return scrub;
}

void copy_scrub_destroy(struct copy_scrub **slot)
{
    struct copy_scrub *scrub = *slot;
    if (scrub == NULL)
        return;
    *slot = NULL;
    forget(scrub);
    bucket_walk_destroy(&scrub->walk);
    sd_event_source_disable_unref(scrub->timer);
    buf_free(&scrub->words);
    free(scrub);
}

size_t copy_scrub_wrong(const struct copy_scrub *scrub)
{
    return scrub->wrong_count;
}
