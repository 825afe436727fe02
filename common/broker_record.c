/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker_record.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/broker_info.h"
#include "common/slot_list.h"

void broker_record_name(char *name, size_t size, struct str unit)
{
    snprintf(name, size, "brokers/%.*s", STR_ARG(unit));
}

const struct broker_member *broker_record_member(const struct broker_record *record, const char *url)
{
    for (unsigned i = 0; i < record->member_count; i++)
        if (strcmp(record->members[i].url, url) == 0)
            return &record->members[i];
    return NULL;
}

/* --- changing it -------------------------------------------------------------------------------------------------- */

void broker_record_lead(struct broker_record *record, const struct broker_member *member)
{
    record->members[0] = *member;
    record->member_count = 1;
    memcpy(record->primary, record->members[0].url, sizeof(record->primary));
    memcpy(record->run_id, record->members[0].run_id, sizeof(record->run_id));
    record->sync_full = record->sync_partial = record->wait = 0;
    record->before = record->version;
}

void broker_record_end_plan(struct broker_record *record)
{
    record->hold = false;
    record->target[0] = record->target_consumer[0] = '\0';
}

void broker_record_sign(struct broker_record *record, const char *by, const char *why, uint64_t at_us)
{
    snprintf(record->by, sizeof(record->by), "%s", by);
    snprintf(record->why, sizeof(record->why), "%s", why);
    record->at_us = at_us;
}

/* --- as JSON ------------------------------------------------------------------------------------------------------ */

static bool take_number(const json_t *json, const char *key, uint64_t *out)
{
    const json_t *number = json_object_get(json, key);
    *out = (uint64_t)json_integer_value(number);
    return json_is_integer(number) && json_integer_value(number) >= 0;
}

static bool take_text(const json_t *json, const char *key, char *out, size_t size)
{
    const json_t *text = json_object_get(json, key);
    if (!json_is_string(text) || json_string_length(text) >= size)
        return false;
    memcpy(out, json_string_value(text), json_string_length(text) + 1);
    return true;
}

/* The same for what older records lack. */
static bool take_words(const json_t *json, const char *key, char *out, size_t size)
{
    return json_object_get(json, key) == NULL || take_text(json, key, out, size);
}

static bool take_hold(const json_t *json, struct broker_record *record)
{
    const json_t *hold = json_object_get(json, "hold");
    record->hold = json_is_true(hold);
    return hold == NULL || json_is_boolean(hold);
}

static bool take_moving(const json_t *json, struct broker_moving *moving)
{
    return json == NULL ||
           (take_number(json, "rules", &moving->rules) &&
            take_text(json, "slots", moving->slots, sizeof(moving->slots)) && slot_list_is_valid(moving->slots));
}

/* What a record lacks most of the time. */
static bool take_plan(const json_t *json, struct broker_record *record)
{
    const json_t *drained = json_object_get(json, "drained"), *counted = json_object_get(json, "counted");
    struct broker_drain *drain = &record->drained;
    return take_words(json, "target", record->target, sizeof(record->target)) &&
           take_words(json, "target_consumer", record->target_consumer, sizeof(record->target_consumer)) &&
           take_moving(json_object_get(json, "moving"), &record->moving) &&
           (json_object_get(json, "before") == NULL || take_number(json, "before", &record->before)) &&
           (drained == NULL || (take_text(drained, "by", drain->by, sizeof(drain->by)) &&
                                take_text(drained, "why", drain->why, sizeof(drain->why)) &&
                                take_number(drained, "at_us", &drain->at_us) && drain->at_us > 0)) &&
           (counted == NULL || (take_number(counted, "writes", &record->counted.writes) &&
                                take_number(counted, "at_us", &record->counted.at_us)));
}

static bool take_members(const json_t *list, struct broker_record *record)
{
    size_t count = json_array_size(list);
    if (count == 0 || count > BROKER_MEMBERS_MOST)
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        struct broker_member *member = &record->members[i];
        if (!take_text(item, "broker", member->url, sizeof(member->url)) ||
            !take_text(item, "run_id", member->run_id, sizeof(member->run_id)) ||
            broker_record_member(record, member->url) != NULL)
            return false;
        record->member_count++;
    }
    return strcmp(record->members[0].url, record->primary) == 0 &&
           strcmp(record->members[0].run_id, record->run_id) == 0;
}

static bool take_record(const json_t *json, struct broker_record *record)
{
    uint64_t wait = 0;
    bool whole = take_text(json, "dataset", record->dataset, sizeof(record->dataset)) &&
                 take_text(json, "primary", record->primary, sizeof(record->primary)) &&
                 take_text(json, "run_id", record->run_id, sizeof(record->run_id)) &&
                 take_number(json, "sync_full", &record->sync_full) &&
                 take_number(json, "sync_partial", &record->sync_partial) && take_number(json, "wait", &wait) &&
                 take_number(json, "at_us", &record->at_us) && take_text(json, "by", record->by, sizeof(record->by)) &&
                 take_words(json, "consumer", record->consumer, sizeof(record->consumer)) &&
                 take_words(json, "why", record->why, sizeof(record->why)) && take_hold(json, record) &&
                 (json_object_get(json, "moved_us") == NULL || take_number(json, "moved_us", &record->moved_us)) &&
                 take_plan(json, record) && take_members(json_object_get(json, "in_sync"), record);
    record->wait = (unsigned)wait;
    return whole && wait + 1 >= record->member_count && wait < UINT16_MAX;
}

