/* SPDX-License-Identifier: Apache-2.0
 *
 * The id of an entry of a Redis stream: milliseconds of the broker's clock and a number within them, "MS-SEQ" as text.
 * Ids of one stream only ever grow. Plain values: nobody owns them.
 */
#ifndef COMMON_STREAM_ID_H
#define COMMON_STREAM_ID_H

#include "common/str.h"

struct stream_id {
    uint64_t ms, seq;
};

#define STREAM_ID_TEXT 42 /* bytes of the longest text, with its zero */

/* "MS-SEQ", or "MS" alone, which means MS-0. False for anything else. */
bool stream_id_parse(struct str text, struct stream_id *id);

/* Zero-terminated text into TEXT of STREAM_ID_TEXT bytes; returns its length. */
size_t stream_id_format(char *text, struct stream_id id);

/* Below, equal to or above zero, as memcmp. */
static inline int stream_id_compare(struct stream_id a, struct stream_id b)
{
    return a.ms != b.ms ? (a.ms > b.ms) - (a.ms < b.ms) : (a.seq > b.seq) - (a.seq < b.seq);
}

#endif
