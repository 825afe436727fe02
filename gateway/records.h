/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows the broker records in the store, so that the workers know who is in sync (unit_record in gateway/view.h).
 * For the control thread. A store that is away, or a record that is garbled, leaves the last one in force.
 */
#ifndef GATEWAY_RECORDS_H
#define GATEWAY_RECORDS_H

#include "common/document_cache.h"
#include "gateway/view.h"

struct gateway;

/* From any thread: there must be a newer record than those that are known; the control thread asks at once. */
void records_ask(struct gateway *gateway);

/* What a record that comes into force brings about in the workers; before they start. */
void records_open(struct gateway *gateway);
void records_close(struct gateway *gateway);

/* Asks the store for the record of each unit; CACHE keeps what it says. */
void records_sync(struct registry *registry, struct store *store, struct document_cache *cache);
/* The records as the last life of this process knew them, while the store is away. */
void records_restore(struct registry *registry, const struct document_cache *cache);

#endif
