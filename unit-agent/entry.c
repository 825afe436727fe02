/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/entry.h"

#include "unit-agent/message.h"

#define MOST_FIELDS 32 /* that are looked at */

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

bool entry_id(const redisReply *reply, struct stream_id *id)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && stream_id_parse(text_of(reply->element[0]), id);
}

bool entry_read(const redisReply *reply, struct stream_id *id, struct envelope *envelope)
{
    struct str names[MOST_FIELDS], values[MOST_FIELDS];
    size_t count = 0;
    if (!entry_id(reply, id) || reply->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    const redisReply *fields = reply->element[1];
    for (size_t i = 0; i + 1 < fields->elements && count < MOST_FIELDS; i += 2, count++) {
        names[count] = text_of(fields->element[i]);
        values[count] = text_of(fields->element[i + 1]);
    }
    return envelope_decode(names, values, count, envelope) && message_fits_http(envelope);
}
