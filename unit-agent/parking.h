/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent asks and tells the broker of parks (park.h): who is due, and what became of the heads that were. It
 * uses the ledger's connection, so that the broker sees its calls and the cursors in the order in which they were made.
 * Owned by the ledger.
 */
#ifndef AGENT_PARKING_H
#define AGENT_PARKING_H

#include "common/broker.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/command.h"
#include "unit-agent/partition.h"

struct parking;

struct parking_config {
    struct broker **broker;                  /* borrowed for life, as all here; the ledger's */
    const struct partition_list *partitions; /* may grow */
    struct agent_stats *stats;
    struct str owner; /* zero-terminated */
    /* Another agent owns PARTITION. */
    void (*fenced)(void *arg, struct partition *partition);
    /* Deliveries that ended are known to the broker: there is room, or messages to record. */
    void (*progress)(void *arg, struct partition *partition);
    void *arg;
};

struct parking *parking_create(sd_event *loop, const struct parking_config *config);
void parking_destroy(struct parking **parking); /* after the broker, which calls back what is under way */

/* PARTITION is restored, and the broker has these users parked: their names, each zero-terminated. */
void parking_adopt(struct parking *parking, struct partition *partition, struct str users);

/* Heads of PARTITION have ended: tells the broker. */
void parking_tell(struct parking *parking, struct partition *partition);

/* To be called at an interval: does what could not be done before, and counts the dead letters that are left. */
void parking_tick(struct parking *parking);

/* The keys of PARTITION's park up to its dead letters, as the functions want them before the cursor. */
void parking_add_keys(struct command *command, const struct partition *partition);

/* The moves of the write that PARTITION has just begun: serial, count, and each of them. */
void parking_add_moves(struct command *command, const struct partition *partition, size_t count);

/* That write is done: what its answer says, and when who was parked is due. To be called before partition_end_write. */
void parking_moved(struct parking *parking, struct partition *partition, const redisReply *reply);

#endif
