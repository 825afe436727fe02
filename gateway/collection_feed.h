/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows the log of one collection in one unit, once for all who watch it there, and keeps what it has read lately as
 * pages (gateway/collection_page.h). Each worker has its own; whoever opened a feed owns it.
 *
 * Lifecycle: STARTING until the copy may be read; LOADING what had changed just before, for those who come back;
 * FOLLOWING from then on, over changes of the unit's broker too: changes are told in the order of their numbers, none
 * is left out, none comes twice, unless the owner is told of a reset.
 */
#ifndef GATEWAY_COLLECTION_FEED_H
#define GATEWAY_COLLECTION_FEED_H

#include "gateway/collection_bell.h"
#include "gateway/collection_look.h"

#define FEED_PAGES 64

enum feed_phase {
    FEED_STARTING = 0,
    FEED_LOADING,
    FEED_FOLLOWING,
};

struct feed_events {
    void (*news)(void *arg);  /* it has begun to follow, or has more pages */
    void (*reset)(void *arg); /* what was told up to now says nothing of what stands there now; the pages are gone */
};

struct feed {
    struct bells *bells;
    struct unit *unit;
    char *collection;
    const struct feed_events *events;
    void *arg;
    enum feed_phase phase;
    uint64_t seq;          /* of the last change that was read */
    uint64_t target;       /* LOADING ends there */
    struct stream_id last; /* entry that was looked at */
    uint64_t beat_us;      /* as in struct look */
    char made_from[24];
    struct page *pages[FEED_PAGES]; /* the newest, by their numbers modulo FEED_PAGES */
    uint64_t first, end;            /* numbers: of the oldest page, and behind the newest */
    struct bell_listener listener;
    struct look_call *look;
    h2o_timeout_entry_t timer;
};

struct feed *feed_open(struct bells *bells, struct unit *unit, struct str collection, const struct feed_events *events,
                       void *arg);
void feed_close(struct feed **feed);

/* The record of the feed's unit has changed. */
void feed_follow(struct feed *feed);

/* The page of that NUMBER, which is one of first..end-1. */
static inline struct page *feed_page(const struct feed *feed, uint64_t number)
{
    return feed->pages[number % FEED_PAGES];
}

/* The page and in it the event that come next for who was told all up to SEQ; false: that is further back than the
 * pages go. */
bool feed_find(const struct feed *feed, uint64_t seq, uint64_t *number, unsigned *event);

/* Whether LOOK tells all that there is behind the sequence SEQ: nothing was trimmed in between. */
bool feed_is_gapless(const struct look *look, struct stream_id behind, uint64_t seq);

#endif
