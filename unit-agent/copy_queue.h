/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of a collection's log between the origin and the copy: read, covered, applied, in this order. They stand here
 * as the words that c_apply takes, so that a batch of them is one piece of memory. Entries are counted from the first
 * one ever. Pure. Embedded in a copy.
 */
#ifndef AGENT_COPY_QUEUE_H
#define AGENT_COPY_QUEUE_H

#include "common/broker.h"
#include "common/str.h"

struct copy_queue_item {
    size_t len;  /* of its words */
    uint64_t us; /* when it was made, by the origin's clock */
};

struct copy_queue {
    struct buf words; /* in RESP; what lies before `start` is taken */
    size_t start;
    struct copy_queue_item *items; /* a ring */
    size_t room;
    uint64_t added, covered, taken; /* so many entries were */
};

struct copy_batch {
    struct str words; /* borrowed until the next add or take */
    size_t count;
    uint64_t us; /* of its last entry */
};

#define COPY_ENTRY_WORDS 7

/* ENTRY as XREAD brings it, {id, {field, value ...}}. False: it is no entry of a collection's log. */
bool copy_queue_add(struct copy_queue *queue, const redisReply *entry) MUST_CHECK;
/* All that was there when ADDED was what it is given here may be applied. */
void copy_queue_cover(struct copy_queue *queue, uint64_t added);
/* Of what is covered the first entries, up to MOST and MOST_BYTES, but one at least; none where none is covered. */
struct copy_batch copy_queue_batch(const struct copy_queue *queue, size_t most, size_t most_bytes);
/* The first COUNT entries are done with. */
void copy_queue_take(struct copy_queue *queue, size_t count);
/* Entries, and bytes, that are there. */
size_t copy_queue_count(const struct copy_queue *queue);
size_t copy_queue_bytes(const struct copy_queue *queue);
/* All that is there is done with. */
void copy_queue_clear(struct copy_queue *queue);
void copy_queue_free(struct copy_queue *queue);

#endif
