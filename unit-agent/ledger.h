/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent keeps in the broker: compares its partitions with the broker's cursors and streams whenever the
 * connection is made anew, looks for streams that the rules do not name, writes the cursors, surveys the streams, and
 * trims what was acknowledged and is old enough. It has a connection of its own, since the reader's blocks. Owned by
 * the inbox.
 *
 * One cursor write is under way for each partition at a time and records everything acknowledged before it, so one
 * round trip (and one fsync of the broker) serves many messages.
 */
#ifndef AGENT_LEDGER_H
#define AGENT_LEDGER_H

#include "common/broker.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/partition.h"

struct ledger;

struct ledger_config {
    const struct broker_loop *broker_loop;
    const struct broker_config *broker;
    const struct partition_list *partitions; /* borrowed; may grow */
    struct agent_stats *stats;
    struct str unit, owner; /* "AGENT/INCARNATION"; zero-terminated */
    /* The broker holds a stream of the unit under KEY. Returns whether its partition was added to the list just now. */
    bool (*found)(void *arg, struct str key);
    /* The broker says that this agent does not own PARTITION. */
    void (*fenced)(void *arg, struct partition *partition);
    /* The primary has PARTITION's cursor: ledger_proven() is to be called when it cannot be lost any more. */
    void (*prove)(void *arg, struct partition *partition);
    /* A partition may be read again: it was linked, or there is room in it. */
    void (*progress)(void *arg);
    /* The broker came or went. */
    void (*changed)(void *arg);
    void *arg;
};

struct ledger *ledger_create(sd_event *loop, const struct ledger_config *config);
/* What is under way is not confirmed. Afterwards no partition is linked. */
void ledger_destroy(struct ledger **ledger);

/* PARTITION is dirty: it is recorded at the end of this turn of the loop, or when that is possible again. */
void ledger_note(struct ledger *ledger, struct partition *partition);

/* The cursor of PARTITION that was written is confirmed: its users go on. */
void ledger_proven(struct ledger *ledger, struct partition *partition);

/* Links what is owned and not linked yet. */
void ledger_link(struct ledger *ledger);

/* The same, and surveys and trims the rest. To be called at an interval. */
void ledger_tick(struct ledger *ledger);

/* NULL while the broker serves; else why not. *FENCED: it is a replica, as far as it said. */
const char *ledger_fault(const struct ledger *ledger, bool *fenced);

/* Nothing is left to record. */
bool ledger_idle(const struct ledger *ledger);

#endif
