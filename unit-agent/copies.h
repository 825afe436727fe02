/* SPDX-License-Identifier: Apache-2.0
 *
 * The unit's copies of all collections of the rules: each one written by one agent of the unit, as the agents share
 * them out, and fed from the core unit's primary. In the core unit itself there is nothing to copy. Owned by the duty.
 *
 * Lifecycle: create -> adopt, whenever rules or the unit's record may have changed -> sync, whenever the store may have
 * changed -> stop -> destroy.
 */
#ifndef AGENT_COPIES_H
#define AGENT_COPIES_H

#include "common/store.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/copy.h"
#include "unit-agent/copy_pace.h"
#include "unit-agent/copy_reader.h"
#include "unit-agent/copy_source.h"

struct copies_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the brokers'; NULL: none */
    struct str agent;                   /* its name */
    struct agent_stats *stats;
    const struct broker_record *(*record)(void *arg); /* the unit's, in force */
    const char *(*owner)(void *arg);                  /* "AGENT/INCARNATION" */
    bool (*chooses)(void *arg, uint64_t hash);        /* this agent lives, and should own what HASH stands for */
    void *arg;
};

struct copies {
    sd_event *loop;
    struct copies_config config;
    struct primary local; /* the unit's primary; what it is asked has this connection to itself */
    struct copy_source source;
    struct copy_reader reader;
    struct copy_pace pace;
    struct copy *first;   /* never removed: who is not in the rules any more rests */
    struct copy *filling; /* one at a time; NULL: none */
    sd_event_source *tick;
    uint64_t version;   /* of the unit's record, for which the copies are to be open */
    uint64_t report_us; /* monotonic: when the next reports are due */
    struct buf wire;    /* of the call that is made; reused */
    bool stopped;
};

struct copies *copies_create(sd_event *loop, const struct copies_config *config);
void copies_destroy(struct copies **copies);

/* PRIMARY: the unit's, empty where the agent is not to serve it. */
void copies_adopt(struct copies *copies, const struct table *table, struct str primary);
/* Reads the core unit's record from STORE, */
void copies_sync(struct copies *copies, struct store *store);
/* or takes RECORD, of UNIT, where it is that one and newer. */
void copies_heard(struct copies *copies, const char *unit, const struct broker_record *record);

/* Asks both brokers for a sign of life, while this agent gives them no work: for its pace. */
void copies_listen(struct copies *copies);

/* How many copies this agent owns, and how many of these are open. */
void copies_count(const struct copies *copies, unsigned *owned, unsigned *open);

/* Begins nothing more, and gives back what this agent owns as soon as nothing of it is under way. */
void copies_stop(struct copies *copies);

#endif
