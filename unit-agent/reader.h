/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the unit's streams: one XREAD over all partitions that have room, again and again, from explicit ids, on a
 * connection of its own because it blocks. Reads ahead as far as the window and the memory limit let it. Owned by the
 * inbox.
 */
#ifndef AGENT_READER_H
#define AGENT_READER_H

#include "common/broker.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"
#include "unit-agent/partition.h"

struct reader;

struct reader_config {
    const struct broker_loop *broker_loop;
    const struct broker_config *broker;
    const struct partition_list *partitions; /* borrowed; may grow */
    const struct agent_config *options;
    struct agent_stats *stats;
    void (*read)(void *arg, struct partition *partition); /* it has entries more */
    void *arg;
};

struct reader *reader_create(sd_event *loop, const struct reader_config *config);
void reader_destroy(struct reader **reader);

/* A partition was linked, or there is room: at the end of this turn of the loop. */
void reader_wake(struct reader *reader);

#endif
