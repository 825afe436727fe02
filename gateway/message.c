/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/message.h"

#include <stdlib.h>

#include "common/invariant.h"
#include "common/measure.h"
#include "gateway/line.h"
#include "gateway/unit_lines.h"

#define EPOCH     "LDC_EPOCH "
#define NO_WRITES "Nothing was stored: the broker takes no writes now"

/* --- what the functions answer ------------------------------------------------------------------------------------ */

/* How their errors begin, and what that means; none of them has stored anything. */
static const struct {
    const char *code;
    enum message_phase phase;
    enum verdict verdict;
    const char *detail;
} errors[] = {
    {"LDC_CONFLICT", MESSAGE_REFUSED, VERDICT_IDEMPOTENCY_CONFLICT,
     "Send another Idempotency-Key, or the first request as it was"},
    {"LDC_BACKLOG", MESSAGE_REFUSED, VERDICT_BACKLOG_FULL,
     "The message was not stored: too many wait for their delivery"},
    {"LDC_EPOCH", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, "Nothing was stored: the unit is changing its broker"},
    {"LDC_UNKNOWN", MESSAGE_REFUSED, VERDICT_NOT_FOUND,
     "No such message waits: it never did, or its end is no longer remembered"},
    {"LDC_STATE", MESSAGE_REFUSED, VERDICT_BROKER_AWAY,
     "The core unit's broker holds a copy of this collection that came from another unit"},
    {"OOM", MESSAGE_REFUSED, VERDICT_BROKER_FULL, "Nothing was stored: the broker is out of memory or disk"},
    {"MISCONF", MESSAGE_REFUSED, VERDICT_BROKER_FULL, "Nothing was stored: the broker is out of memory or disk"},
    {"READONLY", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, NO_WRITES},
    {"NOREPLICAS", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, NO_WRITES},
    {"LOADING", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, NO_WRITES},
    {"MASTERDOWN", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, NO_WRITES},
    {"ERR Function not found", MESSAGE_PUT_OFF, VERDICT_BROKER_AWAY, NO_WRITES},
    {"", MESSAGE_REFUSED, VERDICT_BROKER_AWAY, NO_WRITES},
};

static void read_error(struct message *message, const char *text)
{
    size_t row = 0;
    while (strncmp(text, errors[row].code, strlen(errors[row].code)) != 0)
        row++;
    bool unsure =
        message->tried && errors[row].verdict == VERDICT_BROKER_FULL; /* nobody has looked whether it is there */
    message->phase = unsure ? MESSAGE_PUT_OFF : errors[row].phase;
    message->verdict = errors[row].verdict;
    message->detail = errors[row].detail;
    if (message->verdict == VERDICT_BROKER_AWAY || message->verdict == VERDICT_BROKER_FULL)
        line_tell_refusal(message->line, text);
    if (strncmp(text, EPOCH, strlen(EPOCH)) == 0)
        unit_lines_heard_epoch(message->home, strtoull(text + strlen(EPOCH), NULL, 10));
}

/* A key that the message itself has set, before it was sent again, is no replay. */
static void read_replay(struct message *message, const redisReply *id)
{
    message->phase = MESSAGE_STORED;
    message->replayed = id->len != message->id_len || memcmp(id->str, message->id, id->len) != 0;
    message->id_len = (uint8_t)id->len;
    memcpy(message->id, id->str, id->len);
}

static bool is_replay(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
           strcmp(reply->element[0]->str, "replay") == 0 && reply->element[1]->type == REDIS_REPLY_STRING &&
           reply->element[1]->len < PROTOCOL_ID_MAX;
}

static void put_text(struct buf *texts, const redisReply *text)
{
    uint64_t len = text->len;
    buf_append(texts, &len, sizeof(len));
    buf_append(texts, text->str, text->len);
}

