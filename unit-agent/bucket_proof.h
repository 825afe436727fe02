/* SPDX-License-Identifier: Apache-2.0
 *
 * What a wrong bucket should hold, where a sound one of another broker proves it. Pure.
 */
#ifndef AGENT_BUCKET_PROOF_H
#define AGENT_BUCKET_PROOF_H

#include "unit-agent/bucket.h"

/* What the function c_put takes behind the epoch: key, bucket, condition, packed value (empty: delete), request. */
#define BUCKET_CHANGE_WORDS 5

/* WORDS are borrowed for the call. */
typedef void (*bucket_change_fn)(void *arg, const struct str words[BUCKET_CHANGE_WORDS]);

enum bucket_proof {
    BUCKET_UNPROVEN = 0,
    BUCKET_ALIKE,         /* both hold the same: either the sum is wrong, or both lack or have what they should not */
    BUCKET_VALUES_PROVEN, /* what the values are that are bad in themselves; nothing else */
    BUCKET_WHOLE_PROVEN,  /* all of it: once the changes are made, its sum is that of its values */
};

/* WRONG is no sound bucket, EVIDENCE is one, of the same number and collection. CHANGE is called for each key that is
 * proven to be wrong: it has to be written again, or deleted. */
enum bucket_proof bucket_prove(const struct bucket *wrong, const struct bucket *evidence, bucket_change_fn change,
                               void *arg) MUST_CHECK;

#endif
