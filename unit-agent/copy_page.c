/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_page.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_WEIGHT  (256u << 10) /* a weight is bytes, */
#define ENTRY_WEIGHT 128          /* and so much for each value, whatever its size */
#define FIRST_KEYS   16           /* of the first bucket, when nobody knows how large values are */
#define KEPT         (2 * MOST_WEIGHT)

/* --- weights ------------------------------------------------------------------------------------------------------ */

/* Larger ones count at once, smaller ones by and by. */
static void weigh(struct copy_page *page, const struct copy_bucket *bucket)
{
    size_t weight = bucket->words.len + bucket->count * ENTRY_WEIGHT;
    page->weighed += weight;
    if (bucket->count == 0)
        return;
    size_t each = weight / bucket->count, middle = (3 * page->entry_weight + each) / 4;
    page->entry_weight = each > middle ? each : middle;
}

static bool is_large(const struct copy_page *page)
{
    return page->bucket_weight > MOST_WEIGHT;
}

static unsigned choose_count(struct copy_page *page, unsigned first)
{
    size_t fit = MOST_WEIGHT / (page->bucket_weight > 0 ? page->bucket_weight : 1), left = COLLECTION_BUCKETS - first;
    size_t most = 2 * page->at_once < BUCKET_AT_ONCE ? 2 * page->at_once : BUCKET_AT_ONCE;
    fit = fit < most ? fit : most;
    page->at_once = (unsigned)(fit > 1 ? fit : 1);
    return page->at_once < left ? page->at_once : (unsigned)left;
}

/* --- what was read ------------------------------------------------------------------------------------------------ */

static void make_room(struct copy_bucket *bucket, size_t count)
{
    if (count > bucket->room) {
        bucket->room = count;
        bucket->ends_at = mem_realloc(bucket->ends_at, count * sizeof(*bucket->ends_at));
    }
}

static void add_pair(struct copy_bucket *bucket, struct str key, struct str value)
{
    buf_append_str(&bucket->words, key);
    broker_put_word(&bucket->words, value);
    bucket->ends_at[bucket->count++] = bucket->words.len;
}

static void keep(struct copy_bucket *kept, const struct bucket *bucket)
{
    make_room(kept, bucket->count);
    kept->seq = bucket->seq;
    kept->begins = kept->ends = true;
    for (size_t i = 0; i < bucket->count; i++) {
        broker_put_word(&kept->words, bucket_key(bucket, i));
        add_pair(kept, STR_LIT(""), bucket_value(bucket, i));
    }
}

static void on_buckets(void *arg, const redisReply *reply)
{
    struct copy_page *page = arg;
    struct bucket bucket;
    bool read = true;
    page->weighed = 0;
    for (unsigned i = 0; i < page->count && read; i++) {
        read = bucket_read(reply, page->first, page->count, i, &bucket);
        if (!read)
            break;
        keep(&page->buckets[i], &bucket);
        weigh(page, &page->buckets[i]);
    }
    page->bucket_weight = page->weighed / page->count;
    page->done(page->arg, read);
}

/* --- parts of a bucket -------------------------------------------------------------------------------------------- */

static size_t key_ends(const struct copy_page_keys *keys, size_t count)
{
    return count > 0 ? keys->ends_at[count - 1] : 0;
}

static struct str key_at(const struct copy_page_keys *keys, size_t i)
{
    size_t from = key_ends(keys, i);
    return (struct str){keys->words.base + from, keys->ends_at[i] - from};
}

static void on_values(void *arg, const redisReply *reply)
{
    struct copy_page *page = arg;
    struct copy_bucket *part = &page->buckets[0];
    bool told = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == page->asked;
    make_room(part, page->asked);
    for (size_t i = 0; i < page->asked && told; i++) {
        const redisReply *value = reply->element[i];
        if (value->type == REDIS_REPLY_STRING) /* else it was deleted meanwhile, as the log tells */
            add_pair(part, key_at(&page->keys, page->keys.next + i), (struct str){value->str, value->len});
    }
}

