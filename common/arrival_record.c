/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arrival_record.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

void arrival_record_name(char *name, size_t size, struct str unit)
{
    snprintf(name, size, "arrivals/%.*s", STR_ARG(unit));
}

static bool take_number(const json_t *number, uint64_t *out)
{
    *out = (uint64_t)json_integer_value(number);
    return json_is_integer(number) && json_integer_value(number) >= 0;
}

static bool take_arrival(const json_t *item, struct arrival *arrival)
{
    const char *unit = json_string_value(json_object_get(item, "unit"));
    if (unit == NULL || strlen(unit) >= sizeof(arrival->unit))
        return false;
    snprintf(arrival->unit, sizeof(arrival->unit), "%s", unit);
    return take_number(json_object_get(item, "epoch"), &arrival->epoch) &&
           take_number(json_object_get(item, "version"), &arrival->version);
}

static bool take(const json_t *list, struct arrival_record *record)
{
    bool taken = json_is_array(list) && json_array_size(list) <= ARRIVALS_MOST;
    for (size_t i = 0; taken && i < json_array_size(list); i++)
        taken = take_arrival(json_array_get(list, i), &record->from[record->count++]);
    return taken;
}

int arrival_record_parse(struct str text, struct arrival_record *record, struct error *err)
{
    *record = (struct arrival_record){0};
    json_t *json = json_loadb(text.base ? text.base : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    bool taken = take(json_object_get(json, "from"), record);
    json_decref(json);
    if (taken)
        return 0;
    *record = (struct arrival_record){0};
    return error_set(err, ERROR_SYSTEM, "the record of arrivals is garbled");
}

void arrival_record_format(const struct arrival_record *record, struct buf *out)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < record->count; i++)
        json_array_append_new(list, json_pack("{s:s,s:I,s:I}", "unit", record->from[i].unit, "epoch",
                                              (json_int_t)record->from[i].epoch, "version",
                                              (json_int_t)record->from[i].version));
    json_t *json = json_pack("{s:o}", "from", list);
    char *text = json_dumps(json, JSON_COMPACT);
    buf_append_str(out, str_of(text));
    free(text);
    json_decref(json);
}

static unsigned find(const struct arrival_record *record, const struct arrival *arrival)
{
    unsigned i = 0;
    while (i < record->count &&
           (record->from[i].epoch != arrival->epoch || strcmp(record->from[i].unit, arrival->unit) != 0))
        i++;
    return i;
}

bool arrival_record_add(struct arrival_record *record, const struct arrival *arrival)
{
    if (find(record, arrival) < record->count)
        return true;
    if (record->count == ARRIVALS_MOST)
        return false;
    record->from[record->count++] = *arrival;
    return true;
}

void arrival_record_remove(struct arrival_record *record, const struct arrival *arrival)
{
    unsigned at = find(record, arrival);
    if (at == record->count)
        return;
    record->count--;
    memmove(&record->from[at], &record->from[at + 1], (record->count - at) * sizeof(record->from[0]));
}
