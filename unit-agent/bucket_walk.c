/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/bucket_walk.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/loop.h"
#include "unit-agent/key_list.h"

#define IDLE_US       100000  /* between two looks whether there is a broker, */
#define LOOK_US       1000000 /* and whether the next slice is due */
#define SLICE_ENTRIES 1000    /* that one question is to bring, where buckets are not larger: 0.3 ms of the broker; */
#define SLICE_BYTES   262144  /* nor more of them */
#define ENTRY_US      1       /* for each of them it has pause: it takes about as long for it */
#define BYTES_A_US    1024
#define HURRY         10 /* a round takes at most so many parts of */
#define OF            11 /* so many of its time: what it finds has to be mended in time, too */
#define LISTED_EACH   10 /* rounds, all keys are looked for in the list: that costs more than to read their values */

/* What one question has brought. */
struct load {
    uint64_t entries, bytes;
};

/* RESTS -> asks for a slice -> holds its keys against the list -> RESTS until the next one is due. */
struct bucket_walk {
    struct bucket_walk_config config;
    struct key_list *list;
    sd_event_source *timer;
    bool asking;
    uint32_t next, count; /* the slice: COUNT buckets from NEXT on */
    uint32_t rounds;      /* at this broker, with this one */
    uint64_t began_us;    /* this round; monotonic */
    uint64_t pause_us;    /* at the least, behind the last slice */
    uint64_t entries;     /* of this round; */
    uint64_t held;        /* of the round that has just ended, */
    bool over;            /* whose list is to be compared */
};

/* --- when the next slice is due ----------------------------------------------------------------------------------- */

static uint64_t round_us(const struct bucket_walk *walk)
{
    return (uint64_t)*walk->config.digest * 1000;
}

/* Until the next slice is due, but not so long that a shorter `digest` would have to wait for it. */
static uint64_t wait_us(const struct bucket_walk *walk)
{
    uint64_t now_us = clock_monotonic_us();
    uint64_t due_us = walk->began_us + round_us(walk) * HURRY / OF * walk->next / COLLECTION_BUCKETS;
    uint64_t left_us = due_us > now_us ? due_us - now_us : 0;
    return left_us < LOOK_US ? left_us : LOOK_US;
}

static void rest(struct bucket_walk *walk, uint64_t least_us)
{
    uint64_t due_us = wait_us(walk);
    walk->asking = false;
    least_us = walk->pause_us > least_us ? walk->pause_us : least_us;
    loop_wake_in(walk->timer, due_us > least_us ? due_us : least_us);
}

static void begin_round(struct bucket_walk *walk)
{
    uint64_t now_us = clock_monotonic_us(), due_us = walk->began_us + round_us(walk);
    walk->began_us = walk->began_us != 0 && due_us > now_us ? due_us : now_us;
    walk->next = 0;
    walk->entries = 0;
    walk->rounds++;
}

/* By what the last slice held; carefully, for the next ones may be larger. */
static void resize(struct bucket_walk *walk, const struct load *load)
{
    uint64_t most = walk->count * 2 < BUCKET_AT_ONCE ? walk->count * 2 : BUCKET_AT_ONCE;
    uint64_t by_entries = walk->count * (uint64_t)SLICE_ENTRIES / (load->entries > 0 ? load->entries : 1);
    uint64_t by_bytes = walk->count * (uint64_t)SLICE_BYTES / (load->bytes > 0 ? load->bytes : 1);
    uint64_t fits = by_entries < by_bytes ? by_entries : by_bytes;
    walk->count = (uint32_t)(fits < 1 ? 1 : fits < most ? fits : most);
}

static void pass(struct bucket_walk *walk, const struct load *load)
{
    walk->next += walk->count;
    walk->entries += load->entries;
    walk->pause_us = load->entries * ENTRY_US + load->bytes / BYTES_A_US;
    stat_add(&walk->config.stats->agent_buckets_scrubbed_total, walk->count);
    resize(walk, load);
    if (walk->next == COLLECTION_BUCKETS) {
        walk->held = walk->entries;
        walk->over = true;
        stat_add(&walk->config.stats->agent_scrubs_total, 1);
        begin_round(walk);
    } else if (walk->next + walk->count > COLLECTION_BUCKETS) {
        walk->count = COLLECTION_BUCKETS - walk->next;
    }
}

/* --- a slice ------------------------------------------------------------------------------------------------------ */

static void on_listed(void *arg)
{
    struct bucket_walk *walk = arg;
    struct broker *broker = walk->over ? walk->config.broker(walk->config.arg) : NULL;
    walk->over = false;
    if (!key_list_compare(walk->list, broker, walk->held, on_listed, walk))
        rest(walk, 0);
}

/* The list is not to know what should not be there: keys of a bucket that is mended are listed then. */
static void judge(struct bucket_walk *walk, const struct bucket *bucket, struct load *load)
{
    bool lists = walk->rounds % LISTED_EACH == 0 || key_list_lacks(walk->list);
    size_t where = 0;
    enum bucket_fault fault = bucket_judge(bucket, &where);
    if (fault != BUCKET_SOUND)
        walk->config.found(walk->config.arg, bucket, fault, where);
    for (size_t i = 0; i < bucket->count; i++) {
        if (lists && fault == BUCKET_SOUND)
            key_list_add(walk->list, bucket_key(bucket, i), bucket->number);
        load->bytes += bucket_value(bucket, i).len;
    }
    load->entries += bucket->count;
}

static void on_slice(void *arg, const redisReply *reply)
{
    struct bucket_walk *walk = arg;
    struct bucket bucket;
    struct load load = {0};
    bool read = true;
    for (uint32_t i = 0; i < walk->count && read; i++) {
        read = bucket_read(reply, walk->next, walk->count, i, &bucket);
        if (read)
            judge(walk, &bucket, &load);
    }
    if (read)
        pass(walk, &load);
    struct broker *broker = read ? walk->config.broker(walk->config.arg) : NULL;
    if (!read)
        rest(walk, IDLE_US);
    else if (!key_list_check(walk->list, broker, walk->config.epoch(walk->config.arg), on_listed, walk))
        on_listed(walk);
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct bucket_walk *walk = arg;
    if (walk->asking)
        return 0;
    struct broker *broker = walk->config.broker(walk->config.arg);
    if (broker == NULL) {
        walk->began_us = walk->rounds = 0;
        return loop_wake_in(source, IDLE_US);
    }
    if (walk->began_us == 0)
        begin_round(walk);
    uint64_t due_us = wait_us(walk);
    if (due_us > 0)
        return loop_wake_in(source, due_us);
    walk->asking = bucket_ask(broker, walk->config.at, walk->next, walk->count, on_slice, walk);
    return walk->asking ? 0 : loop_wake_in(source, IDLE_US);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct bucket_walk *bucket_walk_create(sd_event *loop, const struct bucket_walk_config *config)
{
    struct bucket_walk *walk = mem_calloc(1, sizeof(*walk));
    walk->config = *config;
    walk->count = 1;
    walk->list = key_list_create(config->at, config->stats);
    walk->timer = loop_timer(loop, on_time, walk);
    loop_wake_in(walk->timer, 0);
    return walk;
}

void bucket_walk_destroy(struct bucket_walk **slot)
{
    struct bucket_walk *walk = *slot;
    if (walk == NULL)
        return;
    *slot = NULL;
    sd_event_source_disable_unref(walk->timer);
    key_list_destroy(&walk->list);
    free(walk);
}
