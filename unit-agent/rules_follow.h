/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rules are in force in this agent: follows the store's record, compiles what it names, keeps the cache file. The
 * same manners as a gateway's: epochs never fall, a version that does not load changes nothing, and while the store is
 * away the rules in force stay. Owned by the agent.
 */
#ifndef AGENT_RULES_FOLLOW_H
#define AGENT_RULES_FOLLOW_H

#include "common/store.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"

struct rules_follow {
    struct agent_stats *stats;
    const char *cache;                                     /* borrowed; NULL: none */
    void (*adopted)(void *arg, const struct table *table); /* other rules are in force */
    void *arg;
    struct store *store;
    struct table *table;         /* in force, one reference; NULL: none yet */
    struct store_record record;  /* of it, with the newest epoch; version 0: none */
    bool up, behind;             /* behind: it answers, and was reset or restored from a copy */
    char fault[480];             /* why the store is not up: away, or behind the rules in force */
    uint64_t since_us;           /* wall; when `up` changed */
    struct store_record refused; /* the newest version that was refused; epoch 0: none */
    char refusal[480];           /* why */
};

/* Opens the store at LOCATION, loads the cache file where there is one, and asks the store. -1 with *err only for a
 * location that makes no sense. The fields up to ARG are the caller's. */
int rules_follow_open(struct rules_follow *follow, const char *location, const struct store_access *access,
                      struct error *err) MUST_CHECK;
void rules_follow_close(struct rules_follow *follow);

/* Asks the store, and does what is to be done. Never fails: it tells by its fields, its counters and the log. */
void rules_follow_sync(struct rules_follow *follow);

#endif
