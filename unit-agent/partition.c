/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/partition.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/invariant.h"

#define LANES_AT_FIRST 64

/* The messages of one user, in order. Only the head is ever handed out. It exists as long as it has messages. */
struct lane {
    struct lane *chain;
    uint64_t hash;
    struct message *head, *tail;
};

/* --- lanes ------------------------------------------------------------------------------------------------------- */

static struct str user_of(const struct message *message)
{
    return message->envelope.fields[ENVELOPE_USER];
}

/* Most of many partitions have nothing to do most of the time. */
static void lanes_make(struct partition *partition)
{
    partition->lane_mask = LANES_AT_FIRST - 1;
    partition->lanes = mem_calloc(LANES_AT_FIRST, sizeof(struct lane *));
}

static void lanes_drop(struct partition *partition)
{
    free(partition->lanes);
    partition->lanes = NULL;
    partition->lane_count = 0;
}

static struct lane **lane_slot(struct partition *partition, struct str user, uint64_t hash)
{
    struct lane **at = &partition->lanes[hash & partition->lane_mask];
    while (*at != NULL && ((*at)->hash != hash || !str_equal(user_of((*at)->head), user)))
        at = &(*at)->chain;
    return at;
}

static void lanes_grow(struct partition *partition)
{
    size_t old = partition->lane_mask + 1;
    struct lane **lanes = mem_calloc(old * 2, sizeof(struct lane *));
    for (size_t i = 0; i < old; i++)
        for (struct lane *lane; (lane = partition->lanes[i]) != NULL;) {
            partition->lanes[i] = lane->chain;
            struct lane **slot = &lanes[lane->hash & (old * 2 - 1)];
            lane->chain = *slot;
            *slot = lane;
        }
    free(partition->lanes);
    partition->lanes = lanes;
    partition->lane_mask = old * 2 - 1;
}

/* The head of a lane, which waits. */
static void hand_out(struct partition *partition, struct message *message)
{
    if (partition->quiesced || (partition->gated && stream_id_compare(message->span.first, partition->covered) > 0))
        return;
    message->state = MESSAGE_READY;
    partition->hooks.ready(partition->hooks.arg, message);
}

static void lane_append(struct partition *partition, struct message *message)
{
    struct str user = user_of(message);
    uint64_t hash = XXH3_64bits(user.base, user.len);
    if (partition->lanes == NULL)
        lanes_make(partition);
    struct lane *lane = *lane_slot(partition, user, hash);
    if (lane != NULL) {
        message->lane = lane;
        lane->tail->next = message;
        lane->tail = message;
        return;
    }
    if (++partition->lane_count > partition->lane_mask)
        lanes_grow(partition);
    lane = mem_alloc(sizeof(*lane));
    struct lane **bucket = &partition->lanes[hash & partition->lane_mask];
    *lane = (struct lane){.chain = *bucket, .hash = hash, .head = message, .tail = message};
    *bucket = lane;
    message->lane = lane;
    hand_out(partition, message);
}

/* MESSAGE, which is the head of its lane, is recorded: its user goes on. */
static void lane_advance(struct partition *partition, struct message *message)
{
    struct lane *lane = message->lane;
    INVARIANT(lane->head == message);
    if (message->next != NULL) {
        lane->head = message->next;
        hand_out(partition, lane->head);
        return;
    }
    struct lane **slot = lane_slot(partition, user_of(message), lane->hash);
    INVARIANT(*slot == lane);
    *slot = lane->chain;
    free(lane);
    if (--partition->lane_count == 0)
        lanes_drop(partition);
}

/* --- spans ------------------------------------------------------------------------------------------------------- */

static void span_append(struct partition *partition, struct span *span)
{
    span->before = partition->tail;
    span->after = NULL;
    if (partition->tail != NULL)
        partition->tail->after = span;
    else
        partition->head = span;
    partition->tail = span;
}

static void span_unlink(struct partition *partition, struct span *span)
{
    if (span->before != NULL)
        span->before->after = span->after;
    else
        partition->head = span->after;
    if (span->after != NULL)
        span->after->before = span->before;
    else
        partition->tail = span->before;
}

