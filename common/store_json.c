/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store_json.h"

#include "common/clock.h"

json_t *store_record_to_json(const struct store_record *record)
{
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(record->at_us, at);
    return json_pack("{s:I,s:I,s:I,s:I,s:s,s:I,s:s,s:s,s:s}", "epoch", (json_int_t)record->epoch, "rules_epoch",
                     (json_int_t)record->rules_epoch, "version", (json_int_t)record->version, "restores",
                     (json_int_t)record->restores, "at", at, "at_us", (json_int_t)record->at_us, "by", record->by,
                     "note", record->note, "sha256", record->sha256);
}

static bool take_number(const json_t *json, const char *key, uint64_t *out)
{
    const json_t *number = json_object_get(json, key);
    json_int_t value = json_integer_value(number);
    *out = (uint64_t)value;
    return json_is_integer(number) && value >= 0;
}

static bool take_text(const json_t *json, const char *key, char *out, size_t size)
{
    const json_t *text = json_object_get(json, key);
    if (!json_is_string(text) || json_string_length(text) >= size)
        return false;
    memcpy(out, json_string_value(text), json_string_length(text) + 1);
    return true;
}

bool store_record_from_json(const json_t *json, struct store_record *record)
{
    *record = (struct store_record){0};
    bool together = json_object_get(json, "rules_epoch") == NULL; /* written before documents raised the epoch */
    return take_number(json, "epoch", &record->epoch) &&
           take_number(json, together ? "epoch" : "rules_epoch", &record->rules_epoch) &&
           take_number(json, "version", &record->version) &&
           (json_object_get(json, "restores") == NULL || take_number(json, "restores", &record->restores)) &&
           take_number(json, "at_us", &record->at_us) && take_text(json, "by", record->by, sizeof(record->by)) &&
           take_text(json, "note", record->note, sizeof(record->note)) &&
           take_text(json, "sha256", record->sha256, sizeof(record->sha256));
}

json_t *store_member_to_json(const struct store_member *member)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I}", "name", member->name, "role", member->role, "unit",
                     member->unit, "datacenter", member->datacenter, "admin", member->admin, "pulse", member->pulse,
                     "incarnation", (json_int_t)member->incarnation, "pid", (json_int_t)member->pid);
}

bool store_member_from_json(const json_t *json, struct store_member *member)
{
    uint64_t pid = 0;
    *member = (struct store_member){0};
    bool complete = take_text(json, "name", member->name, sizeof(member->name)) &&
                    take_text(json, "role", member->role, sizeof(member->role)) &&
                    take_text(json, "unit", member->unit, sizeof(member->unit)) &&
                    take_text(json, "datacenter", member->datacenter, sizeof(member->datacenter)) &&
                    take_text(json, "admin", member->admin, sizeof(member->admin)) && take_number(json, "pid", &pid) &&
                    (json_object_get(json, "pulse") == NULL || /* processes of a former version write none */
                     (take_text(json, "pulse", member->pulse, sizeof(member->pulse)) &&
                      take_number(json, "incarnation", &member->incarnation)));
    member->pid = (long)pid;
    return complete;
}
