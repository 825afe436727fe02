/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cursor.h"

#include <stdlib.h>

/* Reads one id that is written against *BEFORE, and moves *BEFORE on to it. It must be above it, or equal where
 * MAY_EQUAL. */
static bool next_id(struct str text, struct stream_id *before)
{
    struct stream_id id, step;
    if (!stream_id_parse(text, &step) || __builtin_add_overflow(before->ms, step.ms, &id.ms))
        return false;
    id.seq = step.seq;
    bool above = stream_id_compare(id, *before) > 0;
    *before = id;
    return above;
}

static bool decode_range(struct str text, struct stream_id *before, struct cursor_range *range)
{
    struct str first;
    if (!str_next(&text, ':', &first) || !next_id(first, before))
        return false;
    range->first = *before;
    if (text.base != NULL && !next_id(text, before))
        return false;
    range->last = *before;
    return true;
}

bool cursor_decode(struct str watermark, struct str done, struct str passed, struct cursor *cursor)
{
    *cursor = (struct cursor){0};
    if ((watermark.base != NULL && !stream_id_parse(watermark, &cursor->watermark)) ||
        (passed.base != NULL && !str_to_u64(passed, &cursor->passed)))
        return false;
    size_t room = done.len > 0;
    for (size_t i = 0; i < done.len; i++)
        room += done.base[i] == ',';
    if (room == 0)
        return true;
    cursor->done = mem_calloc(room, sizeof(*cursor->done));
    struct stream_id before = cursor->watermark;
    for (struct str text; str_next(&done, ',', &text);)
        if (!decode_range(text, &before, &cursor->done[cursor->done_count++])) {
            cursor_free(cursor);
            return false;
        }
    return true;
}

void cursor_free(struct cursor *cursor)
{
    free(cursor->done);
    *cursor = (struct cursor){0};
}

bool cursor_covers(const struct cursor *cursor, struct stream_id id)
{
    if (stream_id_compare(id, cursor->watermark) <= 0)
        return true;
    size_t low = 0, high = cursor->done_count;
    while (low < high) { /* the first range that ends at ID or beyond */
        size_t middle = low + (high - low) / 2;
        if (stream_id_compare(cursor->done[middle].last, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < cursor->done_count && stream_id_compare(cursor->done[low].first, id) <= 0;
}

bool cursor_clip(struct cursor *cursor, struct stream_id last)
{
    bool beyond = stream_id_compare(cursor->watermark, last) > 0;
    if (beyond) {
        cursor_free(cursor);
        cursor->watermark = last;
        return true;
    }
    while (cursor->done_count > 0 && stream_id_compare(cursor->done[cursor->done_count - 1].last, last) > 0) {
        struct cursor_range *range = &cursor->done[cursor->done_count - 1];
        beyond = true;
        range->last = last;
        if (stream_id_compare(range->first, last) <= 0)
            break;
        cursor->done_count--;
    }
    return beyond;
}

/* buf_printf would format twice; an agent writes some hundred of these for each batch of acknowledgements. */
static void append_number(struct buf *out, uint64_t value)
{
    char digits[20], *at = digits + sizeof(digits);
    do
        *--at = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    buf_append(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void append_id(struct buf *out, struct stream_id *before, struct stream_id id)
{
    append_number(out, id.ms - before->ms);
    if (id.seq > 0) {
        buf_append(out, "-", 1);
        append_number(out, id.seq);
    }
    *before = id;
}

void cursor_append_range(struct buf *out, struct stream_id *before, struct cursor_range range)
{
    if (out->len > 0)
        buf_append(out, ",", 1);
    append_id(out, before, range.first);
    if (stream_id_compare(range.first, range.last) != 0) {
        buf_append(out, ":", 1);
        append_id(out, before, range.last);
    }
}