int broker_record_parse(struct str text, struct broker_record *record, struct error *err)
{
    *record = (struct broker_record){0};
    json_t *json = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    bool taken = json != NULL && take_record(json, record);
    json_decref(json);
    if (taken)
        return 0;
    *record = (struct broker_record){0};
    return error_set(err, ERROR_SYSTEM, "the broker record is garbled");
}

static void add_plan(const struct broker_record *record, json_t *json)
{
    const struct broker_drain *drain = &record->drained;
    if (record->target[0] != '\0')
        json_object_set_new(json, "target", json_string(record->target));
    if (record->target_consumer[0] != '\0')
        json_object_set_new(json, "target_consumer", json_string(record->target_consumer));
    if (drain->at_us != 0)
        json_object_set_new(
            json, "drained",
            json_pack("{s:s,s:s,s:I}", "by", drain->by, "why", drain->why, "at_us", (json_int_t)drain->at_us));
    if (record->counted.at_us != 0)
        json_object_set_new(json, "counted",
                            json_pack("{s:I,s:I}", "writes", (json_int_t)record->counted.writes, "at_us",
                                      (json_int_t)record->counted.at_us));
    if (record->before != 0)
        json_object_set_new(json, "before", json_integer((json_int_t)record->before));
    if (record->moving.rules != 0)
        json_object_set_new(
            json, "moving",
            json_pack("{s:I,s:s}", "rules", (json_int_t)record->moving.rules, "slots", record->moving.slots));
}

void broker_record_format(const struct broker_record *record, struct buf *out)
{
    json_t *members = json_array();
    for (unsigned i = 0; i < record->member_count; i++)
        json_array_append_new(
            members, json_pack("{s:s,s:s}", "broker", record->members[i].url, "run_id", record->members[i].run_id));
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:s,s:b,s:s,s:I,s:I,s:s}", "dataset", record->dataset, "primary",
                  record->primary, "run_id", record->run_id, "sync_full", (json_int_t)record->sync_full, "sync_partial",
                  (json_int_t)record->sync_partial, "wait", (json_int_t)record->wait, "in_sync", members, "consumer",
                  record->consumer, "hold", record->hold, "why", record->why, "moved_us", (json_int_t)record->moved_us,
                  "at_us", (json_int_t)record->at_us, "by", record->by);
    add_plan(record, json);
    char *text = json_dumps(json, JSON_COMPACT);
    buf_append_str(out, str_of(text));
    free(text);
    json_decref(json);
}

bool broker_record_counted(const struct broker_record *record, uint64_t writes)
{
    return record->counted.at_us != 0 && record->counted.at_us == record->at_us && record->counted.writes <= writes;
}

bool broker_moving_holds(const struct broker_moving *moving, uint64_t routed, uint32_t slot)
{
    return routed <= moving->rules && slot_list_has(moving->slots, slot);
}

/* --- what a WAIT proves ------------------------------------------------------------------------------------------- */

static bool refuse(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool refuse(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (why != NULL)
        vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

/* WAIT counts those that are online and no others. */
static unsigned count_online(struct str info)
{
    struct broker_replica replica;
    unsigned online = 0;
    for (unsigned i = 0; broker_info_replica(info, i, &replica); i++)
        online += str_equal(replica.state, STR_LIT("online"));
    return online;
}

bool broker_record_covers(const struct broker_record *record, struct str info, const char *connection_run_id, char *why,
                          size_t size)
{
    uint64_t full = 0, partial = 0;
    struct str run_id = broker_info_text(info, "run_id");
    if (record->member_count == 0)
        return refuse(why, size, "no record says who is in sync");
    if (connection_run_id == NULL || strcmp(connection_run_id, record->run_id) != 0 ||
        (run_id.base != NULL && !str_equal(run_id, str_of(record->run_id))))
        return refuse(why, size, "the broker is another one, or was restarted, since the record was written");
    if (!broker_info_is(info, "role", "master"))
        return refuse(why, size, "the broker is no primary any more");
    if (!broker_info_is(info, "aof_enabled", "1"))
        return refuse(why, size, "the broker keeps no append-only file any more");
    unsigned online = count_online(info);
    if (online != record->wait)
        return refuse(why, size, "%u replicas are online, and the record knows of %u", online, record->wait);
    if (!broker_info_number(info, "sync_full", &full) || !broker_info_number(info, "sync_partial_ok", &partial) ||
        full != record->sync_full || partial != record->sync_partial)
        return refuse(why, size, "a replica has attached since the record was written");
    return true;
}
