/* SPDX-License-Identifier: Apache-2.0
 *
 * A run of changes of a collection as those who watch it are told of them: server-sent events, put into words once for
 * all of them. Shared by count of references, within one worker; who sends from a page holds one.
 */
#ifndef GATEWAY_COLLECTION_PAGE_H
#define GATEWAY_COLLECTION_PAGE_H

#include <h2o.h>

#include "common/stream_id.h"

#define PAGE_EVENTS 128
#define PAGE_TEXT   16384 /* bytes: a page with so much takes no more events */

/* What the log says of one change. */
struct change {
    struct stream_id id; /* `ms` is the sequence */
    bool repair;         /* not made now: the copy had lacked it */
    bool deleted;
    struct str key;
    uint64_t version, was, us;
};

struct page_event {
    uint64_t seq;
    bool repair;
    uint32_t text, text_len, key, key_len; /* in `text` and `keys` */
};

struct page {
    unsigned references;
    uint64_t after; /* the sequence that was told before */
    uint64_t until; /* the last that is told here */
    unsigned count;
    struct page_event events[PAGE_EVENTS];
    struct buf text, keys;
};

/* Without events, behind the sequence AFTER, with one reference. */
struct page *page_create(uint64_t after);
void page_ref(struct page *page);
void page_unref(struct page **page);

/* Appends the event of CHANGE; false, with nothing done, where the page is full. */
bool page_add(struct page *page, const struct change *change);

/* The first event for who was told all up to the sequence SEQ; page->count: none. Repairs of that sequence are among
 * them, for nobody knows which of these were told. */
unsigned page_seek(const struct page *page, uint64_t seq);

/* Points OUT[0..MOST) to what is told of keys that begin with PREFIX, from event *EVENT on, which moves on: to
 * page->count, unless there are more vectors. Returns how many vectors. *TOLD counts events. */
unsigned page_select(const struct page *page, unsigned *event, struct str prefix, h2o_iovec_t *out, unsigned most,
                     uint64_t *told);

#endif