/* The entry that was read last is done. */
static void append_done(struct partition *partition)
{
    struct stream_id id = partition->last_read;
    struct span *span = partition->tail;
    if (span == NULL || span->message != NULL) {
        span = mem_alloc(sizeof(*span));
        *span = (struct span){.first = id};
        span_append(partition, span);
    }
    span->last = id;
    span->number = partition->read;
    span->count++;
}

/* Moves the watermark over what is recorded at the front. */
static void pass_front(struct partition *partition)
{
    for (struct span *span; (span = partition->head) != NULL && span->message == NULL;) {
        partition->watermark = span->last;
        partition->passed = span->number;
        span_unlink(partition, span);
        free(span);
    }
}

/* Takes a recorded message out of the list: what remains of it is a part of the span beside it. */
static void span_settle(struct partition *partition, struct span *span)
{
    struct span *before = span->before, *after = span->after;
    bool joins_before = before != NULL && before->message == NULL;
    bool joins_after = after != NULL && after->message == NULL;
    if (joins_before && joins_after) {
        before->last = after->last;
        before->number = after->number;
        before->count += after->count + 1;
        span_unlink(partition, after);
        free(after);
    } else if (joins_before) {
        before->last = span->last;
        before->number = span->number;
        before->count++;
    } else if (joins_after) {
        after->first = span->first;
        after->count++;
    } else if (before == NULL) {
        partition->watermark = span->last;
        partition->passed = span->number;
    } else {
        struct span *trace = mem_alloc(sizeof(*trace));
        *trace = (struct span){before, span, span->first, span->last, 1, span->number, NULL};
        before->after = trace;
        span->before = trace;
    }
    span_unlink(partition, span);
}

static void settle(struct partition *partition, struct message *message)
{
    lane_advance(partition, message);
    span_settle(partition, &message->span);
    partition->bytes -= message->bytes;
    message_free(message);
}