static void add_part(struct call_answer *answer, const redisReply *part)
{
    if (part->type == REDIS_REPLY_INTEGER && answer->count < COUNT_OF(answer->numbers))
        answer->numbers[answer->count++] = (uint64_t)part->integer;
    else if (part->type == REDIS_REPLY_STRING)
        put_text(&answer->texts, part);
    else if (part->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < part->elements; i++)
            if (part->element[i]->type == REDIS_REPLY_STRING)
                put_text(&answer->texts, part->element[i]);
}

static void drop_answer(struct message *message)
{
    message->home->bytes -= message->answer.texts.len;
    buf_free(&message->answer.texts);
    message->answer = (struct call_answer){.count = 0};
}

/* The reply itself is gone before it is known to hold. */
static void keep_answer(struct message *message, const redisReply *reply)
{
    drop_answer(message);
    for (size_t i = 0; i < reply->elements; i++)
        add_part(&message->answer, reply->element[i]);
    message->home->bytes += message->answer.texts.len;
    message->phase = MESSAGE_STORED;
}

bool call_answer_next(struct str *texts, struct str *text)
{
    uint64_t len;
    if (texts->len == 0)
        return false;
    memcpy(&len, texts->base, sizeof(len));
    *text = (struct str){texts->base + sizeof(len), len};
    *texts = (struct str){text->base + len, texts->len - sizeof(len) - len};
    return true;
}

