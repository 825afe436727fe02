/* SPDX-License-Identifier: Apache-2.0
 *
 * What answers to batches have in common, whatever their items are: the sums, and how the verdict of an item ends.
 */
#ifndef GATEWAY_BATCH_ANSWER_H
#define GATEWAY_BATCH_ANSWER_H

#include "common/str.h"
#include "router/verdict.h"

/* All before the items, of which there are COUNT. */
void batch_answer_begin(struct buf *out, size_t count, size_t accepted, size_t unknown);

/* The members that come last of an item. DETAIL: a sentence; NULL: none. */
void batch_answer_verdict(struct buf *out, enum verdict verdict, bool replayed, const char *detail);

#endif
