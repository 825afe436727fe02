/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets through only what would survive the loss of the primary broker: entries that were read are handed out when every
 * broker of the in-sync set has them, and a cursor that was written counts as confirmed when they have that. Else an
 * app could see a message that afterwards never was, or, after a failover, a user's messages of before once more behind
 * his later ones. A primary that was deposed and does not know it gets nothing proven. Owned by the inbox.
 *
 * It asks on a connection of its own, for all that was read until then at once: PING, WAIT, INFO. WAIT speaks of what
 * its connection last heard of, so on the reader's connection, where a blocked XREAD came before, it would answer for
 * the time before the entries were there; the PING is what brings this one up to date.
 */
#ifndef AGENT_GATE_H
#define AGENT_GATE_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/broker_record.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/partition.h"

struct gate;

struct gate_config {
    const struct broker_loop *broker_loop;
    const struct broker_config *broker;
    struct agent_stats *stats;
    /* In force; without members where there is none, and nothing passes until there is. It returns NULL where the unit
     * has one broker, and everything passes at once. */
    const struct broker_record *(*record)(void *arg);
    /* PARTITION was covered further: there may be something to record. */
    void (*covered)(void *arg, struct partition *partition);
    /* The cursor of PARTITION that was written is on every broker that it must be on. */
    void (*proven)(void *arg, struct partition *partition);
    void *arg;
};

struct gate *gate_create(sd_event *loop, const struct gate_config *config);
/* What waits in it stays uncovered. */
void gate_destroy(struct gate **gate);

/* Covers PARTITION up to its last_read, now or when that is proven. */
void gate_pass(struct gate *gate, struct partition *partition);

/* The primary has PARTITION's cursor, whose write is not ended yet: tells `proven`, now or later. */
void gate_prove(struct gate *gate, struct partition *partition);

#endif
