/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of the origin's buckets at once: some of them, whole, or of a large one some of its keys. So much as
 * takes the origin's broker half a millisecond, by what the last ones held: keys are spread over the buckets by their
 * hash, so that one bucket is like another. Only a value that is larger than that is read as it is. Embedded in the
 * filling of a copy.
 */
#ifndef AGENT_COPY_PAGE_H
#define AGENT_COPY_PAGE_H

#include "common/protocol.h"
#include "unit-agent/bucket.h"

/* A bucket of the origin, or a part of it, as it was read. */
struct copy_bucket {
    uint64_t seq;      /* of the collection at that moment, or a little later */
    bool begins, ends; /* it has the first, and the last, of the bucket's keys */
    struct buf words;  /* in RESP: its keys and values */
    size_t *ends_at;   /* where each pair ends in WORDS */
    size_t count, room;
};

/* The keys of the bucket that is read in parts. */
struct copy_page_keys {
    struct buf words; /* in RESP */
    size_t *ends_at;
    size_t count, next; /* the first that is not read yet */
};

struct copy_page {
    struct copy_bucket buckets[BUCKET_AT_ONCE];
    unsigned first, count; /* the number of the first of them, and how many were read; 0: none */
    unsigned at_once;      /* whole ones, the last time */
    size_t bucket_weight;  /* of the last ones, or of the parts of the last one; see copy_page.c */
    size_t entry_weight, weighed;
    struct copy_page_keys keys;
    size_t asked; /* keys of the part that is under way */
    struct broker *broker;
    int64_t timeout_ms; /* of a command */
    char at[PROTOCOL_KEY_MAX];
    void (*done)(void *arg, bool read);
    void *arg;
};

/* DONE is called once for each page that was asked for: NOT READ where the broker said something else, or nothing. */
void copy_page_init(struct copy_page *page, int64_t timeout_ms, void (*done)(void *arg, bool read), void *arg);
void copy_page_close(struct copy_page *page);

/* Reads on from the bucket FIRST; BROKER is READY. AT: the origin's key. False: not sent. */
bool copy_page_ask(struct copy_page *page, struct broker *broker, const char *at, unsigned first) MUST_CHECK;

/* Forgets what was read; the next page goes on behind it. */
void copy_page_drop(struct copy_page *page);
/* The same, but the next page begins with a bucket. */
void copy_page_reset(struct copy_page *page);

#endif
