/* SPDX-License-Identifier: Apache-2.0
 *
 * Compares a unit's copy of a collection with its origin, key by key, each bucket at one sequence of both. Buckets are
 * read whole, the origin's first, and the copy's when it has applied what the origin had then. Where a bucket changed
 * in between, the older reading is brought forward by the origin's log. Owns what it found; borrows the sites.
 */
#ifndef OPS_ZONEC_COMPARE_H
#define OPS_ZONEC_COMPARE_H

#include "ops/zonec_changes.h"

enum zonec_verdict {
    ZONEC_SAME = 0,
    ZONEC_DIFFERENT,
    ZONEC_BEHIND,      /* or not whole: it could not be compared */
    ZONEC_UNREACHABLE, /* somebody was asked in vain */
};

struct zonec_compared {
    struct zonec_site *site;
    uint64_t seq;        /* the last at which something was compared */
    uint64_t entries;    /* of the copy */
    uint64_t different;  /* keys; those that are listed and the others */
    size_t open_buckets; /* that could not be compared */
    json_t *keys;        /* [{key, fault, bucket, origin_version, copy_version}...], some */
    json_t *buckets;     /* [N...]: those that differ, in what they hold or in the sum that is kept for it */
    json_t *unsound;     /* keys whose values are not what was written under them; only of the origin */
    json_t *same_digest; /* true, false, or null where both were never seen at one sequence */
    json_t *same_list;   /* whether as many keys are listed, by which they are found by prefix; or null */
    bool begun_anew;     /* while it was read */
    bool lost;           /* it does not answer */
    char fault[200];     /* why not all of it was compared; "": it was */
};

struct zonec_comparison {
    const char *collection;
    size_t most_keys;
    int64_t patience_ms;           /* for a copy that is behind */
    struct zonec_compared origin;  /* as for itself: are its values sound, are its sums right? */
    struct zonec_compared *copies; /* of the sites that have it */
    size_t count;
    uint64_t started_us;
};

/* Reads and compares all of COLLECTION. ZONEC's look tells which copies there are. */
void zonec_compare(struct zonec_comparison *comparison, const struct zonec *zonec);
void zonec_comparison_free(struct zonec_comparison *comparison);

/* Whether BUCKET is among those that differ. */
bool zonec_is_bad(const struct zonec_compared *compared, uint64_t bucket);

/* What differs counts before what could not be asked, and that before what is not compared. */
enum zonec_verdict zonec_verdict(const struct zonec_compared *compared);
const char *zonec_verdict_name(enum zonec_verdict verdict);

#endif
