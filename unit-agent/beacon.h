/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's pulses: tells every gateway that the store lists, each 10 ms, what this agent knows, and hears of the
 * records that gateways put. Sends from a thread of its own (common/pulse_port.h); the hooks are called on the agent's
 * loop, so that what stalls the loop shows as the age of what is told. Owned by the agent.
 *
 * Lifecycle: create (the socket has its port) -> start -> follow, whenever the store may have changed -> destroy.
 */
#ifndef AGENT_BEACON_H
#define AGENT_BEACON_H

#include <systemd/sd-event.h>

#include "common/broker_record.h"
#include "common/pulse_port.h"
#include "common/store.h"
#include "unit-agent/config.h"

struct beacon;

struct beacon_config {
    const struct agent_config *options;
    const char *secret; /* NULL: none */
    struct pulse_stats *stats;
    /* Fills in PULSE->agent, which is zeroed; each age_us as of LATE_US ago: for so long the loop has not run, and
     * missed answers that came. What is not known is no reason to suspect a broker. */
    void (*look)(void *arg, struct pulse *pulse, uint64_t late_us);
    /* A gateway or agent put RECORD, or passed it on; it may be old, and it may come again. */
    void (*pushed)(void *arg, const char *unit, const struct broker_record *record);
    void *arg;
};

/* CONFIG's pointers are borrowed for its life. NULL with *err. */
struct beacon *beacon_create(sd_event *loop, const struct beacon_config *config, struct error *err) MUST_CHECK;
void beacon_destroy(struct beacon **beacon);
int beacon_start(struct beacon *beacon, const char *name, struct error *err) MUST_CHECK;

/* Where this agent hears pulses, into what it registers with. */
void beacon_introduce(const struct beacon *beacon, struct store_member *self);

/* There is something new to look at: it is told within a millisecond or so, with what else comes by then. */
void beacon_hurry(struct beacon *beacon);

/* Reads from STORE who is to hear this agent; NULL: there is none to be asked. */
void beacon_follow(struct beacon *beacon, struct store *store);

/* Keeps them for a restart while the store is away; waits for the disk, see pulse_peers_save(). */
void beacon_save(struct beacon *beacon);

/* Tells all of them, and all agents, at once of the record that was put for UNIT. */
void beacon_push(struct beacon *beacon, const char *unit, const struct broker_record *record);

#endif
