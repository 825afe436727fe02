/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/partition.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"

/* --- lanes ------------------------------------------------------------------------------------------------------- */

static bool is_held(const struct partition *partition, const struct message *message)
{
    return partition->quiesced || (partition->gated && stream_id_compare(message->span.first, partition->covered) > 0);
}

bool partition_admits(const struct partition *partition, const struct message *message)
{
    const struct partition_guard *guard = partition->guard;
    return guard == NULL || guard->admits(guard->arg, partition, message);
}

static void leave(struct partition *partition, struct message *message, enum message_fate fate)
{
    message->state = MESSAGE_LEAVING;
    message->fate = fate;
    message_queue_put(&partition->leaving, message);
    partition->dirty = true;
}

/* MESSAGE, which waits, is handed out if it is its turn, or follows its user to the park. */
static void go_on(struct partition *partition, struct message *message)
{
    if (is_held(partition, message))
        return;
    if (message->lane->parked) {
        message->wait_ms = -1;
        leave(partition, message, FATE_PARKED);
    } else if (message->lane->head == message && partition_admits(partition, message)) {
        message->state = MESSAGE_READY;
        partition->hooks.ready(partition->hooks.arg, message);
    }
}

void partition_proceed(struct partition *partition, struct lane *lane)
{
    if (lane_is_idle(lane))
        lanes_remove(&partition->lanes, lane);
    else if (lane->head != NULL && lane->head->state == MESSAGE_WAITING)
        go_on(partition, lane->head);
}

/* MESSAGE, which is the head of its lane, is recorded: its user goes on. */
static void lane_advance(struct partition *partition, struct message *message)
{
    struct lane *lane = message->lane;
    INVARIANT(lane->head == message);
    lane->head = message->next;
    if (lane->head == NULL)
        lane->tail = NULL;
    partition_proceed(partition, lane);
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
    park_name(&partition->park, name, cursor + strlen("cursor:"));
    retry_preset(&partition->retry);
    partition->stream_key = key_of(name, "stream");
    partition->state_key = key_of(name, "state");
    partition->cursor_key = key_of(name, cursor);
    partition->place = partition->cursor_key + strlen(partition->cursor_key) - strlen(cursor) + strlen("cursor:");
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

static bool is_out(const struct message *message)
{
    return message->state > MESSAGE_WAITING && message->state < MESSAGE_LEAVING;
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
        if (is_out(message))
            partition->hooks.withdraw(partition->hooks.arg, message);
        message_free(message);
    }
    park_reset(partition);
    lanes_clear(&partition->lanes);
    cursor_free(&partition->before);
    partition->leaving = partition->done = partition->recording = (struct message_queue){0};
    partition->undone = partition->bytes = 0;
    partition->dirty = partition->writing = partition->restored = partition->linked = partition->linking = false;
    partition->quiesced = partition->unproven = false;
    partition->covered = (struct stream_id){0, 0};
    partition->total = partition->read = partition->passed = 0;
    partition->life++;
    partition->confirmed = 0;
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
    park_free(&partition->park);
    retry_free(&partition->retry);
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
    if (partition->rules != NULL && !subscription_wants(partition->rules, str_of(partition->place), envelope)) {
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
    lane_append(lanes_get(&partition->lanes, message->envelope.fields[ENVELOPE_USER]), message);
    go_on(partition, message);
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
        if (message != NULL && message->state == MESSAGE_WAITING)
            go_on(partition, message);
    }
}

void partition_cover(struct partition *partition, struct stream_id id)
{
    struct stream_id before = partition->covered;
    if (stream_id_compare(id, before) <= 0)
        return;
    partition->covered = id;
    observer_covered(partition->observer, partition, id);
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
    park_withdraw(partition);
}

void partition_resume(struct partition *partition)
{
    partition->quiesced = false;
    hand_out_held(partition, partition->watermark);
}

void partition_look_again(struct partition *partition)
{
    hand_out_held(partition, partition->watermark);
}

