/* SPDX-License-Identifier: Apache-2.0
 *
 * Which partitions this agent serves for all the agents of its unit. There is one lease for each partition of a topic,
 * and it is for all the shared subscriptions of it: owner and cursors stand in the broker, and the broker refuses the
 * cursors of whoever is not the owner. Owned by the inbox; the leases hold the partitions.
 *
 * Lifecycle of a lease: FREE (another's, or nobody's) -> TAKING, when the roster says that it should be ours -> HELD,
 * when the broker agreed: its partitions are `owned` -> FINISHING, when it should be another's: nothing new is begun,
 * what is in flight is finished and recorded, for `lease.release_timeout` at most -> given back, FREE. A lease that the
 * broker says is not ours is FREE at once, and its partitions are reset.
 */
#ifndef AGENT_LEASE_H
#define AGENT_LEASE_H

#include "unit-agent/partition.h"
#include "unit-agent/roster.h"

enum lease_state {
    LEASE_FREE = 0,
    LEASE_TAKING,
    LEASE_HELD,
    LEASE_FINISHING,
};

struct lease {
    struct lease *chain; /* in the index */
    uint64_t hash;
    char *topic;
    unsigned number;
    char *state_key;
    struct partition *first; /* of its partitions, over `sibling` */
    enum lease_state state;
    bool chosen;          /* the roster's choice */
    bool doubted;         /* held, but the beat had run out since: to be taken once more before anything is begun */
    bool stray;           /* not held here, but perhaps ours at the broker */
    uint64_t deadline_us; /* monotonic: of FINISHING */
};

struct leases;

struct leases_config {
    const struct agent_config *options;
    struct agent_stats *stats;
    struct str unit, owner; /* "AGENT/INCARNATION"; borrowed, zero-terminated */
    /* Partitions are owned since now: they are to be linked. */
    void (*taken)(void *arg);
    /* Attempts may be begun again: see leases_sure. */
    void (*confirmed)(void *arg);
    void *arg;
};

struct leases *leases_create(sd_event *loop, const struct leases_config *config);
/* Destroys the partitions too. */
void leases_destroy(struct leases **leases);

/* The lease of this partition of a topic, made where there is none. */
struct lease *leases_get(struct leases *leases, struct str topic, unsigned number);
void lease_add(struct lease *lease, struct partition *partition);
/* Its subscription is in the rules again. */
void lease_own(struct partition *partition);
bool lease_finishes(const struct lease *lease);
/* PARTITION sees to the stream that the partitions of its lease share: one of them does, in the agent that holds it. */
bool lease_led_by(const struct partition *partition);

/* The unit's broker and who lives there. NULL: none; everything is FREE then, and all partitions are reset. */
void leases_attach(struct leases *leases, struct roster *roster);

/* A beat was confirmed, or there are new leases: takes what should be ours, begins to give back what should not. */
void leases_beaten(struct leases *leases);
/* The last beat ran out: see struct roster_config. */
void leases_lapsed(struct leases *leases, bool late);

/* The broker refused what only the owner of PARTITION may do. */
void leases_fenced(struct leases *leases, struct partition *partition);

/* Whether an attempt may be begun at this moment. */
bool leases_sure(const struct leases *leases);

/* Gives everything back. */
void leases_stop(struct leases *leases);
/* Nothing is held, or about to be. */
bool leases_idle(const struct leases *leases);

#endif