void message_read_reply(struct message *message, const redisReply *reply)
{
    if (reply == NULL)
        return;
    if (message->kind == QUEUE_CALL_COLLECTION && reply->type == REDIS_REPLY_ARRAY) {
        keep_answer(message, reply);
    } else if (reply->type == REDIS_REPLY_STRING && reply->len < sizeof(message->entry)) {
        message->phase = MESSAGE_STORED;
        message->entry_len = (uint8_t)reply->len;
        memcpy(message->entry, reply->str, reply->len);
    } else if (is_replay(reply)) {
        read_replay(message, reply->element[1]);
    } else {
        read_error(message, reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer of another type");
    }
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

#define LOOK_IT_UP "Look the message up before you send it again"

static struct str id_of(const struct message *message)
{
    return (struct str){message->id, message->id_len};
}

/* Counts what became of a message that somebody waits for. */
static void count_failure(const struct message *message, enum verdict verdict)
{
    struct gateway_stats *stats = &message->home->lines->worker->stats;
    if (message->done == NULL)
        return;
    if (message->kind != QUEUE_CALL_COLLECTION)
        stat_add(verdict == VERDICT_OUTCOME_UNKNOWN ? &stats->queue_unknown_total : &stats->queue_refused_total, 1);
    if (verdict_info(verdict)->status >= 500)
        atomic_fetch_add_explicit(&message->home->unit->failed, 1, memory_order_relaxed);
}

static void tell(struct message *message, const struct publish_result *result)
{
    publish_done_fn done = message->done;
    if (result->verdict != VERDICT_OK && !result->moves)
        count_failure(message, result->verdict);
    message->done = NULL;
    if (done != NULL)
        done(message->arg, result);
}

/* `done` may publish the next message at once, so its room is given back first; the message itself only after it, for
 * the result points into it. */
static void end(struct message *message, const struct publish_result *result)
{
    struct lines *lines = message->home->lines;
    unit_lines_ended(message->home, message);
    message_set_bytes(message, 0);
    message->home->messages--;
    message->home->bytes -= message->answer.texts.len;
    if (message->line != NULL)
        message->line->messages--;
    timers_disarm(&message->impatience);
    free((char *)message->made.base);
    tell(message, result);
    buf_free(&message->answer.texts);
    message->next = lines->spare;
    lines->spare = message;
}

static struct publish_result unknown(const struct message *message, const char *detail)
{
    return (struct publish_result){.verdict = VERDICT_OUTCOME_UNKNOWN, .detail = detail, .message_id = id_of(message)};
}

void message_accept(struct message *message, enum durability durability)
{
    struct gateway_stats *stats = &message->home->lines->worker->stats;
    stat_add(&stats->queue_accepted_total, message->kind == QUEUE_CALL_MESSAGE);
    stat_add(&stats->queue_replayed_total, message->replayed);
    end(message, &(struct publish_result){.verdict = VERDICT_OK,
                                          .message_id = id_of(message),
                                          .entry = {message->entry_len ? message->entry : NULL, message->entry_len},
                                          .replayed = message->replayed,
                                          .durability = durability,
                                          .answer = &message->answer,
                                          .epoch = message->epoch});
}

void message_refuse(struct message *message, enum verdict verdict, const char *detail)
{
    end(message, &(struct publish_result){.verdict = verdict, .detail = detail});
}

void message_turn_away(struct message *message)
{
    end(message, &(struct publish_result){.verdict = VERDICT_SWITCHING, .detail = MESSAGE_MOVES, .moves = true});
}

void message_give_up(struct message *message, const char *detail)
{
    struct publish_result result = unknown(message, detail);
    end(message, &result);
}

void message_conclude(struct message *message)
{
    if (message->phase == MESSAGE_STORED)
        message_accept(message, DURABILITY_LOCAL);
    else if (message->phase == MESSAGE_REFUSED)
        message_refuse(message, message->verdict, message->detail);
    else
        message_give_up(message, LOOK_IT_UP);
}

/* Who publishes has lost patience before the broker's time was over. What waits for its turn then never leaves. */
static void on_impatience(h2o_timeout_entry_t *entry)
{
    struct message *message = H2O_STRUCT_FROM_MEMBER(struct message, impatience, entry);
    struct publish_result result = unknown(message, LOOK_IT_UP);
    if (!message->tried && (message->phase == MESSAGE_WAITING || message->phase == MESSAGE_PUT_OFF)) {
        static const char late[] = "Nothing was stored: the broker did not get to it in time";
        message->phase = MESSAGE_REFUSED;
        result = (struct publish_result){.verdict = VERDICT_BROKER_AWAY,
                                         .detail = message->detail != NULL ? message->detail : late};
    }
    tell(message, &result);
}

void message_set_bytes(struct message *message, size_t bytes)
{
    message->home->bytes += bytes - message->bytes;
    message->bytes = bytes;
}

void message_keep(struct message *message, struct str made)
{
    if (message->made.base == NULL)
        message->made = (struct str){str_dup(made), made.len};
}

struct message *message_take(struct unit_lines *home, const struct publication *publication)
{
    struct lines *lines = home->lines;
    struct str id = publication->call->envelope.fields[ENVELOPE_ID];
    struct message *message = lines->spare;
    if (message != NULL)
        lines->spare = message->next;
    else
        message = mem_alloc(sizeof(*message));
    INVARIANT(id.len < PROTOCOL_ID_MAX && (id.len > 0 || publication->call->kind == QUEUE_CALL_COLLECTION));
    message->home = home;
    message->line = NULL;
    message->number = ++home->number;
    message->done = publication->done;
    message->arg = publication->arg;
    message->phase = MESSAGE_WAITING;
    message->detail = NULL;
    message->replayed = false;
    message->kind = publication->call->kind;
    message->tried = false;
    message->epoch = message->doubt = 0;
    message->durability = publication->durability;
    message->partition = publication->call->target.partition;
    message->slot = publication->slot;
    message->routed = publication->routed;
    message->timeout_ms = publication->timeout_ms;
    message->held_us = 0;
    message->made = (struct str){NULL, 0};
    message->id_len = (uint8_t)id.len;
    message->entry_len = 0;
    message->bytes = 0;
    message->answer = (struct call_answer){.count = 0};
    if (id.len > 0)
        memcpy(message->id, id.base, id.len);
    message->impatience = (h2o_timeout_entry_t){.cb = on_impatience};
    message->next = NULL;
    home->messages++;
    return message;
}

void message_forget(struct message *message)
{
    message->done = NULL;
}

void message_dispose_spare(struct lines *lines)
{
    for (struct message *message; (message = lines->spare) != NULL;) {
        lines->spare = message->next;
        free(message);
    }
}
