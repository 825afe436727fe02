/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a copy anew: reads the origin's buckets, a page at a time, has them covered, and fills them in in small parts,
 * at the copies' pace, but so fast that all are in within an hour and within half of the time that the origin's log
 * goes back. What was interrupted goes on with the bucket that the copy says comes next. Embedded in a copy; one copy
 * of a unit is filled at a time.
 */
#ifndef AGENT_COPY_FILL_H
#define AGENT_COPY_FILL_H

#include "unit-agent/copy_page.h"
#include "unit-agent/copy_source.h"

struct copy;

struct copy_fill {
    struct copy_page page;
    size_t filled;        /* pairs of its bucket that comes next, which are in */
    unsigned next_bucket; /* which one that is, */
    size_t next_filled;   /* and how many pairs of it are in, when the calls under way were answered */
    uint64_t began_us;    /* monotonic: when this agent began; 0: it has not */
    unsigned began_with;  /* and the bucket that it began with */
    struct copy_claim claim;
};

void copy_fill_init(struct copy_fill *fill, struct copy *copy);
void copy_fill_close(struct copy_fill *fill);
/* Forgets what was read, and when it began. Not while a step is under way. */
void copy_fill_reset(struct copy_fill *fill);
/* The next step of COPY, which FILLS. */
void copy_fill_step(struct copy *copy);

#endif
