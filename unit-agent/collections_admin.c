/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/collections_admin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "unit-agent/bucket.h"
#include "unit-agent/collection_question.h"

#define CHANGES_AT_ONCE 32 /* with their values, of any size */

/* --- the list ----------------------------------------------------------------------------------------------------- */

/* What c_look says. */
enum look {
    LOOK_META = 0,
    LOOK_SUMS,
    LOOK_KEYS,
    LOOK_LOG,
    LOOK_US,
    LOOK_FIELDS,
};

/* One collection of those that are listed. */
struct looked {
    struct collection_question *question;
    const char *replication;
    char name[PROTOCOL_NAME_MAX + 1];
    bool origin;
};

static bool is_look(const redisReply *reply)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != LOOK_FIELDS)
        return false;
    redisReply *const *parts = reply->element;
    return parts[LOOK_META]->type == REDIS_REPLY_ARRAY && parts[LOOK_SUMS]->type == REDIS_REPLY_STRING &&
           parts[LOOK_US]->type == REDIS_REPLY_STRING;
}

static struct str meta_text(const redisReply *meta, const char *name)
{
    for (size_t i = 0; i + 1 < meta->elements; i += 2)
        if (strcmp(meta->element[i]->str, name) == 0)
            return (struct str){meta->element[i + 1]->str, meta->element[i + 1]->len};
    return STR_LIT("");
}

/* Null where there is none. */
static json_t *meta_json(const redisReply *meta, const char *name)
{
    uint64_t number;
    return str_to_u64(meta_text(meta, name), &number) ? json_integer((json_int_t)number) : json_null();
}

static uint64_t meta_number(const redisReply *meta, const char *name)
{
    uint64_t number = 0;
    return str_to_u64(meta_text(meta, name), &number) ? number : 0;
}

static json_t *bad_json(const redisReply *meta)
{
    json_t *bad = json_array();
    struct str rest = meta_text(meta, "bad"), one;
    uint64_t number;
    while (str_next(&rest, ',', &one))
        if (str_to_u64(one, &number))
            json_array_append_new(bad, json_integer((json_int_t)number));
    return bad;
}

/* How long ago the last word of the origin was that the copy has: by two clocks, where the units' brokers stand apart.
 */
static json_t *lag_json(const redisReply *reply, bool origin)
{
    uint64_t now = 0, beat = meta_number(reply->element[LOOK_META], "beat_us");
    if (origin)
        return json_integer(0);
    (void)!str_to_u64((struct str){reply->element[LOOK_US]->str, reply->element[LOOK_US]->len}, &now);
    return beat == 0 ? json_null() : json_integer(now > beat ? (json_int_t)((now - beat) / 1000) : 0);
}

/* Whether readers are let in. */
static bool is_open(const struct looked *looked, const redisReply *meta)
{
    uint64_t epoch = keeper_record(looked->question->duty->keeper)->version;
    struct str state = meta_text(meta, "state");
    return looked->origin || (str_equal(state, STR_LIT("live")) && meta_text(meta, "epoch").len > 0 &&
                              meta_number(meta, "epoch") == epoch);
}

static json_t *describe(const struct looked *looked, const redisReply *reply)
{
    const redisReply *meta = reply->element[LOOK_META], *sums = reply->element[LOOK_SUMS];
    char digest[COLLECTION_FINGERPRINT_SIZE];
    struct str state = meta_text(meta, "state"), owner = meta_text(meta, "owner");
    collection_fingerprint_format(collection_fingerprint(STR_LIT(""), (struct str){sums->str, sums->len}), digest);
    json_t *item = json_pack("{s:s,s:s,s:s,s:s%,s:b,s:I,s:o,s:s}", "collection", looked->name, "replication",
                             looked->replication, "role", looked->origin ? "origin" : "copy", "state", state.base,
                             state.len, "open", is_open(looked, meta), "seq", (json_int_t)meta_number(meta, "seq"),
                             "time_lag_ms", lag_json(reply, looked->origin), "digest", digest);
    json_object_set_new(item, "digest_seq", meta_json(meta, "digest_seq"));
    json_object_set_new(item, "digest_ok", json_boolean(meta_number(meta, "digest_ok") == 1));
    json_object_set_new(item, "bad", bad_json(meta));
    json_object_set_new(item, "repaired", json_integer((json_int_t)meta_number(meta, "repaired")));
    json_object_set_new(item, "owner", json_stringn(owner.base, owner.len));
    json_object_set_new(item, "keys", json_integer(reply->element[LOOK_KEYS]->integer));
    json_object_set_new(item, "log", json_integer(reply->element[LOOK_LOG]->integer));
    json_object_set_new(item, "copy_bucket", meta_json(meta, "copy_bucket"));
    return item;
}

static void settle(struct collection_question *question)
{
    if (--question->owed > 0)
        return;
    if (question->failed)
        collection_fail(question, NULL);
    else
        collection_answer(question);
}

static void on_look(void *arg, const redisReply *reply)
{
    struct looked *looked = arg;
    struct collection_question *question = looked->question;
    if (is_look(reply))
        json_array_append_new(question->items, describe(looked, reply));
    else
        question->failed = true;
    free(looked);
    settle(question);
}

