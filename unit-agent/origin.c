/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/origin.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

#define MOST_PARKED "1000" /* users of a partition; of more, all who come from there wait */

/* --- its crossings ------------------------------------------------------------------------------------------------ */

static char *key_of(const struct crossing *crossing, const char *what, const char *end)
{
    char key[PROTOCOL_KEY_MAX], suffix[PROTOCOL_NAME_MAX + 40];
    snprintf(suffix, sizeof(suffix), "%s%.*s%s", what, STR_ARG(crossing->subscription), end);
    size_t len =
        protocol_key(key, str_of(crossing->origin->arrival.unit), crossing->topic->name, crossing->number, suffix);
    return str_dup((struct str){key, len});
}

static void add_crossing(struct origin *origin, const struct table_topic *topic, struct str subscription,
                         unsigned number)
{
    char key[PROTOCOL_KEY_MAX];
    struct crossing *crossing = &origin->crossings[origin->crossing_count++];
    *crossing = (struct crossing){.origin = origin, .topic = topic, .subscription = subscription, .number = number};
    size_t len = protocol_key(key, str_of(origin->arrival.unit), topic->name, number, "stream");
    crossing->stream = str_dup((struct str){key, len});
    crossing->cursor = key_of(crossing, "cursor:", "");
    crossing->parked = key_of(crossing, "parked:", "");
    crossing->parks = key_of(crossing, "park:", ":");
}

/* Broadcasts go to whoever listens at a unit; no order spans two of them. */
static void add_crossings(struct origin *origin)
{
    const struct table *table = origin->table;
    size_t count = 0;
    for (uint32_t i = 0; i < table->topic_count; i++)
        count += (size_t)table->topics[i].subscription_count * table->topics[i].partitions;
    origin->crossings = mem_calloc(count, sizeof(*origin->crossings));
    for (uint32_t i = 0; i < table->topic_count; i++)
        for (uint32_t k = 0; k < table->topics[i].subscription_count; k++)
            for (unsigned n = 0; !table->topics[i].subscriptions[k].broadcast && n < table->topics[i].partitions; n++)
                add_crossing(origin, &table->topics[i], table->topics[i].subscriptions[k].name, n);
}

static const struct crossing *find_crossing(const struct origin *origin, const struct partition *partition,
                                            uint32_t slot, struct str user)
{
    const struct crossing *at = origin->crossings, *end = at + origin->crossing_count;
    while (at < end && (!str_equal(at->topic->name, str_of(partition->topic)) ||
                        !str_equal(at->subscription, str_of(partition->subscription))))
        at += at->topic->partitions;
    return at < end ? at + table_partition(at->topic, slot, user) : NULL;
}

static bool is_parked(const struct crossing *crossing, struct str user)
{
    struct str rest = {crossing->users, crossing->users_len}, one;
    while (rest.len > 0 && str_next(&rest, '\0', &one))
        if (str_equal(one, user))
            return true;
    return false;
}

bool origin_keeps_back(const struct origin *origin, const struct partition *partition, const struct message *message)
{
    struct decision before;
    struct str user = message->envelope.fields[ENVELOPE_USER];
    if (table_owner_in(origin->table, origin->zone, user, &before) != VERDICT_OK ||
        !str_equal(origin->table->units[before.unit].name, str_of(origin->arrival.unit)))
        return false;
    const struct crossing *crossing = find_crossing(origin, partition, before.slot, user);
    return crossing != NULL && (!crossing->passed || is_parked(crossing, user));
}

static bool is_over(const struct crossing *crossing)
{
    return crossing->passed && crossing->users_len == 0;
}

