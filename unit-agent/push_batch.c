/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/push_batch.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/json_text.h"

/* Of the reply to ldc1_c_changes. */
enum head {
    HEAD_SEQ = 0,
    HEAD_LAST,
    HEAD_STATE,
    HEAD_EPOCH,
    HEAD_FROM,
    HEAD_BEAT,
    HEAD_WORDS,
};
enum word {
    WORD_ID = 0,
    WORD_OP,
    WORD_KEY,
    WORD_VERSION,
    WORD_WAS,
    WORD_US,
    WORDS,
};

/* --- the cursor --------------------------------------------------------------------------------------------------- */

void push_cursor_format(const struct push_cursor *cursor, char text[PUSH_CURSOR])
{
    char id[STREAM_ID_TEXT];
    stream_id_format(id, cursor->last);
    snprintf(text, PUSH_CURSOR, "%s %llu %llu", id, (unsigned long long)cursor->from, (unsigned long long)cursor->app);
}

void push_cursor_parse(struct push_cursor *cursor, struct str text)
{
    struct str rest = text, id, from;
    *cursor = (struct push_cursor){0};
    cursor->set = str_next(&rest, ' ', &id) && stream_id_parse(id, &cursor->last) && str_next(&rest, ' ', &from) &&
                  str_to_u64(from, &cursor->from) && str_to_u64(rest, &cursor->app);
    if (!cursor->set)
        cursor->last = (struct stream_id){0, 0};
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : STR_LIT("");
}

static uint64_t number_of(const redisReply *reply)
{
    uint64_t number = 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        return (uint64_t)reply->integer;
    (void)str_to_u64(text_of(reply), &number);
    return number;
}

/* What all events have, up to their data. KEY: base NULL: none. */
static void begin_event(struct push_batch *batch, const char *type, struct str id, uint64_t us, struct str key,
                        const char *source)
{
    char time[CLOCK_UTC_SIZE];
    clock_format_utc(us, time);
    buf_printf(&batch->body,
               "%s\n{\"specversion\":\"1.0\",\"type\":\"ldcgate.collection.%s\",\"source\":\"%s\",\"id\":\"%.*s\","
               "\"time\":\"%s\",\"datacontenttype\":\"application/json\"",
               batch->count++ > 0 ? "," : "[", type, source, STR_ARG(id), time);
    if (key.base == NULL)
        return;
    buf_printf(&batch->body, ",\"subject\":");
    json_append_text(&batch->body, key);
}

static void put_reset(struct push_batch *batch, const char *source, struct str collection)
{
    char id[40];
    int len = snprintf(id, sizeof(id), "reset-%llu", (unsigned long long)batch->seq);
    begin_event(batch, "reset", (struct str){id, (size_t)len}, clock_wall_us(), (struct str){NULL, 0}, source);
    buf_printf(&batch->body, ",\"data\":{\"collection\":\"%.*s\",\"sequence\":%llu}}", STR_ARG(collection),
               (unsigned long long)batch->seq);
    batch->next.last = (struct stream_id){batch->seq, 0};
}

static void put_change(struct push_batch *batch, redisReply *const *words, struct stream_id id, const char *source,
                       struct str collection)
{
    char type[16], text[STREAM_ID_TEXT];
    struct str key = text_of(words[WORD_KEY]);
    size_t len = id.seq == 0 ? str_from_u64(id.ms, text) : stream_id_format(text, id);
    snprintf(type, sizeof(type), "%.*s", STR_ARG(text_of(words[WORD_OP])));
    begin_event(batch, type, (struct str){text, len}, number_of(words[WORD_US]), key, source);
    buf_printf(&batch->body, ",\"data\":{\"collection\":\"%.*s\",\"sequence\":%llu,\"key\":", STR_ARG(collection),
               (unsigned long long)id.ms);
    json_append_text(&batch->body, key);
    buf_printf(&batch->body, ",\"version\":%llu,\"was\":%llu}}", (unsigned long long)number_of(words[WORD_VERSION]),
               (unsigned long long)number_of(words[WORD_WAS]));
    batch->next.last = id;
}

/* --- what follows on what ----------------------------------------------------------------------------------------- */

static bool is_told(const redisReply *changes, struct push_batch *batch)
{
    if (changes == NULL || changes->type != REDIS_REPLY_ARRAY || changes->elements < HEAD_WORDS ||
        (changes->elements - HEAD_WORDS) % WORDS != 0)
        return false;
    batch->seq = number_of(changes->element[HEAD_SEQ]);
    batch->next.from = number_of(changes->element[HEAD_FROM]);
    return !str_equal(text_of(changes->element[HEAD_STATE]), STR_LIT("copying")) &&
           stream_id_parse(text_of(changes->element[HEAD_LAST]), &batch->next.last);
}

/* Whether the changes of the reply go on where the cursor ends, one by one; a beat has the number of the change before
 * it. */
static bool goes_on(const redisReply *changes, const struct push_batch *batch, const struct push_cursor *cursor)
{
    uint64_t seq = cursor->last.ms;
    bool looked = stream_id_compare(batch->next.last, cursor->last) != 0;
    if (!cursor->set || cursor->from != batch->next.from || seq > batch->seq || (!looked && seq < batch->seq))
        return false;
    for (size_t i = HEAD_WORDS; i < changes->elements; i += WORDS) {
        struct stream_id id;
        if (!stream_id_parse(text_of(changes->element[i + WORD_ID]), &id) || id.ms != seq + (id.seq == 0))
            return false;
        seq = id.ms;
    }
    return seq == batch->next.last.ms;
}

bool push_batch_make(struct push_batch *batch, const redisReply *changes, const struct push_cursor *cursor,
                     struct str unit, struct str collection)
{
    char source[256];
    batch->body.len = batch->count = 0;
    if (!is_told(changes, batch))
        return false;
    snprintf(source, sizeof(source), "/units/%.*s/collections/%.*s", STR_ARG(unit), STR_ARG(collection));
    batch->next.set = true;
    batch->next.app = cursor->app;
    if (!goes_on(changes, batch, cursor)) {
        put_reset(batch, source, collection);
    } else {
        struct stream_id last = batch->next.last, id;
        for (size_t i = HEAD_WORDS; i < changes->elements; i += WORDS)
            if (stream_id_parse(text_of(changes->element[i + WORD_ID]), &id))
                put_change(batch, changes->element + i, id, source, collection);
        batch->next.last = last; /* of what was looked at, beats and all */
    }
    if (batch->count > 0)
        buf_append(&batch->body, "]\n", 2);
    return true;
}

void push_batch_free(struct push_batch *batch)
{
    buf_free(&batch->body);
}
