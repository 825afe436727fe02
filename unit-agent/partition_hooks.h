/* SPDX-License-Identifier: Apache-2.0
 *
 * What a partition is called, and whom it tells of what happens in it. Plain values, borrowed by the partition.
 */
#ifndef AGENT_PARTITION_HOOKS_H
#define AGENT_PARTITION_HOOKS_H

#include "unit-agent/message.h"

/* Who delivers: told of each message whose turn it is, and of those that are taken back by a reset. */
struct partition_hooks {
    void (*ready)(void *arg, struct message *message);
    void (*withdraw)(void *arg, struct message *message); /* READY, IN_FLIGHT or BACKING_OFF */
    void *arg;
};

struct partition_name {
    struct str unit, topic, subscription;
    unsigned number;
    struct str
        listener; /* of a broadcast, the agent that the cursor belongs to; base NULL: the unit's agents share it */
};

#endif