bool origin_is_over(const struct origin *origin)
{
    for (size_t i = 0; i < origin->crossing_count; i++)
        if (!is_over(&origin->crossings[i]))
            return false;
    return true;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void set_users(struct crossing *crossing, const redisReply *reply)
{
    struct buf users = {NULL, 0, 0};
    for (size_t i = 2; i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            buf_append(&users, reply->element[i]->str, (size_t)reply->element[i]->len + 1);
    free(crossing->users);
    crossing->users = users.base;
    crossing->users_len = users.len;
}

static bool is_word(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
           reply->element[0]->len < STREAM_ID_TEXT && reply->element[1]->type == REDIS_REPLY_INTEGER;
}

static void tell_refusal(struct origin *origin, const redisReply *reply)
{
    const char *text = reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer of another type";
    if (strncmp(text, origin->fault, sizeof(origin->fault) - 1) == 0)
        return;
    snprintf(origin->fault, sizeof(origin->fault), "%s", text);
    log_warning("arrivals.refused", "the broker of %s does not tell what it has left: %s", origin->arrival.unit, text);
}

static void on_word(void *arg, const redisReply *reply)
{
    struct crossing *crossing = arg;
    struct origin *origin = crossing->origin;
    crossing->asked = false;
    if (reply == NULL)
        return;
    if (!is_word(reply)) {
        tell_refusal(origin, reply);
        return;
    }
    bool passed = crossing->passed;
    size_t len = crossing->users_len;
    memcpy(crossing->fence, reply->element[0]->str, (size_t)reply->element[0]->len + 1);
    crossing->passed = passed || reply->element[1]->integer == 1;
    if (reply->element[1]->integer == 1)
        set_users(crossing, reply);
    if (crossing->passed != passed || crossing->users_len != len)
        origin->changed(origin->arg);
}

static void ask(struct origin *origin, struct crossing *crossing)
{
    char epoch[24];
    snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)origin->arrival.epoch);
    const char *words[] = {
        "FCALL",         "ldc1_remains",  "4",   crossing->stream, crossing->cursor, crossing->parked,
        crossing->parks, crossing->fence, epoch, MOST_PARKED};
    crossing->asked = broker_command(origin->primary.broker, on_word, crossing, 10, words, NULL);
}

void origin_look(struct origin *origin)
{
    if (!primary_is_ready(&origin->primary))
        return;
    for (size_t i = 0; i < origin->crossing_count; i++)
        if (!origin->crossings[i].asked && !is_over(&origin->crossings[i]))
            ask(origin, &origin->crossings[i]);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

static struct str by_rules(const struct origin *origin)
{
    uint32_t unit = table_unit_index(origin->table, str_of(origin->arrival.unit));
    bool named = unit != NO_UNIT && origin->table->units[unit].broker_count > 0;
    return named ? origin->table->units[unit].brokers[0] : STR_LIT("");
}

static bool is_named(const struct table_topic *topic, struct str subscription)
{
    for (uint32_t i = 0; i < topic->subscription_count; i++)
        if (str_equal(topic->subscriptions[i].name, subscription))
            return true;
    return false;
}

/* A topic that is gone is delivered to its end; a subscription that is gone is not. */
static void pass_what_is_gone(struct origin *origin, const struct table *table)
{
    for (uint32_t i = 0; i < table->topic_count; i++)
        for (size_t k = 0; k < origin->crossing_count; k++) {
            struct crossing *crossing = &origin->crossings[k];
            if (str_equal(crossing->topic->name, table->topics[i].name) &&
                !is_named(&table->topics[i], crossing->subscription)) {
                crossing->passed = true;
                crossing->users_len = 0;
            }
        }
}

void origin_follow(struct origin *origin, struct store *store, struct document_cache *cache, const struct table *table)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    struct broker_record record;
    struct error err;
    uint64_t version = 0;
    broker_record_name(name, sizeof(name), str_of(origin->arrival.unit));
    pass_what_is_gone(origin, table);
    bool read = document_cache_get(cache, store, name, &text, &version, &err) == 0;
    if (!read && origin->primary.url == NULL) {
        document_cache_recall(cache, name, &text, &version);
        read = version > 0;
    }
    if (read && version > 0 && broker_record_parse(buf_str(&text), &record, &err) == 0)
        primary_adopt(&origin->primary, str_of(record.primary));
    else if (read && version == 0)
        primary_adopt(&origin->primary, by_rules(origin));
    buf_free(&text);
}

struct origin *origin_create(sd_event *loop, const struct agent_config *options, const char *password,
                             const struct arrival *arrival, struct table *table, enum zone zone,
                             void (*changed)(void *arg), void *arg)
{
    struct origin *origin = mem_calloc(1, sizeof(*origin));
    origin->arrival = *arrival;
    origin->table = table;
    origin->zone = zone;
    origin->changed = changed;
    origin->arg = arg;
    primary_init(&origin->primary, loop, options, password, NULL, NULL);
    add_crossings(origin);
    return origin;
}

void origin_destroy(struct origin **slot)
{
    struct origin *origin = *slot;
    *slot = NULL;
    if (origin == NULL)
        return;
    primary_close(&origin->primary);
    for (size_t i = 0; i < origin->crossing_count; i++) {
        free(origin->crossings[i].stream);
        free(origin->crossings[i].cursor);
        free(origin->crossings[i].parked);
        free(origin->crossings[i].parks);
        free(origin->crossings[i].users);
    }
    free(origin->crossings);
    table_unref(&origin->table);
    free(origin);
}
