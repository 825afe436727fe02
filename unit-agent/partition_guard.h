/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may say that it is not a message's turn yet, for reasons that its partition does not know. Where the guard
 * changes its mind it says so; until then the message waits, and those of its user behind it. Borrowed by the
 * partition.
 */
#ifndef AGENT_PARTITION_GUARD_H
#define AGENT_PARTITION_GUARD_H

#include "unit-agent/message.h"

struct partition_guard {
    bool (*admits)(void *arg, const struct partition *partition, const struct message *message);
    void *arg;
};

/* Whether the partition's guard, where it has one, lets MESSAGE go now. */
bool partition_admits(const struct partition *partition, const struct message *message);

/* The guard may admit what it did not before. */
void partition_look_again(struct partition *partition);

/* Users whose head it does not admit wait in the park, for WAIT_MS at least, so that the others have room. */
void partition_park_barred(struct partition *partition, int64_t wait_ms);

#endif
