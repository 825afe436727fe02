/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys that a collection's buckets hold, and whether its sorted list of keys has them too, and no others: what it lacks
 * it gets, what it has too many it loses. The broker decides key by key at the moment of the change, so that nothing is
 * lost to writers. Owned by who made it.
 */
#ifndef AGENT_KEY_LIST_H
#define AGENT_KEY_LIST_H

#include "common/broker.h"
#include "unit-agent/agent_stats.h"

struct key_list;

/* AT: "ldc:{UNIT}:c/COLLECTION/". Both are borrowed for life. */
struct key_list *key_list_create(const char *at, struct agent_stats *stats);
/* Not while a check is under way. */
void key_list_destroy(struct key_list **list);

/* For the next check; copies KEY. */
void key_list_add(struct key_list *list, struct str key, uint32_t bucket);

/* Looks for the keys that were added in the list at BROKER, mends it under EPOCH, and forgets them. Where the list is
 * known to have too many, the next part of it is looked through besides. DONE is called when that has ended, however.
 * False where there is nothing to ask, or nobody (NULL): then DONE is not called. */
bool key_list_check(struct key_list *list, struct broker *broker, uint64_t epoch, void (*done)(void *arg),
                    void *arg) MUST_CHECK;

/* Whether the list has as many keys as the buckets, of which COUNT were seen in the last round. Where it has more, the
 * next checks go through all of it. As key_list_check(). */
bool key_list_compare(struct key_list *list, struct broker *broker, uint64_t count, void (*done)(void *arg),
                      void *arg) MUST_CHECK;
/* It had fewer: all keys are to be looked for. */
bool key_list_lacks(const struct key_list *list);

#endif
