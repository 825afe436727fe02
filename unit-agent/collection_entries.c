/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/bucket.h"
#include "unit-agent/collection_question.h"
#include "unit-agent/collections_admin.h"

#define UNSOUND_SHOWN  10 /* keys, of a bucket */
#define WITH_KEYS_MOST 16 /* buckets in one answer */

static void on_bucket(void *arg, const redisReply *reply);

/* The broker does what others want between two buckets. */
static void ask_next(struct collection_question *question)
{
    if (question->from > question->to)
        collection_answer(question);
    else if (!bucket_ask(question->broker, question->at, (uint32_t)question->from, 1, on_bucket, question))
        collection_fail(question, NULL);
}

/* {key: [version, fingerprint]...}: a new reference. */
static json_t *describe_keys(const struct bucket *bucket)
{
    json_t *keys = json_object();
    for (size_t i = 0; i < bucket->count; i++) {
        struct collection_value value = {0};
        char fingerprint[COLLECTION_FINGERPRINT_SIZE];
        json_t *key = collection_key_text(bucket_key(bucket, i));
        (void)!collection_unpack(bucket_value(bucket, i), &value);
        collection_fingerprint_format(collection_fingerprint(bucket_key(bucket, i), bucket_value(bucket, i)),
                                      fingerprint);
        json_object_set_new(keys, json_string_value(key), json_pack("[I,s]", (json_int_t)value.version, fingerprint));
        json_decref(key);
    }
    return keys;
}

/* Adds up whatever stands there, so that neither the order nor what the functions keep goes into it. */
static uint64_t fingerprint_of(const struct bucket *bucket)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bucket->count; i++)
        sum += collection_fingerprint(bucket_key(bucket, i), bucket_value(bucket, i));
    return sum;
}

/* The keys whose values are not what was written under them. */
static json_t *unsound_keys(const struct bucket *bucket)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < bucket->count && json_array_size(keys) < UNSOUND_SHOWN; i++)
        if (!bucket_entry_is_good(bucket, i))
            json_array_append_new(keys, collection_key_text(bucket_key(bucket, i)));
    return keys;
}

static json_t *describe(const struct bucket *bucket, bool with_keys)
{
    char fingerprint[COLLECTION_FINGERPRINT_SIZE];
    collection_fingerprint_format(fingerprint_of(bucket), fingerprint);
    json_t *item =
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:s,s:o}", "bucket", (json_int_t)bucket->number, "seq", (json_int_t)bucket->seq,
                  "sum", (json_int_t)bucket->sum, "made", (json_int_t)bucket_sum(bucket), "entries",
                  (json_int_t)bucket->count, "fingerprint", fingerprint, "unsound", unsound_keys(bucket));
    if (with_keys)
        json_object_set_new(item, "keys", describe_keys(bucket));
    return item;
}

static void on_bucket(void *arg, const redisReply *reply)
{
    struct collection_question *question = arg;
    struct bucket bucket;
    if (!bucket_read(reply, (uint32_t)question->from, 1, 0, &bucket)) {
        collection_fail(question, reply);
        return;
    }
    json_array_append_new(question->items, describe(&bucket, question->with_keys));
    question->from++;
    ask_next(question);
}

void collections_admin_entries(const struct duty *duty, struct httpd_request *request)
{
    struct collection_question *question = collection_ask(duty, request, false);
    uint64_t count, keys;
    if (question == NULL || !collection_ask_number(question, "from", 0, COLLECTION_BUCKETS - 1, 0, &question->from) ||
        !collection_ask_number(question, "keys", 0, 1, 0, &keys) ||
        !collection_ask_number(question, "count", 1, keys ? WITH_KEYS_MOST : COLLECTION_BUCKETS, 1, &count))
        return;
    question->with_keys = keys == 1;
    question->to =
        question->from + count - 1 < COLLECTION_BUCKETS ? question->from + count - 1 : COLLECTION_BUCKETS - 1;
    ask_next(question);
}
