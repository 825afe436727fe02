/* SPDX-License-Identifier: Apache-2.0
 *
 * Which brokers hold what of a unit's data, as the agents that guard them say: what an operator must know before he
 * accepts a loss.
 */
#ifndef OPS_UNIT_COPIES_H
#define OPS_UNIT_COPIES_H

#include "ops/fleet.h"

/* [{"broker","role","epoch","run_id","offset","writes","data","heard_ms","in_sync","why"}...], each broker once: a new
 * reference. */
json_t *unit_copies(const struct fleet *fleet, const char *unit);

/* The one that holds most of those that answer; an empty one where there is no other. Borrowed; NULL: none answers. */
const json_t *unit_copies_best(const json_t *copies);

/* Writes that some broker was known to hold, and BEST does not. */
uint64_t unit_copies_loss(const json_t *copies, const json_t *best);

void unit_copies_print(const json_t *copies);

#endif