/* MESSAGE is the head of its lane, and its user was not parked. */
static void park_user(struct partition *partition, struct message *message)
{
    leave(partition, message, FATE_PARKED);
    message->lane->parked = true;
    partition->park.user_count++;
    for (struct message *follower = message->next; follower != NULL; follower = follower->next)
        go_on(partition, follower);
}

void partition_park_barred(struct partition *partition, int64_t wait_ms)
{
    for (struct span *span = partition->head; span != NULL; span = span->after) {
        struct message *message = span->message;
        if (message == NULL || message->state != MESSAGE_WAITING || message->lane->head != message ||
            message->lane->parked || is_held(partition, message) || partition_admits(partition, message))
            continue;
        message->wait_ms = wait_ms;
        park_user(partition, message);
    }
}

bool partition_rests(const struct partition *partition)
{
    if (partition->dirty || partition->writing || partition->park.heads != NULL)
        return false;
    for (const struct span *span = partition->head; span != NULL; span = span->after)
        if (span->message != NULL && span->message->state != MESSAGE_WAITING)
            return false;
    return true;
}

void partition_acknowledge(struct partition *partition, struct message *message)
{
    INVARIANT(is_out(message));
    message->fate = FATE_TAKEN;
    if (message->from_park) {
        park_end(partition, message);
        return;
    }
    message->state = MESSAGE_DONE;
    message_queue_put(&partition->done, message);
    partition->undone--;
    partition->dirty = true;
}

void partition_park(struct partition *partition, struct message *message, int64_t wait_ms)
{
    INVARIANT(is_out(message));
    message->wait_ms = wait_ms;
    message->fate = FATE_PARKED;
    if (message->from_park) {
        park_end(partition, message);
        return;
    }
    park_user(partition, message);
}

void partition_bury(struct partition *partition, struct message *message, long status, const char *reason)
{
    INVARIANT(is_out(message));
    message->status = status;
    message->reason = reason;
    message->fate = FATE_DEAD;
    if (message->from_park)
        park_end(partition, message);
    else
        leave(partition, message, FATE_DEAD);
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

static void begin_recording(struct partition *partition, struct partition_record *record)
{
    struct message *message;
    record->moves = 0;
    partition->park.serial++;
    while (record->moves < PARTITION_MOST_MOVES && (message = message_queue_take(&partition->leaving)) != NULL) {
        message->state = MESSAGE_RECORDING;
        message->serial = message->serial > 0 ? message->serial : partition->park.serial;
        message_queue_put(&partition->recording, message);
        partition->undone--;
        record->moves++;
    }
    while ((message = message_queue_take(&partition->done)) != NULL) {
        message->state = MESSAGE_RECORDING;
        message_queue_put(&partition->recording, message);
    }
}

void partition_begin_write(struct partition *partition, struct partition_record *record)
{
    INVARIANT(partition->dirty && !partition->writing);
    begin_recording(partition, record);
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
    partition->proposed = record->watermark;
    partition->dirty = partition->leaving.head != NULL;
    partition->writing = true;
}

/* What was to leave comes before what is to leave, since a user's messages leave in their order. */
static void unrecord(struct partition *partition)
{
    struct message_queue leaving = {0};
    for (struct message *message; (message = message_queue_take(&partition->recording)) != NULL;) {
        bool taken = message->fate == FATE_TAKEN;
        message->state = taken ? MESSAGE_DONE : MESSAGE_LEAVING;
        message_queue_put(taken ? &partition->done : &leaving, message);
        partition->undone += !taken;
    }
    for (struct message *message; (message = message_queue_take(&partition->leaving)) != NULL;)
        message_queue_put(&leaving, message);
    partition->leaving = leaving;
    partition->dirty = true;
}

void partition_end_write(struct partition *partition, bool confirmed)
{
    INVARIANT(partition->writing);
    partition->writing = false;
    if (!confirmed) {
        unrecord(partition);
        return;
    }
    partition->recorded = partition->proposed;
    for (struct message *message; (message = message_queue_take(&partition->recording)) != NULL;) {
        observer_recorded(partition->observer, message);
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
