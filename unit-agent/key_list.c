/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/key_list.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/collection_value.h"
#include "common/log.h"
#include "common/protocol.h"

#define DEADLINE_MS 5000 /* a broker that takes so long for a thousand keys is as good as gone */
#define PAGE        512  /* keys of the list that are looked at together where it has too many, */
#define AT_ONCE     200  /* and that are looked for: they lie far apart, and take 0.2 ms of the broker */

struct key {
    size_t start, len; /* in `text` */
    uint32_t bucket;
};

struct key_list {
    const char *at;
    char name[PROTOCOL_KEY_MAX + 8];
    struct agent_stats *stats;
    bool lost;       /* the last call was */
    bool lacks;      /* it had fewer keys than the buckets when they were last counted */
    bool sweeps;     /* it has too many: */
    struct buf from; /* it is looked through from here on, in ZRANGEBYLEX's words */
    uint64_t count_seen;
    struct buf text, wire;
    struct key *keys;
    size_t count, room;
    size_t asked, missing; /* so many were looked for, and the first so many are those of them that were not there */
    struct broker *broker; /* of the check under way */
    uint64_t epoch;
    void (*done)(void *arg);
    void *arg;
};

static struct str text_of(const struct key_list *list, const struct key *key)
{
    return (struct str){list->text.base + key->start, key->len};
}

static void put_number(struct buf *wire, uint64_t number)
{
    char text[24];
    broker_put_word(wire, (struct str){text, str_from_u64(number, text)});
}

/* Behind the last REPLY. Where that is NULL, nothing may be sent on its connection any more. */
static void end(struct key_list *list, const redisReply *reply)
{
    list->lost = reply == NULL;
    list->count = list->text.len = 0;
    list->done(list->arg);
}

static void on_relisted(void *arg, const redisReply *reply)
{
    struct key_list *list = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer > 0) {
        stat_add(&list->stats->agent_keys_relisted_total, (uint64_t)reply->integer);
        log_warning("collection.relisted", "%s was set right for %lld keys", list->name, reply->integer);
    }
    end(list, reply);
}

/* The command that sets COUNT keys right; these follow, each with its bucket. */
static void begin_relisting(struct key_list *list, size_t count)
{
    list->wire.len = 0;
    broker_put_count(&list->wire, 5 + 2 * count);
    broker_put_word(&list->wire, STR_LIT("FCALL"));
    broker_put_word(&list->wire, STR_LIT("ldc1_c_relist"));
    broker_put_word(&list->wire, STR_LIT("1"));
    broker_put_word(&list->wire, str_of(list->at));
    put_number(&list->wire, list->epoch);
}

static bool send_relisting(struct key_list *list)
{
    return broker_command_made(list->broker, DEADLINE_MS, on_relisted, list, buf_str(&list->wire));
}

/* --- what it has too many ----------------------------------------------------------------------------------------- */

static void on_page(void *arg, const redisReply *reply)
{
    struct key_list *list = arg;
    size_t count = reply != NULL && reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    list->sweeps = count == PAGE;
    begin_relisting(list, count);
    for (size_t i = 0; i < count; i++) {
        struct str key = {reply->element[i]->str, reply->element[i]->len};
        broker_put_word(&list->wire, key);
        put_number(&list->wire, collection_bucket(key));
        list->from.len = 0;
        buf_printf(&list->from, "(");
        buf_append_str(&list->from, key);
    }
    if (count == 0 || !send_relisting(list))
        end(list, reply);
}

static bool ask_page(struct key_list *list)
{
    char most[16];
    snprintf(most, sizeof(most), "%d", PAGE);
    const char *words[] = {"ZRANGEBYLEX", list->name, list->from.base, "+", "LIMIT", "0", most};
    size_t lens[7];
    for (size_t i = 0; i < 7; i++)
        lens[i] = i == 2 ? list->from.len : strlen(words[i]);
    return list->sweeps && broker_command(list->broker, on_page, list, 7, words, lens);
}

static uint64_t number_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
}

/* The list and all buckets, of one moment. */
static void on_sizes(void *arg, const redisReply *reply)
{
    struct key_list *list = arg;
    uint64_t held = 0;
    bool told = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 + COLLECTION_BUCKETS;
    for (size_t i = 1; told && i < reply->elements; i++)
        held += number_of(reply->element[i]);
    list->lacks = told && number_of(reply->element[0]) < held;
    if (told && number_of(reply->element[0]) > held) {
        list->sweeps = true;
        list->from.len = 0;
        buf_printf(&list->from, "-");
    }
    end(list, reply);
}

