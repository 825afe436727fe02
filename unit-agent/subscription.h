/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rules in force say of one subscription of a topic; all its partitions point to it. Owned by the inbox, and
 * never freed before it: a subscription that the rules no longer name is not `listed`.
 */
#ifndef AGENT_SUBSCRIPTION_H
#define AGENT_SUBSCRIPTION_H

#include "common/protocol.h"
#include "unit-agent/nodes.h"

struct subscription {
    struct subscription *next;
    char *topic, *name;
    bool broadcast; /* the same for life: a name that changes its mode is another subscription */
    bool listed;
    char *filter;        /* "name: value" lines, zero-terminated each, and an empty one; NULL: takes everything */
    struct nodes *own;   /* NULL until the rules first name nodes for it */
    struct nodes *nodes; /* `own` while they do; NULL: the unit's */
};

/* The one of this name and mode in LIST, added where there is none. */
struct subscription *subscription_get(struct subscription **list, struct str topic, struct str name, bool broadcast);
void subscriptions_free(struct subscription **list);

/* Where its messages go may change by this: partition_quiesce its partitions before, where subscription_moves. NODES:
 * an empty set for it to own; asked for once, and only where the rules name nodes. */
void subscription_adopt(struct subscription *subscription, const struct table_subscription *rules,
                        struct nodes *(*nodes)(void *arg), void *arg);
bool subscription_moves(const struct subscription *subscription, const struct table_subscription *rules);

/* Whether the message is for who reads it at PLACE ("SUBSCRIPTION", in a broadcast "SUBSCRIPTION@AGENT"): it names no
 * other place, and has every header of the filter with that very value. */
bool subscription_wants(const struct subscription *subscription, struct str place, const struct envelope *envelope);

#endif
