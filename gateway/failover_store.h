/* SPDX-License-Identifier: Apache-2.0
 *
 * The watch's way to the store: a thread with a handle of its own, on which reads and proposals wait for answers, one
 * after the other. Owned by the watch.
 */
#ifndef GATEWAY_FAILOVER_STORE_H
#define GATEWAY_FAILOVER_STORE_H

#include "common/store.h"
#include "router/core.h"

struct failover;
struct failover_store;

struct failover_store *failover_store_create(struct failover *failover, struct error *err) MUST_CHECK;
/* WATCHED: the control thread's handle. */
int failover_store_start(struct failover_store *store, struct store *watched, struct error *err) MUST_CHECK;
/* Returns when the call that is under way has come back. */
void failover_store_stop(struct failover_store *store);
void failover_store_destroy(struct failover_store **store);

/* With the watch's lock held. The core is told what came of it. WHY is copied. */
void failover_store_propose(struct failover_store *store, const struct core_proposal *proposal, const char *why);
/* Reads the record of the unit UNIT (its id), unless that is about to happen anyway. */
void failover_store_ask(struct failover_store *store, uint64_t unit);

#endif