static void on_queued(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

static bool ask_sizes(struct key_list *list)
{
    struct broker *broker = list->broker;
    char bucket[PROTOCOL_KEY_MAX + 16];
    bool sent = broker_command(broker, on_queued, list, 1, (const char *[]){"MULTI"}, NULL) &&
                broker_command(broker, on_queued, list, 2, (const char *[]){"ZCARD", list->name}, NULL);
    for (unsigned i = 0; i < COLLECTION_BUCKETS && sent; i++) {
        snprintf(bucket, sizeof(bucket), "%sb/%u", list->at, i);
        sent = broker_command(broker, on_queued, list, 2, (const char *[]){"HLEN", bucket}, NULL);
    }
    return sent && broker_command(broker, on_sizes, list, 1, (const char *[]){"EXEC"}, NULL);
}

static void on_size(void *arg, const redisReply *reply)
{
    struct key_list *list = arg;
    bool same = reply == NULL || reply->type != REDIS_REPLY_INTEGER || number_of(reply) == list->count_seen;
    list->lacks = broker_is_error(reply, "WRONGTYPE"); /* there is none */
    if (same || !ask_sizes(list))                      /* writers may have come between, or a hand */
        end(list, reply);
}

bool key_list_compare(struct key_list *list, struct broker *broker, uint64_t count, void (*done)(void *arg), void *arg)
{
    list->broker = broker;
    list->count_seen = count;
    list->done = done;
    list->arg = arg;
    return broker != NULL && !list->sweeps && !list->lost &&
           broker_command(broker, on_size, list, 2, (const char *[]){"ZCARD", list->name}, NULL);
}

/* --- what it lacks ------------------------------------------------------------------------------------------------ */

static bool relist(struct key_list *list)
{
    if (list->missing == 0)
        return false;
    begin_relisting(list, list->missing);
    for (size_t i = 0; i < list->missing; i++) {
        broker_put_word(&list->wire, text_of(list, &list->keys[i]));
        put_number(&list->wire, list->keys[i].bucket);
    }
    return send_relisting(list);
}

static size_t next_count(const struct key_list *list)
{
    size_t left = list->count - list->asked;
    return left < AT_ONCE ? left : AT_ONCE;
}

static bool ask_scores(struct key_list *list);

/* Behind another score it would stand in another place of the list. */
static bool is_in_order(const redisReply *score)
{
    return score->type == REDIS_REPLY_STRING && strcmp(score->str, "0") == 0;
}

/* Where there is no list, but a key of another type, all are missing: it gives way. */
static void on_scores(void *arg, const redisReply *reply)
{
    struct key_list *list = arg;
    size_t count = next_count(list);
    bool alien = broker_is_error(reply, "WRONGTYPE");
    bool told = alien || (reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == count);
    for (size_t i = 0; i < count && told; i++)
        if (alien || !is_in_order(reply->element[i]))
            list->keys[list->missing++] = list->keys[list->asked + i];
    list->asked += count;
    if (!told || (!ask_scores(list) && !relist(list) && !ask_page(list)))
        end(list, reply);
}

static bool ask_scores(struct key_list *list)
{
    size_t count = next_count(list);
    list->wire.len = 0;
    broker_put_count(&list->wire, 2 + count);
    broker_put_word(&list->wire, STR_LIT("ZMSCORE"));
    broker_put_word(&list->wire, str_of(list->name));
    for (size_t i = 0; i < count; i++)
        broker_put_word(&list->wire, text_of(list, &list->keys[list->asked + i]));
    return count > 0 && broker_command_made(list->broker, DEADLINE_MS, on_scores, list, buf_str(&list->wire));
}

bool key_list_check(struct key_list *list, struct broker *broker, uint64_t epoch, void (*done)(void *arg), void *arg)
{
    list->lost = false;
    list->asked = list->missing = 0;
    list->broker = broker;
    list->epoch = epoch;
    list->done = done;
    list->arg = arg;
    bool sent = broker != NULL && (ask_scores(list) || ask_page(list));
    if (!sent)
        list->count = list->text.len = 0;
    return sent;
}

bool key_list_lacks(const struct key_list *list)
{
    return list->lacks;
}

void key_list_add(struct key_list *list, struct str key, uint32_t bucket)
{
    if (list->count == list->room) {
        list->room = list->room > 0 ? list->room * 2 : 64;
        list->keys = mem_realloc(list->keys, list->room * sizeof(*list->keys));
    }
    list->keys[list->count++] = (struct key){list->text.len, key.len, bucket};
    buf_append_str(&list->text, key);
}

struct key_list *key_list_create(const char *at, struct agent_stats *stats)
{
    struct key_list *list = mem_calloc(1, sizeof(*list));
    list->at = at;
    list->stats = stats;
    snprintf(list->name, sizeof(list->name), "%skeys", at);
    return list;
}

void key_list_destroy(struct key_list **slot)
{
    struct key_list *list = *slot;
    if (list == NULL)
        return;
    *slot = NULL;
    buf_free(&list->text);
    buf_free(&list->from);
    buf_free(&list->wire);
    free(list->keys);
    free(list);
}