/* Behind the values: none of them is newer. */
static void on_sequence(void *arg, const redisReply *reply)
{
    struct copy_page *page = arg;
    struct copy_bucket *part = &page->buckets[0];
    struct copy_page_keys *keys = &page->keys;
    bool read = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    if (read && reply->type == REDIS_REPLY_STRING)
        (void)str_to_u64((struct str){reply->str, reply->len}, &part->seq);
    part->begins = keys->next == 0;
    keys->next += page->asked;
    part->ends = keys->next == keys->count;
    page->count = 1;
    page->weighed = part->begins ? 0 : page->weighed;
    weigh(page, part);
    if (part->ends)
        page->bucket_weight = page->weighed;
    page->done(page->arg, read);
}

static bool ask_values(struct copy_page *page)
{
    struct copy_page_keys *keys = &page->keys;
    size_t left = keys->count - keys->next;
    size_t fit = page->entry_weight > 0 ? MOST_WEIGHT / page->entry_weight + 1 : FIRST_KEYS;
    char name[PROTOCOL_KEY_MAX + 16];
    struct buf wire = {0};
    page->asked = left < fit ? left : fit;
    snprintf(name, sizeof(name), "%sb/%u", page->at, page->first);
    broker_put_count(&wire, 2 + page->asked);
    broker_put_word(&wire, STR_LIT("HMGET"));
    broker_put_word(&wire, str_of(name));
    size_t from = key_ends(keys, keys->next), to = key_ends(keys, keys->next + page->asked);
    if (page->asked > 0)
        buf_append(&wire, keys->words.base + from, to - from);
    bool sent =
        page->asked == 0 || broker_command_made(page->broker, page->timeout_ms, on_values, page, buf_str(&wire));
    buf_free(&wire);
    snprintf(name, sizeof(name), "%smeta", page->at);
    return sent && broker_command(page->broker, on_sequence, page, 3, (const char *[]){"HGET", name, "seq"}, NULL);
}

/* Where another type of key stands in the bucket's place there is nothing to copy. */
static void on_keys(void *arg, const redisReply *reply)
{
    struct copy_page *page = arg;
    struct copy_page_keys *keys = &page->keys;
    size_t count = reply != NULL && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    keys->ends_at = mem_realloc(keys->ends_at, (count + 1) * sizeof(*keys->ends_at));
    for (size_t i = 0; i < count; i++) {
        broker_put_word(&keys->words, (struct str){reply->element[i]->str, reply->element[i]->len});
        keys->ends_at[i] = keys->words.len;
    }
    keys->count = count;
    if (reply == NULL || !ask_values(page))
        page->done(page->arg, false);
}

static bool ask_keys(struct copy_page *page)
{
    char name[PROTOCOL_KEY_MAX + 16];
    snprintf(name, sizeof(name), "%sb/%u", page->at, page->first);
    return broker_command(page->broker, on_keys, page, 2, (const char *[]){"HKEYS", name}, NULL);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

bool copy_page_ask(struct copy_page *page, struct broker *broker, const char *at, unsigned first)
{
    copy_page_drop(page);
    page->broker = broker;
    page->first = first;
    snprintf(page->at, sizeof(page->at), "%s", at);
    if (page->keys.next < page->keys.count)
        return ask_values(page);
    copy_page_reset(page);
    if (is_large(page))
        return ask_keys(page);
    page->count = choose_count(page, first);
    return bucket_ask(broker, at, first, page->count, on_buckets, page);
}

void copy_page_drop(struct copy_page *page)
{
    for (unsigned i = 0; i < page->count; i++) {
        page->buckets[i].words.len = page->buckets[i].count = 0;
        if (page->buckets[i].words.capacity > KEPT)
            buf_free(&page->buckets[i].words);
    }
    page->count = 0;
}

void copy_page_reset(struct copy_page *page)
{
    copy_page_drop(page);
    page->keys.words.len = page->keys.count = page->keys.next = 0;
}

void copy_page_init(struct copy_page *page, int64_t timeout_ms, void (*done)(void *arg, bool read), void *arg)
{
    *page =
        (struct copy_page){.at_once = 1, .bucket_weight = SIZE_MAX, .timeout_ms = timeout_ms, .done = done, .arg = arg};
}

void copy_page_close(struct copy_page *page)
{
    for (unsigned i = 0; i < BUCKET_AT_ONCE; i++) {
        buf_free(&page->buckets[i].words);
        free(page->buckets[i].ends_at);
    }
    buf_free(&page->keys.words);
    free(page->keys.ends_at);
}
