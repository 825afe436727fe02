/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/survey.h"

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

/* Empty text leaves *ID as it is. */
static bool read_id(const redisReply *reply, struct stream_id *id)
{
    struct str text = text_of(reply);
    return text.base != NULL && (text.len == 0 || stream_id_parse(text, id));
}

int survey_read(const redisReply *reply, size_t at, struct survey *survey, struct error *err)
{
    *survey = (struct survey){.first = {UINT64_MAX, UINT64_MAX}};
    if (reply->type == REDIS_REPLY_ERROR)
        return error_set(err, ERROR_REFUSED, "%s", reply->str);
    if (reply->type != REDIS_REPLY_ARRAY || at >= reply->elements || reply->element[at]->type != REDIS_REPLY_ARRAY ||
        reply->element[at]->elements != 5)
        return error_set(err, ERROR_REFUSED, "not the answer to a survey");
    redisReply *const *fields = reply->element[at]->element;
    if (!read_id(fields[0], &survey->first) || !read_id(fields[1], &survey->last_there) ||
        !read_id(fields[2], &survey->last) || fields[3]->type != REDIS_REPLY_INTEGER || fields[3]->integer < 0)
        return error_set(err, ERROR_REFUSED, "a malformed answer to a survey");
    survey->total = (uint64_t)fields[3]->integer;
    survey->owner = text_of(fields[4]);
    return 0;
}
