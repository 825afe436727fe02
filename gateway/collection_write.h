/* SPDX-License-Identifier: Apache-2.0
 *
 * PUT and DELETE of one value of a collection: they go to the collection's origin in the core unit, with the durability
 * of its queue, and under the conditions of the request (If-Match, If-None-Match). docs/COLLECTIONS.md lists the
 * answers.
 */
#ifndef GATEWAY_COLLECTION_WRITE_H
#define GATEWAY_COLLECTION_WRITE_H

#include "gateway/collection_origin.h"
#include "gateway/collections.h"
#include "gateway/publish_options.h"

void collection_write_serve(struct exchange *exchange, const struct collection_path *path);

/* --- for batches, too --------------------------------------------------------------------------------------------- */

/* What every write begins with: whether its client may write there, and what it says of an idempotency key. Names the
 * core unit as the exchange's. False: the exchange was answered. */
bool collection_write_begin(struct exchange *exchange, const struct collection_path *path,
                            struct publish_options *options) MUST_CHECK;

#define COLLECTION_ID_MAX (IDEMPOTENCY_KEY_MAX + 24)

/* Sets the id of CALL, in TEXT of COLLECTION_ID_MAX bytes: one that no client can say, or of its KEY (base NULL: none),
 * of which it is item INDEX. */
void collection_write_name(struct worker *worker, struct origin_call *call, struct str key, size_t index, char *text);

/* Counts what became of a write, and says what that is to its client: the verdict of its answer, with *DETAIL. */
enum verdict collection_write_verdict(struct worker *worker, const struct origin_answer *answer, const char **detail);

#endif
