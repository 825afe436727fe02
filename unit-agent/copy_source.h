/* SPDX-License-Identifier: Apache-2.0
 *
 * The way to where collections are written: the core unit's primary, as its record says. What is read here may be used
 * when it was claimed and covered: before, a failover of the core unit could take it back. Embedded in the copies.
 */
#ifndef AGENT_COPY_SOURCE_H
#define AGENT_COPY_SOURCE_H

#include "common/broker_record.h"
#include "common/store.h"
#include "router/table.h"
#include "unit-agent/cover.h"
#include "unit-agent/primary.h"

/* Belongs to who claims; may be in one claim at a time. */
struct copy_claim {
    struct copy_claim *next;
    /* COVERED: every in-sync broker has all that was read or written before the claim. Else the connection was lost,
     * and it may be another broker's by now. */
    void (*done)(void *arg, bool covered);
    void *arg;
};

struct copy_source {
    struct primary primary;
    struct broker_record record; /* of the core unit */
    char unit[BROKER_UNIT_SIZE]; /* "": there is none */
    bool alone;                  /* it has one broker: what that has is all there is */
    void (*changed)(void *arg);  /* it is ready, or not any more: all that was read from it is to be looked at anew */
    void *arg;
    struct cover cover;
    struct copy_claim *waiting, *asked; /* for the next round; in the one under way */
    sd_event_source *turn, *retry;
    bool holding; /* `retry` runs, and begins the next round */
};

/* OPTIONS and PASSWORD (NULL: none) are borrowed for life. */
void copy_source_init(struct copy_source *source, sd_event *loop, const struct agent_config *options,
                      const char *password, void (*changed)(void *arg), void *arg);
/* Ends all claims. */
void copy_source_close(struct copy_source *source);

/* The core unit of the rules; NULL, a table without collections, or without a core unit: none. */
void copy_source_adopt(struct copy_source *source, const struct table *table);
void copy_source_sync(struct copy_source *source, struct store *store);
void copy_source_heard(struct copy_source *source, const char *unit, const struct broker_record *record);

/* It has no replica that a WAIT could count. */
bool copy_source_is_alone(const struct copy_source *source);
bool copy_source_is_ready(const struct copy_source *source);
/* Its connection, for commands; only while it is ready. */
struct broker *copy_source_broker(const struct copy_source *source);

/* For what was read up to now. CLAIM is called back later, once. */
void copy_source_claim(struct copy_source *source, struct copy_claim *claim);

/* Reads a bucket of the collection at the key AT, which is the core unit's. DONE: as for bucket_ask(), which this is.
 */
bool copy_source_read_bucket(struct copy_source *source, const char *at, unsigned bucket, broker_reply_fn done,
                             void *arg) MUST_CHECK;

#endif
