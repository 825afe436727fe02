/* SPDX-License-Identifier: Apache-2.0
 *
 * How the units' users share their colours, besides what the rules say: follows the colour records in the store and the
 * health of each colour's nodes. For the control thread; what it finds stands in the units (struct color_facts) and
 * reaches the workers with the next view. A store that is away, or a record that is garbled, leaves the last one.
 */
#ifndef GATEWAY_COLORS_H
#define GATEWAY_COLORS_H

#include "common/document_cache.h"
#include "gateway/view.h"

/* Asks the store for the colour record of each unit; CACHE keeps what it says. True where one is another than before.
 */
bool colors_sync(struct registry *registry, struct store *store, struct document_cache *cache);
/* The records as the last life of this process knew them, while the store is away. */
void colors_restore(struct registry *registry, const struct document_cache *cache);

/* Looks at NOW_US (monotonic) which nodes of VIEW are usable: a colour without any takes no users until it has been
 * well for SPLIT_CLEAN_US. True where that changes the units' splits. */
bool colors_check(struct view *view, uint64_t now_us);

/* Puts RECORD, which was made from the version in force of UNIT, and follows it where the store takes it. Otherwise
 * nothing changes: ERROR_CONFLICT where another was first. */
int colors_put(struct unit *unit, struct store *store, const struct color_record *record, struct error *err) MUST_CHECK;

/* Counts one request of COLOR that a node of UNIT answered after US, or failed to; from any thread. */
void colors_count(struct unit *unit, enum color color, bool failed, uint64_t us);
/* A request that was counted as answered failed later on. */
void colors_count_broken(struct unit *unit, enum color color);

#endif
