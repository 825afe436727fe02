/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_fill.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/collection_value.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/copies.h"
#include "unit-agent/copy_follow.h"

#define PART_PAIRS 64 /* of one call: a sorted list of a million keys takes 9 us a pair */
#define PART_BYTES (128u << 10)
#define MOST_MS    3600000 /* that all of it takes, */
#define OF_KEEP    2       /* and this part of the time for which the origin keeps changes */

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void on_claimed(void *arg, bool covered)
{
    struct copy *copy = arg;
    copy->again |= !covered;
    copy_end_step(copy);
}

static void on_page(void *arg, bool read)
{
    struct copy *copy = arg;
    if (read)
        copy_source_claim(&copy->copies->source, &copy->fill.claim);
    else
        on_claimed(copy, false);
}

static void read_more(struct copy *copy)
{
    struct copies *copies = copy->copies;
    struct broker *broker = copy_source_is_ready(&copies->source) ? copy_source_broker(&copies->source) : NULL;
    copy->busy = broker != NULL && copy_page_ask(&copy->fill.page, broker, copy->from, copy->next_bucket);
    copy->again |= !copy->busy;
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

static void note_begin(struct copy_fill *fill, unsigned bucket)
{
    if (fill->began_us != 0)
        return;
    fill->began_us = clock_monotonic_us();
    fill->began_with = bucket;
}

static bool is_late(const struct copy *copy)
{
    uint64_t keep_ms = (uint64_t)copy->rules.keep_ms / OF_KEEP, most_ms = keep_ms < MOST_MS ? keep_ms : MOST_MS;
    uint64_t past_ms = (clock_monotonic_us() - copy->fill.began_us) / 1000;
    return past_ms * COLLECTION_BUCKETS > most_ms * (copy->next_bucket - copy->fill.began_with);
}

static bool is_used_up(const struct copy *copy)
{
    const struct copy_fill *fill = &copy->fill;
    const struct copy_bucket *bucket = &fill->page.buckets[copy->next_bucket - fill->page.first];
    return copy->next_bucket == fill->next_bucket && fill->next_filled == bucket->count;
}

static void on_filled(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    struct copy_fill *fill = &copy->fill;
    if (!copy_note(copy, reply)) {
        copy_fail_step(copy, reply);
        return;
    }
    fill->filled = fill->next_filled;
    if (is_used_up(copy)) {
        copy_page_drop(&fill->page);
        fill->filled = 0;
    }
    copy->next_bucket = fill->next_bucket;
    copy_rest(copy, copy_pace_rest_us(&copy->copies->pace, clock_monotonic_us() - copy->sent_us, is_late(copy)));
}

/* A bucket that is not taken lets none behind it be taken: the last answer is that of all. */
static void on_filled_before(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

static size_t end_of(const struct copy_bucket *bucket, size_t pairs)
{
    return pairs > 0 ? bucket->ends_at[pairs - 1] : 0;
}

/* How many pairs of BUCKET are in with the next call. */
static size_t end_of_part(const struct copy_bucket *bucket, size_t first)
{
    size_t end = first;
    while (end < bucket->count && end - first < PART_PAIRS &&
           (end == first || bucket->ends_at[end] - end_of(bucket, first) <= PART_BYTES))
        end++;
    return end;
}

/* The pairs from FIRST to END of the bucket NUMBER. */
static bool send_part(struct copy *copy, unsigned number, size_t first, size_t end, broker_reply_fn done)
{
    const struct copy_bucket *bucket = &copy->fill.page.buckets[number - copy->fill.page.first];
    bool begins = first == 0 && bucket->begins, ends = end == bucket->count && bucket->ends;
    size_t start = end_of(bucket, first);
    char number_text[24], seq[24];
    struct buf words = {0};
    snprintf(number_text, sizeof(number_text), "%u", number);
    snprintf(seq, sizeof(seq), "%" PRIu64, bucket->seq);
    broker_put_word(&words, str_of(number_text));
    broker_put_word(&words, str_of(seq));
    broker_put_word(&words, str_of(begins && ends ? "whole" : begins ? "first" : ends ? "last" : "next"));
    if (end > first)
        buf_append(&words, bucket->words.base + start, end_of(bucket, end) - start);
    bool sent = copy_call_made(copy, "c_fill", buf_str(&words), 3 + 2 * (end - first), done, copy);
    buf_free(&words);
    return sent;
}

/* As many whole buckets from the next one on as make one part; 0: it has more than one. */
static unsigned count_whole(const struct copy *copy)
{
    const struct copy_page *page = &copy->fill.page;
    unsigned count = 0;
    size_t pairs = 0, bytes = 0;
    for (unsigned i = copy->next_bucket - page->first; i < page->count; i++, count++) {
        const struct copy_bucket *bucket = &page->buckets[i];
        pairs += bucket->count;
        bytes += bucket->words.len;
        if (pairs > PART_PAIRS || bytes > PART_BYTES || !bucket->begins || !bucket->ends)
            break;
    }
    return copy->fill.filled == 0 ? count : 0;
}

static bool send_whole(struct copy *copy, unsigned count)
{
    bool sent = true;
    copy->fill.next_bucket = copy->next_bucket + count;
    copy->fill.next_filled = 0;
    for (unsigned i = copy->next_bucket; i < copy->fill.next_bucket && sent; i++) {
        const struct copy_bucket *bucket = &copy->fill.page.buckets[i - copy->fill.page.first];
        bool last = i + 1 == copy->fill.next_bucket;
        sent = send_part(copy, i, 0, bucket->count, last ? on_filled : on_filled_before);
    }
    return sent;
}

static bool send_some(struct copy *copy)
{
    struct copy_fill *fill = &copy->fill;
    const struct copy_bucket *bucket = &fill->page.buckets[copy->next_bucket - fill->page.first];
    size_t end = end_of_part(bucket, fill->filled);
    bool ends = end == bucket->count && bucket->ends;
    fill->next_bucket = copy->next_bucket + ends;
    fill->next_filled = ends ? 0 : end;
    return send_part(copy, copy->next_bucket, fill->filled, end, on_filled);
}

static void fill_in(struct copy *copy)
{
    unsigned whole = count_whole(copy);
    copy->sent_us = clock_monotonic_us();
    copy->busy = true;
    if (!(whole > 0 ? send_whole(copy, whole) : send_some(copy)))
        copy_fail_step(copy, NULL);
}

void copy_fill_step(struct copy *copy)
{
    struct copy_fill *fill = &copy->fill;
    struct copies *copies = copy->copies;
    if (copies->filling != NULL && copies->filling != copy)
        return;
    copies->filling = copy;
    note_begin(fill, copy->next_bucket);
    if (copy->next_bucket == COLLECTION_BUCKETS) {
        log_info("copy.made", "the copy of %s is made", copy->rules.name.base);
        copies->filling = NULL;
        copy_follow(copy);
    } else if (fill->page.count > 0 && copy->next_bucket < fill->page.first + fill->page.count)
        fill_in(copy);
    else
        read_more(copy);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void copy_fill_reset(struct copy_fill *fill)
{
    copy_page_reset(&fill->page);
    fill->filled = 0;
    fill->began_us = 0;
}

void copy_fill_init(struct copy_fill *fill, struct copy *copy)
{
    *fill = (struct copy_fill){.claim = {.done = on_claimed, .arg = copy}};
    copy_page_init(&fill->page, copy->copies->config.options->broker.timeout, on_page, copy);
}

void copy_fill_close(struct copy_fill *fill)
{
    copy_page_close(&fill->page);
}
