/* SPDX-License-Identifier: Apache-2.0
 *
 * One client that watches a collection: it has a place in what the feed tells (gateway/collection_feed.h), and gets on
 * as fast as it reads. Nothing is kept for a slow one but its place: what the pages no longer have it gets from the
 * log, and when that has been trimmed, a reset.
 *
 * Lifecycle, in its request's pool: it waits until the feed follows; is answered; and from then on is idle (it was told
 * all), due (there is something for it), busy (a piece is on its way to its client), or behind (it waits for the log):
 * the lists of its audience. It ends with its request, or by watcher_end().
 */
#ifndef GATEWAY_COLLECTION_WATCHER_H
#define GATEWAY_COLLECTION_WATCHER_H

#include "gateway/collection_look.h"
#include "gateway/exchange.h"

#define WATCHER_PAGES 4 /* in one piece */

struct audience;

struct watcher {
    h2o_generator_t generator;
    struct exchange *exchange;
    struct audience *audience;
    struct str prefix;                    /* of the keys that it is told of */
    const struct table_collection *rules; /* of the exchange's view */
    uint32_t unit;                        /* index there */
    bool named;                           /* the client wants this unit and no other */
    bool resumes;  /* it was told all up to `seq`; else that is where the feed is when it begins */
    uint64_t seq;  /* it was told all up to here */
    bool placed;   /* PAGE and EVENT come next, if the feed has them */
    uint64_t page; /* number */
    unsigned event;
    uint64_t ahead_ms; /* since when `seq` is beyond what the feed knows; 0: it is not */
    bool answered, sending, reset, ending, over;
    struct page *past;       /* of its own, from the log */
    struct stream_id looked; /* the entry that was looked at last there, where it is beyond all changes up to `seq` */
    unsigned past_event;
    struct page *held[WATCHER_PAGES]; /* on their way */
    unsigned held_count;
    char text[192];   /* of its own, on its way */
    uint64_t sent_ms; /* since when that is so */
    h2o_linklist_t link;
    h2o_timeout_entry_t timer; /* until it is answered, how long it waits; then its heartbeat */
};

/* In its audience, from now on; sets the exchange's carrier and detach. */
void watcher_begin(struct watcher *watcher);

/* Sends what comes next, or waits for it. WATCHER is not sending. */
void watcher_go_on(struct watcher *watcher);

/* The entry of the log behind which there may be something for WATCHER. */
struct stream_id watcher_place(const struct watcher *watcher);

/* The log's answer to one who is behind (NULL: none). Whether that brings it on. */
bool watcher_take_past(struct watcher *watcher, const struct look *look);

/* What it was told says nothing of what stands there now: it hears of that next. */
void watcher_reset(struct watcher *watcher);

/* Another broker is read from now on: it numbers what stands behind a change in its own way. */
void watcher_follow(struct watcher *watcher);

/* New rules are in force: it ends where its collection, unit or route is gone. */
void watcher_renew(struct watcher *watcher);

/* Ends at the end of what is on its way to it. */
void watcher_end(struct watcher *watcher);

#endif
