/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent saw of each message, for whoever asks later: attempts, and that the cursor was recorded. Lines are
 * gathered for a moment and then written to the trace stream of the partition, one entry for many messages. Deliveries
 * never wait for it: what cannot be kept is dropped and counted. docs/PROTOCOL.md says what the lines look like. Owned
 * by the agent.
 */
#ifndef AGENT_TRACES_H
#define AGENT_TRACES_H

#include "unit-agent/agent_stats.h"
#include "unit-agent/delivery.h"
#include "unit-agent/outbox.h"

struct traces;

struct traces_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *agent;                  /* this agent's name */
    struct agent_stats *stats;
    struct outbox *outbox;
};

struct traces *traces_create(sd_event *loop, const struct traces_config *config);
void traces_destroy(struct traces **traces); /* after the partitions and the outbox */

/* Everything is borrowed for the calls. */
void traces_attempted(struct traces *traces, const struct message *message, const struct delivery_attempt *attempt);
/* An attempt to deliver MESSAGE goes on; told once an attempt. */
void traces_begun(struct traces *traces, struct message *message);
/* Replicas hold the entries of PARTITION up to ID. */
void traces_covered(struct traces *traces, struct partition *partition, struct stream_id id);
/* The broker knows what became of MESSAGE: its fate. */
void traces_recorded(struct traces *traces, const struct message *message);

/* Writes what there is without waiting for the interval. */
void traces_flush(struct traces *traces);
/* Nothing waits and nothing is under way. */
bool traces_idle(const struct traces *traces);

#endif
