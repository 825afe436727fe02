/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits until every living gateway and agent serves an epoch, and tells who does not, and why.
 */
#ifndef OPS_CONVERGE_H
#define OPS_CONVERGE_H

#include "common/store.h"
#include "ops/deployment.h"

struct converge_member {
    struct store_member member;
    bool followed;
    bool refused;     /* it said that it does not take these rules */
    bool gone;        /* the store lists it no more: it ended meanwhile, and need not follow */
    uint64_t epoch;   /* the last one that it told */
    uint64_t ms;      /* from the start of the wait until it was seen to follow */
    char fault[1024]; /* why it has not followed; "" where it has */
};

/* The caller frees `members`. */
struct converge {
    struct converge_member *members;
    size_t count;
};

/* Who must follow: the members that the deployment's store lists. */
int converge_enlist(struct converge *converge, struct deployment *deployment, struct error *err) MUST_CHECK;

/* Blocks until everybody serves EPOCH or a later one, somebody refuses it, or TIMEOUT_MS are over. True where all that
 * live follow. ALOUD: prints a line for each as it follows. */
bool converge_wait(struct converge *converge, struct deployment *deployment, uint64_t epoch, int64_t timeout_ms,
                   bool aloud);

/* [{"name","role","unit","epoch","followed","gone","ms","fault"}...]: a new reference. */
json_t *converge_json(const struct converge *converge);

/* Those who did not follow, to standard error. */
void converge_blame(const struct converge *converge);

#endif