static bool is_done(const struct span *span)
{
    return span->message == NULL || span->message->state >= MESSAGE_DONE;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static char *key_of(const struct partition_name *name, const char *suffix)
{
    char key[PROTOCOL_KEY_MAX];
    size_t len = protocol_key(key, name->unit, name->topic, name->number, suffix);
    return str_dup((struct str){key, len});
}

struct partition *partition_create(const struct partition_name *name, struct partition_hooks hooks)
{
    struct partition *partition = mem_calloc(1, sizeof(*partition));
    char cursor[PROTOCOL_KEY_MAX];
    partition->topic = str_dup(name->topic);
    partition->subscription = str_dup(name->subscription);
    partition->number = name->number;
    partition->broadcast = name->listener.base != NULL;
    partition->hooks = hooks;
    snprintf(cursor, sizeof(cursor), "cursor:%.*s%s%.*s", STR_ARG(name->subscription), partition->broadcast ? "@" : "",
             STR_ARG(name->listener));
    partition->stream_key = key_of(name, "stream");
    partition->state_key = key_of(name, "state");
    partition->cursor_key = key_of(name, cursor);
    return partition;
}

void partition_restore(struct partition *partition, struct cursor *cursor)
{
    INVARIANT(!partition->restored && partition->head == NULL);
    partition->restored = true;
    partition->watermark = partition->recorded = partition->last_read = cursor->watermark;
    partition->passed = partition->read = cursor->passed;
    partition->before = *cursor;
    *cursor = (struct cursor){0};
}

void partition_reset(struct partition *partition)
{
    for (struct span *span; (span = partition->head) != NULL;) {
        span_unlink(partition, span);
        struct message *message = span->message;
        if (message == NULL) {
            free(span);
            continue;
        }
        if (message->state > MESSAGE_WAITING && message->state < MESSAGE_DONE)
            partition->hooks.withdraw(partition->hooks.arg, message);
        message_free(message);
    }
    for (size_t i = 0; partition->lanes != NULL && i <= partition->lane_mask; i++)
        for (struct lane *lane; (lane = partition->lanes[i]) != NULL;) {
            partition->lanes[i] = lane->chain;
            free(lane);
        }
    lanes_drop(partition);
    cursor_free(&partition->before);
    partition->done = partition->recording = (struct message_queue){0};
    partition->undone = partition->bytes = 0;
    partition->dirty = partition->writing = partition->restored = partition->linked = partition->linking = false;
    partition->quiesced = false;
    partition->covered = (struct stream_id){0, 0};
    partition->total = partition->read = partition->passed = 0;
    partition->life++;
}

void partition_destroy(struct partition **partition_p)
{
    struct partition *partition = *partition_p;
    if (partition == NULL)
        return;
    *partition_p = NULL;
    partition_reset(partition);
    free(partition->topic);
    free(partition->subscription);
    free(partition->stream_key);
    free(partition->state_key);
    free(partition->cursor_key);
    free(partition);
}

/* --- events ------------------------------------------------------------------------------------------------------ */

/* Moves on to the entry behind the last one; false where it is none. */
static bool read_on(struct partition *partition, struct stream_id id, uint64_t number)
{
    INVARIANT(partition->restored);
    if (stream_id_compare(id, partition->last_read) <= 0)
        return false;
    partition->last_read = id;
    partition->read = number > partition->read ? number : partition->read + 1;
    return true;
}

/* An earlier life had the entry that was read last done. */
static bool was_done(struct partition *partition)
{
    struct cursor *before = &partition->before;
    bool done = cursor_covers(before, partition->last_read);
    if (done && before->beyond > 0)
        before->beyond--;
    if (before->done_count > 0 &&
        stream_id_compare(before->done[before->done_count - 1].last, partition->last_read) <= 0)
        cursor_free(before);
    return done;
}

void partition_skip(struct partition *partition, struct stream_id id, uint64_t number)
{
    if (!read_on(partition, id, number))
        return;
    partition->dirty |= !was_done(partition);
    append_done(partition);
}

bool partition_add(struct partition *partition, struct stream_id id, const struct envelope *envelope)
{
    uint64_t number = 0;
    (void)str_to_u64(envelope->fields[ENVELOPE_NUMBER], &number);
    if (partition->rules != NULL && !subscription_wants(partition->rules, envelope)) {
        partition_skip(partition, id, number);
        return false;
    }
    if (!read_on(partition, id, number))
        return false;
    if (was_done(partition)) {
        append_done(partition);
        return false;
    }
    struct message *message = message_create(id, envelope);
    message->partition = partition;
    message->span.number = partition->read;
    partition->undone++;
    partition->bytes += message->bytes;
    span_append(partition, &message->span);
    lane_append(partition, message);
    return true;
}

/* Those behind AFTER whose turn it is, and that were held back. */
static void hand_out_held(struct partition *partition, struct stream_id after)
{
    struct span *span = partition->tail;
    while (span != NULL && span->before != NULL && stream_id_compare(span->before->last, after) > 0)
        span = span->before;
    for (struct span *next; span != NULL; span = next) {
        struct message *message = span->message;
        next = span->after;
        if (message != NULL && message->state == MESSAGE_WAITING && message->lane->head == message)
            hand_out(partition, message);
    }
}

void partition_cover(struct partition *partition, struct stream_id id)
{
    struct stream_id before = partition->covered;
    if (stream_id_compare(id, before) <= 0)
        return;
    partition->covered = id;
    const struct partition_observer *observer = partition->observer;
    if (observer != NULL && observer->covered != NULL)
        observer->covered(observer->arg, partition, id);
    hand_out_held(partition, before);
}

void partition_quiesce(struct partition *partition)
{
    partition->quiesced = true;
    for (struct span *span = partition->head; span != NULL; span = span->after) {
        struct message *message = span->message;
        if (message == NULL || (message->state != MESSAGE_READY && message->state != MESSAGE_BACKING_OFF))
            continue;
        partition->hooks.withdraw(partition->hooks.arg, message);
        message->state = MESSAGE_WAITING;
    }
}

void partition_resume(struct partition *partition)
{
    partition->quiesced = false;
    hand_out_held(partition, partition->watermark);
}

bool partition_rests(const struct partition *partition)
{
    if (partition->dirty || partition->writing)
        return false;
    for (const struct span *span = partition->head; span != NULL; span = span->after)
        if (span->message != NULL && span->message->state != MESSAGE_WAITING)
            return false;
    return true;
}

void partition_acknowledge(struct partition *partition, struct message *message)
{
    INVARIANT(message->state > MESSAGE_WAITING && message->state < MESSAGE_DONE);
    message->state = MESSAGE_DONE;
    message_queue_put(&partition->done, message);
    partition->undone--;
    partition->dirty = true;
}

static struct stream_id id_after(struct stream_id id)
{
    return id.seq == UINT64_MAX ? (struct stream_id){id.ms + 1, 0} : (struct stream_id){id.ms, id.seq + 1};
}

/* What an earlier life had done and this one has not read again yet must not get lost from the record. */
static void append_unread(const struct partition *partition, struct stream_id *at, struct buf *done)
{
    for (size_t i = 0; i < partition->before.done_count; i++) {
        struct cursor_range range = partition->before.done[i];
        if (stream_id_compare(range.last, partition->last_read) <= 0)
            continue;
        if (stream_id_compare(range.first, partition->last_read) <= 0)
            range.first = id_after(partition->last_read);
        cursor_append_range(done, at, range);
    }
}

void partition_begin_write(struct partition *partition, struct partition_record *record)
{
    INVARIANT(partition->dirty && !partition->writing);
    record->done.len = 0;
    buf_reserve(&record->done, 0); /* zero-terminated also when nothing follows */
    record->watermark = partition->watermark;
    record->passed = partition->passed;
    record->beyond = partition->before.beyond;
    const struct span *span = partition->head;
    for (; span != NULL && is_done(span); span = span->after) {
        record->watermark = span->last;
        record->passed = span->number;
    }
    struct stream_id at = record->watermark;
    while (span != NULL) {
        struct cursor_range range = {span->first, span->last};
        bool done_run = is_done(span);
        uint64_t count = span->count;
        for (span = span->after; span != NULL && is_done(span) == done_run; span = span->after) {
            range.last = span->last;
            count += span->count;
        }
        if (done_run) {
            cursor_append_range(&record->done, &at, range);
            record->beyond += count;
        }
    }
    append_unread(partition, &at, &record->done);
    for (struct message *message; (message = message_queue_take(&partition->done)) != NULL;) {
        message->state = MESSAGE_RECORDING;
        message_queue_put(&partition->recording, message);
    }
    partition->proposed = record->watermark;
    partition->dirty = false;
    partition->writing = true;
}

void partition_end_write(struct partition *partition, bool confirmed)
{
    INVARIANT(partition->writing);
    partition->writing = false;
    if (!confirmed) {
        for (struct message *message; (message = message_queue_take(&partition->recording)) != NULL;) {
            message->state = MESSAGE_DONE;
            message_queue_put(&partition->done, message);
        }
        partition->dirty = true;
        return;
    }
    partition->recorded = partition->proposed;
    const struct partition_observer *observer = partition->observer;
    for (struct message *message; (message = message_queue_take(&partition->recording)) != NULL;) {
        if (observer != NULL && observer->recorded != NULL)
            observer->recorded(observer->arg, message);
        settle(partition, message);
    }
    pass_front(partition);
}

/* --- figures ----------------------------------------------------------------------------------------------------- */

void partition_survey(struct partition *partition, struct stream_id last, uint64_t total)
{
    partition->total = total;
    if (stream_id_compare(last, partition->last_read) > 0 || total <= partition->read)
        return;
    partition->read = total;
    cursor_free(&partition->before);
    if (partition->head != NULL)
        return;
    partition->passed = total;
    partition->dirty = true;
}

uint64_t partition_pending(const struct partition *partition)
{
    uint64_t unread = partition->total > partition->read ? partition->total - partition->read : 0;
    uint64_t done = partition->before.beyond < unread ? partition->before.beyond : unread;
    return partition->undone + unread - done;
}

uint64_t partition_oldest_us(const struct partition *partition)
{
    const struct span *span = partition->head;
    while (span != NULL && is_done(span))
        span = span->after;
    return span != NULL ? span->message->ingress_us : 0;
}