static void look_at(struct collection_question *question, const struct table *table, uint32_t i)
{
    const struct table_collection *collection = &table->collections[i];
    struct looked *looked = mem_calloc(1, sizeof(*looked));
    char at[PROTOCOL_KEY_MAX];
    looked->question = question;
    looked->replication = replication_name(collection->replication);
    looked->origin = table->core_unit == table_unit_index(table, str_of(question->duty->unit));
    snprintf(looked->name, sizeof(looked->name), "%.*s", STR_ARG(collection->name));
    collection_key(at, str_of(question->duty->unit), collection->name, "");
    question->owed++;
    if (!broker_command(question->broker, on_look, looked, 4, (const char *[]){"FCALL", "ldc1_c_look", "1", at}, NULL))
        on_look(looked, NULL);
}

void collections_admin_list(const struct duty *duty, struct httpd_request *request)
{
    struct collection_question *question = collection_ask(duty, request, true);
    if (question == NULL)
        return;
    const struct table *table = operations_table(duty->operations);
    question->owed = 1;
    for (uint32_t i = 0; table != NULL && i < table->collection_count; i++)
        if (question->name[0] == '\0' || str_equal(table->collections[i].name, str_of(question->name)))
            look_at(question, table, i);
    settle(question);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static struct str field_of(const redisReply *fields, const char *name)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, name) == 0)
            return (struct str){fields->element[i + 1]->str, fields->element[i + 1]->len};
    return STR_LIT("");
}

static bool is_entry(const redisReply *entry, struct stream_id *id)
{
    return entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 && entry->element[0]->type == REDIS_REPLY_STRING &&
           entry->element[1]->type == REDIS_REPLY_ARRAY &&
           stream_id_parse((struct str){entry->element[0]->str, entry->element[0]->len}, id);
}

static void add_change(json_t *items, struct stream_id id, const redisReply *fields)
{
    struct str op = field_of(fields, "op"), key = field_of(fields, "key"), value = field_of(fields, "value");
    uint64_t bucket;
    char fingerprint[COLLECTION_FINGERPRINT_SIZE] = "";
    bool put = str_equal(op, STR_LIT("put"));
    if ((!put && !str_equal(op, STR_LIT("del"))) || !str_to_u64(field_of(fields, "bucket"), &bucket))
        return;
    if (put)
        collection_fingerprint_format(collection_fingerprint(key, value), fingerprint);
    json_array_append_new(items,
                          json_pack("{s:I,s:s%,s:I,s:o,s:s}", "seq", (json_int_t)id.ms, "op", op.base, op.len, "bucket",
                                    (json_int_t)bucket, "key", collection_key_text(key), "fingerprint", fingerprint));
}

static void ask_changes(struct collection_question *question);

/* Behind a change there may be beats of the same sequence: these are nobody's loss. */
static void on_changes(void *arg, const redisReply *reply)
{
    struct collection_question *question = arg;
    struct stream_id id;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        collection_fail(question, reply);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++)
        if (is_entry(reply->element[i], &id)) {
            add_change(question->items, id, reply->element[i]->element[1]);
            question->from = id.ms + 1;
        }
    if (reply->elements == CHANGES_AT_ONCE && json_array_size(question->items) < COLLECTION_CHANGES_MOST)
        ask_changes(question);
    else
        collection_answer(question);
}

static void ask_changes(struct collection_question *question)
{
    char log[PROTOCOL_KEY_MAX + 8], from[24], to[24], most[24];
    size_t left = COLLECTION_CHANGES_MOST - json_array_size(question->items);
    snprintf(log, sizeof(log), "%slog", question->at);
    snprintf(from, sizeof(from), "%" PRIu64 "-0", question->from);
    snprintf(to, sizeof(to), "%" PRIu64 "-0", question->to);
    snprintf(most, sizeof(most), "%zu", left < CHANGES_AT_ONCE ? left : CHANGES_AT_ONCE);
    const char *words[] = {"XRANGE", log, from, to, "COUNT", most};
    if (!broker_command(question->broker, on_changes, question, 6, words, NULL))
        collection_fail(question, NULL);
}

void collections_admin_changes(const struct duty *duty, struct httpd_request *request)
{
    struct collection_question *question = collection_ask(duty, request, false);
    if (question == NULL || !collection_ask_number(question, "from", 1, INT64_MAX, 1, &question->from) ||
        !collection_ask_number(question, "to", 1, INT64_MAX, INT64_MAX, &question->to))
        return;
    ask_changes(question);
}

/* --- repair ------------------------------------------------------------------------------------------------------- */

static void on_doubt(void *arg, const redisReply *reply)
{
    struct collection_question *question = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        collection_fail(question, reply);
        return;
    }
    log_warning("collection.doubt", "%s: buckets %.200s of %s are to be repaired, since an operator asked for some",
                question->duty->unit, reply->str, question->name);
    json_array_append_new(question->items, json_pack("{s:s}", "bad", reply->str));
    collection_answer(question);
}

void collections_admin_repair(const struct duty *duty, struct httpd_request *request)
{
    struct collection_question *question = collection_ask(duty, request, false);
    struct buf buckets = {0};
    if (question == NULL)
        return;
    char epoch[24];
    snprintf(epoch, sizeof(epoch), "%lu", (unsigned long)keeper_record(duty->keeper)->version);
    if (!httpd_request_query(request, "buckets", &buckets) || buckets.len == 0 ||
        strspn(buckets.base, "0123456789,") != buckets.len)
        collection_refuse(question, 400, "bad-request", "buckets: numbers from 0 to 1023 are wanted, with commas");
    else if (!broker_command(question->broker, on_doubt, question, 6,
                             (const char *[]){"FCALL", "ldc1_c_doubt", "1", question->at, epoch, buckets.base}, NULL))
        collection_fail(question, NULL);
    buf_free(&buckets);
}
