/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "unit-agent/copies.h"
#include "unit-agent/copy_look.h"

static void on_told(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

/* Whoever reads a log that was begun anew hears nothing. */
static void on_sequence(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR || copy->phase != COPY_FOLLOWS || copy->again)
        return;
    uint64_t seq = copy_number(reply);
    copy->origin_seq = seq > copy->origin_seq ? seq : copy->origin_seq;
    if (seq < copy->seq)
        copy_look_again(copy);
}

static const char *text_of(const redisReply *meta, enum copy_meta field)
{
    return meta->element[field]->type == REDIS_REPLY_STRING ? meta->element[field]->str : "";
}

static json_int_t number_of(const redisReply *meta, enum copy_meta field)
{
    return (json_int_t)copy_number(meta->element[field]);
}

static json_t *make(const struct copy *copy, const redisReply *meta)
{
    struct str agent = copy->copies->config.agent;
    return json_pack("{s:s%,s:I,s:s,s:b,s:I,s:b,s:s,s:I,s:I}", "agent", agent.base, agent.len, "seq",
                     number_of(meta, COPY_META_SEQ), "state", text_of(meta, COPY_META_STATE), "open",
                     copy_is_open(copy), "digest_seq", number_of(meta, COPY_META_DIGEST_SEQ), "digest_ok",
                     number_of(meta, COPY_META_DIGEST_OK) == 1, "bad", text_of(meta, COPY_META_BAD), "beat_us",
                     number_of(meta, COPY_META_BEAT), "at_us", (json_int_t)clock_wall_us());
}

static void tell_origin(struct copy *copy, const redisReply *meta)
{
    const struct copies *copies = copy->copies;
    char units[PROTOCOL_KEY_MAX + 8], origin[PROTOCOL_KEY_MAX + 8];
    if (!copy_source_is_ready(&copies->source))
        return;
    json_t *report = make(copy, meta);
    char *text = json_dumps(report, JSON_COMPACT);
    snprintf(units, sizeof(units), "%sunits", copy->from);
    snprintf(origin, sizeof(origin), "%smeta", copy->from);
    const char *const tell[] = {"HSET", units, copies->config.options->unit, text}, *const ask[] = {"HGET", origin,
                                                                                                    "seq"};
    struct broker *broker = copy_source_broker(&copies->source);
    if (text != NULL)
        (void)!(broker_command(broker, on_told, NULL, 4, tell, NULL) &&
                broker_command(broker, on_sequence, copy, 3, ask, NULL));
    free(text);
    json_decref(report);
}

/* What the copy knows is what was answered before this, on the same connection. */
static bool is_as_known(const struct copy *copy, const redisReply *meta)
{
    return number_of(meta, COPY_META_SEQ) >= (json_int_t)copy->seq &&
           number_of(meta, COPY_META_EPOCH) == (json_int_t)copy->epoch &&
           (strcmp(text_of(meta, COPY_META_STATE), "live") == 0) == copy->live &&
           strcmp(text_of(meta, COPY_META_OWNER), copy->copies->config.owner(copy->copies->config.arg)) == 0;
}

static void on_meta(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != COPY_META_COUNT || !copy->owned)
        return;
    if (copy->phase == COPY_LOOKS || copy->again)
        return;
    if (!is_as_known(copy, reply)) {
        copy_lose(copy);
        return;
    }
    copy_note_bad(copy, text_of(reply, COPY_META_BAD));
    tell_origin(copy, reply);
}

void copy_report(struct copy *copy)
{
    if (copy->owned)
        (void)!copy_look_ask(copy, on_meta, copy);
}
