/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a subscription got in one partition, as it stands in the broker: the hash
 * ldc:{UNIT/TOPIC/PARTITION}:cursor:SUBSCRIPTION, or ...:cursor:SUBSCRIPTION@AGENT of a broadcast.
 *
 *   watermark  stream id: every entry up to and including it is done
 *   done       ranges of entries beyond the watermark that are done too, ascending and apart from each other
 *   passed     how many messages the partition ever got up to the watermark
 *   beyond     how many entries `done` holds; with the last message's number n, n - passed - beyond wait
 *   parked     how many messages are in parks (common/functions/park.lua), and so done here
 *   call       "OWNER NUMBER" of the last call that changed something
 *   serial     the same of the last one that moved messages to parks or to the dead letters
 *
 * `done` is "RANGE,RANGE,...", RANGE being "ID" or "ID:ID" (first and last; all entries between them are done), each ID
 * written against the one before it (the first: the watermark) as the difference in milliseconds, and "-SEQ" where
 * the number is not 0. With watermark 1000-3, "0-5:2,7-1" means 1000-5 to 1002-0, and 1009-1.
 *
 * The agent writes it; gateways and tools only read. A struct cursor owns its ranges.
 */
#ifndef COMMON_CURSOR_H
#define COMMON_CURSOR_H

#include "common/stream_id.h"

struct cursor_range {
    struct stream_id first, last;
};

struct cursor {
    struct stream_id watermark;
    uint64_t passed, beyond; /* cursor_decode leaves `beyond` 0 */
    struct cursor_range *done;
    size_t done_count;
};

/* From the three values; base NULL where the hash or the field is absent, which is a cursor at the very beginning.
 * False, and nothing to free, where they do not have the form above. */
bool cursor_decode(struct str watermark, struct str done, struct str passed, struct cursor *cursor);
void cursor_free(struct cursor *cursor);

/* Whether entry ID is done. */
bool cursor_covers(const struct cursor *cursor, struct stream_id id);

/* Forgets what lies beyond LAST. Returns whether there was anything. */
bool cursor_clip(struct cursor *cursor, struct stream_id last);

/* Appends RANGE to the text of `done` in OUT (empty at first). *BEFORE: the watermark at first, then kept by this. */
void cursor_append_range(struct buf *out, struct stream_id *before, struct cursor_range range);

#endif
