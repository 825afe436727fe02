/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/survey.h"

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS
               ? (struct str){reply->str, (size_t)reply->len}
               : (struct str){NULL, 0};
}

/* The id of an entry, [ID, [field, value, ...]]; an empty stream has nil for it. */
static bool entry_id(const redisReply *entry, struct stream_id *id)
{
    if (entry->type == REDIS_REPLY_NIL)
        return true;
    return entry->type == REDIS_REPLY_ARRAY && entry->elements > 0 && stream_id_parse(text_of(entry->element[0]), id);
}

static bool take(struct survey *survey, struct str name, const redisReply *value)
{
    if (str_equal(name, STR_LIT("last-generated-id")))
        return stream_id_parse(text_of(value), &survey->last);
    if (str_equal(name, STR_LIT("first-entry")))
        return entry_id(value, &survey->first);
    if (str_equal(name, STR_LIT("entries-added"))) {
        survey->added = (uint64_t)value->integer;
        return value->type == REDIS_REPLY_INTEGER && value->integer >= 0;
    }
    return true;
}

int survey_read(const redisReply *reply, struct survey *survey, struct error *err)
{
    *survey = (struct survey){.first = {UINT64_MAX, UINT64_MAX}};
    if (reply->type == REDIS_REPLY_ERROR) {
        if (str_starts((struct str){reply->str, (size_t)reply->len}, STR_LIT("ERR no such key")))
            return 0;
        return error_set(err, ERROR_REFUSED, "%s", reply->str);
    }
    if (reply->type != REDIS_REPLY_ARRAY)
        return error_set(err, ERROR_REFUSED, "not the answer to XINFO STREAM");
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (!take(survey, text_of(reply->element[i]), reply->element[i + 1]))
            return error_set(err, ERROR_REFUSED, "malformed answer to XINFO STREAM");
    return 0;
}
