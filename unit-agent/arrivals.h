/* SPDX-License-Identifier: Apache-2.0
 *
 * Users who came to the unit from another one, by new rules: their messages wait here until that one has delivered what
 * it had of them before (common/arrival_record.h says from where they come). Asks that unit's broker itself, a
 * partition after the other: until its cursor has passed all that stood there when the users left, nobody who comes
 * from there goes on; then those who are parked there wait alone. When nothing is left, the entry goes from the record.
 *
 * Nothing is handed out that was routed by rules which this agent does not know yet: they may have moved its user.
 * Owned by the duty.
 */
#ifndef AGENT_ARRIVALS_H
#define AGENT_ARRIVALS_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "common/document_cache.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"
#include "unit-agent/partition.h"

struct arrivals;

struct arrivals_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* of the brokers; NULL: none */
    struct agent_stats *stats;
    struct document_cache *documents; /* what they begin with while the store is away */
    bool (*is_keeper)(void *arg);     /* asked before the record is changed */
    void (*changed)(void *arg);       /* messages that were kept back may go on */
    void (*waited)(void *arg);        /* some have waited for a while: let them wait in the park */
    void (*behind)(void *arg);        /* the store has rules that are not known here */
    void *arg;
};

struct arrivals *arrivals_create(sd_event *loop, const struct arrivals_config *config);
void arrivals_destroy(struct arrivals **arrivals);

/* Reads from STORE, which is borrowed until the next call, whom the unit takes in; at the first time from
 * `documents` where it is away. TABLE is in force, and was read before. */
void arrivals_sync(struct arrivals *arrivals, struct store *store, const struct table *table);

/* For a struct partition_guard, whose ARG is the arrivals. */
bool arrivals_admit(void *arrivals, const struct partition *partition, const struct message *message);

/* [{"unit","epoch","partitions","closed","parked"}]: of the partitions there, those that are not passed yet, and users
 * who are parked in the others. The caller owns it. */
json_t *arrivals_report(const struct arrivals *arrivals);

#endif
