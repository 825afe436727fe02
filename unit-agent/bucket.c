/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/bucket.h"

#include <stdio.h>

#include "common/invariant.h"
#include "common/protocol.h"

#define BEFORE_BUCKETS 2 /* in the reply: the sequence, and the sums */

static void on_queued(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply; /* what becomes of them stands in the reply to EXEC */
}

static bool ask(struct broker *broker, const char *const *words, int count)
{
    return broker_command(broker, on_queued, NULL, count, words, NULL);
}

static bool ask_meta(struct broker *broker, const char *at, uint32_t first, uint32_t count)
{
    char key[PROTOCOL_KEY_MAX + 16], sums[PROTOCOL_KEY_MAX + 16], from[16], to[16];
    snprintf(key, sizeof(key), "%smeta", at);
    snprintf(sums, sizeof(sums), "%ssums", at);
    snprintf(from, sizeof(from), "%u", first * COLLECTION_SUM_SIZE);
    snprintf(to, sizeof(to), "%u", (first + count) * COLLECTION_SUM_SIZE - 1);
    return ask(broker, (const char *[]){"MULTI"}, 1) && ask(broker, (const char *[]){"HGET", key, "seq"}, 3) &&
           ask(broker, (const char *[]){"GETRANGE", sums, from, to}, 4);
}

bool bucket_ask(struct broker *broker, const char *at, uint32_t first, uint32_t count, broker_reply_fn done, void *arg)
{
    INVARIANT(count <= BUCKET_AT_ONCE && first + count <= COLLECTION_BUCKETS);
    bool sent = ask_meta(broker, at, first, count);
    for (uint32_t i = 0; i < count && sent; i++) {
        char key[PROTOCOL_KEY_MAX + 16];
        snprintf(key, sizeof(key), "%sb/%u", at, first + i);
        sent = ask(broker, (const char *[]){"HGETALL", key}, 2);
    }
    return sent && broker_command(broker, done, arg, 1, (const char *[]){"EXEC"}, NULL);
}

/* What the string lacks at its end was never written, and is 0. */
static uint64_t sum_at(struct str sums, uint32_t i)
{
    char bytes[COLLECTION_SUM_SIZE] = {0};
    size_t from = (size_t)i * COLLECTION_SUM_SIZE, rest = sums.len > from ? sums.len - from : 0;
    if (rest > 0)
        memcpy(bytes, sums.base + from, rest < sizeof(bytes) ? rest : sizeof(bytes));
    return collection_digest_sum(bytes, 0);
}

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : STR_LIT("");
}

static bool is_hash(const redisReply *reply)
{
    bool is = reply->type == REDIS_REPLY_ARRAY && reply->elements % 2 == 0;
    for (size_t i = 0; is && i < reply->elements; i++)
        is = reply->element[i]->type == REDIS_REPLY_STRING;
    return is;
}

bool bucket_read(const redisReply *reply, uint32_t first, uint32_t count, uint32_t i, struct bucket *bucket)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != BEFORE_BUCKETS + count)
        return false;
    const redisReply *hash = reply->element[BEFORE_BUCKETS + i];
    bool good = is_hash(hash);
    *bucket = (struct bucket){.number = first + i,
                              .sum = sum_at(text_of(reply->element[1]), i),
                              .count = good ? hash->elements / 2 : 0,
                              .words = hash->element,
                              .is_hash = good};
    (void)str_to_u64(text_of(reply->element[0]), &bucket->seq);
    return true;
}

struct bucket *bucket_dup(const struct bucket *bucket)
{
    size_t count = 2 * bucket->count, bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += bucket->words[i]->len;
    struct bucket *copy = mem_alloc(sizeof(*copy) + count * (sizeof(redisReply *) + sizeof(redisReply)) + bytes);
    redisReply **list = (redisReply **)(copy + 1), *words = (redisReply *)(list + count);
    char *text = (char *)(words + count);
    *copy = *bucket;
    copy->words = list;
    for (size_t i = 0; i < count; i++) {
        size_t len = bucket->words[i]->len;
        words[i] =
            (redisReply){.type = REDIS_REPLY_STRING, .str = memcpy(text, bucket->words[i]->str, len), .len = len};
        list[i] = &words[i];
        text += len;
    }
    return copy;
}

size_t bucket_find(const struct bucket *bucket, struct str key)
{
    size_t i = 0;
    while (i < bucket->count && !str_equal(bucket_key(bucket, i), key))
        i++;
    return i;
}

/* Also of what is no value by its first byte: functions do not look at that. */
uint64_t bucket_version(const struct bucket *bucket, size_t i)
{
    struct str packed = bucket_value(bucket, i);
    uint64_t version = 0;
    for (int byte = 8; byte >= 1 && packed.len >= COLLECTION_HEADER; byte--)
        version = version << 8 | (uint8_t)packed.base[byte];
    return version;
}

struct str bucket_key(const struct bucket *bucket, size_t i)
{
    return text_of(bucket->words[2 * i]);
}

struct str bucket_value(const struct bucket *bucket, size_t i)
{
    return text_of(bucket->words[2 * i + 1]);
}

bool bucket_entry_is_good(const struct bucket *bucket, size_t i)
{
    struct collection_value value;
    struct str key = bucket_key(bucket, i);
    return collection_unpack(bucket_value(bucket, i), &value) && collection_is_sound(key, &value) &&
           collection_bucket(key) == bucket->number;
}

uint64_t bucket_sum(const struct bucket *bucket)
{
    struct collection_value value;
    uint64_t sum = 0;
    for (size_t i = 0; i < bucket->count; i++)
        if (collection_unpack(bucket_value(bucket, i), &value))
            sum = collection_sum_add(sum, collection_share(&value));
    return sum;
}

enum bucket_fault bucket_judge(const struct bucket *bucket, size_t *where)
{
    if (!bucket->is_hash)
        return BUCKET_NO_HASH;
    for (size_t i = 0; i < bucket->count; i++)
        if (!bucket_entry_is_good(bucket, i)) {
            if (where != NULL)
                *where = i;
            return BUCKET_BAD_VALUE;
        }
    return bucket_sum(bucket) == bucket->sum ? BUCKET_SOUND : BUCKET_BAD_SUM;
}

const char *bucket_fault_text(enum bucket_fault fault)
{
    static const char *const texts[] = {
        [BUCKET_SOUND] = "as it was written",
        [BUCKET_NO_HASH] = "a key of another type stands in its place",
        [BUCKET_BAD_VALUE] = "a value is not the one that was written",
        [BUCKET_BAD_SUM] = "its values are not those that its sum was kept for",
    };
    return texts[fault];
}
