/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_queue.h"

#include <stdlib.h>

#define KEPT (256u << 10) /* bytes of the words that are kept for the next ones */

/* In the order of c_apply's words, behind the sequence. */
static const char *const fields[COPY_ENTRY_WORDS - 1] = {"op", "key", "bucket", "was", "us", "value"};
#define US 4

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

static struct str field_of(const redisReply *flat, const char *name)
{
    for (size_t i = 0; i + 1 < flat->elements; i += 2)
        if (str_equal(text_of(flat->element[i]), str_of(name)))
            return text_of(flat->element[i + 1]);
    return STR_LIT("");
}

/* The number before the dash. */
static bool read_seq(const redisReply *id, struct str *seq)
{
    uint64_t number;
    struct str rest = text_of(id);
    return str_next(&rest, '-', seq) && str_to_u64(*seq, &number);
}

static struct copy_queue_item *item_at(const struct copy_queue *queue, uint64_t number)
{
    return &queue->items[number & (queue->room - 1)];
}

static void grow(struct copy_queue *queue)
{
    struct copy_queue before = *queue;
    queue->room = before.room > 0 ? 2 * before.room : 64;
    queue->items = mem_calloc(queue->room, sizeof(*queue->items));
    for (uint64_t i = queue->taken; i < queue->added; i++)
        *item_at(queue, i) = *item_at(&before, i);
    free(before.items);
}

bool copy_queue_add(struct copy_queue *queue, const redisReply *entry)
{
    struct str seq, values[COPY_ENTRY_WORDS - 1];
    uint64_t us = 0;
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2 || !read_seq(entry->element[0], &seq) ||
        entry->element[1]->type != REDIS_REPLY_ARRAY)
        return false;
    size_t before = queue->words.len;
    broker_put_word(&queue->words, seq);
    for (size_t i = 0; i < COPY_ENTRY_WORDS - 1; i++) {
        values[i] = field_of(entry->element[1], fields[i]);
        broker_put_word(&queue->words, values[i]);
    }
    (void)!str_to_u64(values[US], &us);
    if (copy_queue_count(queue) == queue->room)
        grow(queue);
    *item_at(queue, queue->added++) = (struct copy_queue_item){queue->words.len - before, us};
    return true;
}

void copy_queue_cover(struct copy_queue *queue, uint64_t added)
{
    queue->covered = added > queue->covered ? added : queue->covered;
}

struct copy_batch copy_queue_batch(const struct copy_queue *queue, size_t most, size_t most_bytes)
{
    struct copy_batch batch = {.words = {queue->words.base + queue->start, 0}};
    for (uint64_t i = queue->taken; i < queue->covered && batch.count < most; i++, batch.count++) {
        const struct copy_queue_item *item = item_at(queue, i);
        if (batch.count > 0 && batch.words.len + item->len > most_bytes)
            break;
        batch.words.len += item->len;
        batch.us = item->us;
    }
    return batch;
}

/* What is taken off the front is moved over only when it is most of what is there. */
void copy_queue_take(struct copy_queue *queue, size_t count)
{
    for (; count > 0; count--)
        queue->start += item_at(queue, queue->taken++)->len;
    if (queue->taken == queue->added)
        copy_queue_clear(queue);
    else if (queue->start > queue->words.len / 2) {
        buf_consume(&queue->words, queue->start);
        queue->start = 0;
    }
}

size_t copy_queue_count(const struct copy_queue *queue)
{
    return (size_t)(queue->added - queue->taken);
}

size_t copy_queue_bytes(const struct copy_queue *queue)
{
    return queue->words.len - queue->start;
}

void copy_queue_clear(struct copy_queue *queue)
{
    queue->start = queue->words.len = 0;
    queue->taken = queue->covered = queue->added;
    if (queue->words.capacity > KEPT)
        buf_free(&queue->words);
}

void copy_queue_free(struct copy_queue *queue)
{
    buf_free(&queue->words);
    free(queue->items);
    *queue = (struct copy_queue){0};
}
