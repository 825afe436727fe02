/* SPDX-License-Identifier: Apache-2.0
 *
 * Which agents of the unit live: this one says so to the broker at an interval (a beat) and hears of the others. It has
 * a connection of its own, so that nothing holds its beats up. Owned by the inbox.
 *
 * A beat holds for `lease.ttl`, here counted from when it was sent, at the broker from when it arrived, which is later:
 * whoever believes to hold something stops before others may take it.
 */
#ifndef AGENT_ROSTER_H
#define AGENT_ROSTER_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

struct roster;

struct roster_config {
    const struct broker_loop *broker_loop;
    const struct broker_config *broker;
    const struct agent_config *options;
    struct agent_stats *stats;
    struct str unit, name, incarnation; /* borrowed, zero-terminated */
    void (*beaten)(void *arg);          /* a beat was confirmed */
    /* The last beat ran out. LATE: this process was stopped meanwhile, so that others may have gone on already. */
    void (*lapsed)(void *arg, bool late);
    void *arg;
};

struct roster *roster_create(sd_event *loop, const struct roster_config *config);
void roster_destroy(struct roster **roster);

/* The last confirmed beat holds at this moment. */
bool roster_holds(const struct roster *roster);

/* Rises whenever other agents live than before. */
uint64_t roster_generation(const struct roster *roster);

/* Whether this agent should own what HASH stands for. All agents that know the same members agree; one that comes or
 * goes moves only its own share (rendezvous hashing: the highest of the members' mixes with HASH wins). */
bool roster_chooses(const struct roster *roster, uint64_t hash);

/* This agent is the first of the living by name, and its beat holds: it does what only one may do. */
bool roster_is_keeper(const struct roster *roster);

/* From now on the others are to own everything; this one lives on until it has given everything back. */
void roster_begin_leaving(struct roster *roster);
/* It is gone. DONE is called when the broker knows, or cannot be told. */
void roster_leave(struct roster *roster, void (*done)(void *arg), void *arg);

/* Its connection, for commands about leases. */
struct broker *roster_broker(const struct roster *roster);

/* NULL while it holds; else why not. */
const char *roster_fault(const struct roster *roster);

#endif
