/* SPDX-License-Identifier: Apache-2.0
 *
 * What an origin's log says of a stretch of changes, bucket by bucket, so that what was read at two moments can be
 * brought to one. Borrows the site; owns what it read.
 */
#ifndef OPS_ZONEC_CHANGES_H
#define OPS_ZONEC_CHANGES_H

#include "ops/zonec.h"

#define ZONEC_BUCKETS 1024

struct zonec_changes {
    struct zonec_site *origin;
    const char *collection;
    uint64_t first, last; /* what is known; last < first: nothing */
    json_t *of_bucket[ZONEC_BUCKETS];
};

void zonec_changes_init(struct zonec_changes *changes, struct zonec_site *origin, const char *collection);
void zonec_changes_free(struct zonec_changes *changes);

/* Brings KEYS ({key: [version, fingerprint]}) of BUCKET, which are as of the sequence FROM, to what they were as of TO.
 * False where the log does not say it. */
bool zonec_changes_apply(struct zonec_changes *changes, unsigned bucket, uint64_t from, uint64_t to, json_t *keys);

#endif
