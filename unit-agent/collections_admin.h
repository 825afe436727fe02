/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators ask of a unit's collections: how its copies are, what stands in them, what happened lately, and to
 * have buckets repaired. All of it is read from the unit's primary broker, whoever writes there. Each call answers
 * REQUEST, now or later; DUTY is that of the unit.
 */
#ifndef AGENT_COLLECTIONS_ADMIN_H
#define AGENT_COLLECTIONS_ADMIN_H

#include "unit-agent/duty.h"

#define COLLECTION_CHANGES_MOST 1000 /* in one answer */

/* Each collection of the rules, or the one that the query names. */
void collections_admin_list(const struct duty *duty, struct httpd_request *request);

/* Buckets `from` and on, `count` of them, read whole one after the other: each as of its own sequence. With `keys`
 * every key with its version and fingerprint, else what all of them make together. */
void collections_admin_entries(const struct duty *duty, struct httpd_request *request);

/* The changes `from` to `to` that the log still has, COLLECTION_CHANGES_MOST at most. */
void collections_admin_changes(const struct duty *duty, struct httpd_request *request);

/* Has `buckets` (numbers with commas) repaired by whoever owns the copy. */
void collections_admin_repair(const struct duty *duty, struct httpd_request *request);

#endif
