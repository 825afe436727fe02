/* SPDX-License-Identifier: Apache-2.0
 *
 * What an app is told in one push: the next changes of a collection as CloudEvents, in JSON batch format, made from
 * what ldc1_c_changes says of its log. Pure. Reused from batch to batch; owns its text.
 *
 *   [{"specversion": "1.0", "type": "ldcgate.collection.put", "source": "/units/RZ01/collections/rates", "id": "17",
 *     "time": "...", "subject": KEY, "datacontenttype": "application/json",
 *     "data": {"collection": "rates", "sequence": 17, "key": KEY, "version": 17, "was": 4}}, ...]
 *
 * Types end in put, del, repair (a value that was wrong in this unit is right again; version 0: it is gone), and reset,
 * which has no key: changes may be missing before `sequence`, and what was kept is to be read anew.
 */
#ifndef AGENT_PUSH_BATCH_H
#define AGENT_PUSH_BATCH_H

#include "common/broker.h"
#include "common/stream_id.h"

#define PUSH_BATCH_MOST 100 /* entries of the log */
#define PUSH_CURSOR     (STREAM_ID_TEXT + 48)

/* How far the app was told. As text "ID FROM APP", zero-terminated; "": nothing was ever told. */
struct push_cursor {
    struct stream_id last; /* the last entry of the log */
    uint64_t from;         /* where the making of the copy began that it is of; 0: an origin, or made at 0 */
    uint64_t app;          /* who was told: a hash of the URL */
    bool set;
};

void push_cursor_format(const struct push_cursor *cursor, char text[PUSH_CURSOR]);
/* Of a text that says nothing: not set. */
void push_cursor_parse(struct push_cursor *cursor, struct str text);

struct push_batch {
    struct buf body;         /* JSON */
    size_t count;            /* events; 0: there is nothing to tell */
    struct push_cursor next; /* once that was told */
    uint64_t seq;            /* of the collection */
};

/* CHANGES: the reply to ldc1_c_changes that began behind CURSOR->last (0-0 where not set). False where it says nothing
 * that may be told: another answer, or a copy that is not whole. */
bool push_batch_make(struct push_batch *batch, const redisReply *changes, const struct push_cursor *cursor,
                     struct str unit, struct str collection) MUST_CHECK;
void push_batch_free(struct push_batch *batch);

#endif
