/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows the unit's broker record in the store and, in the one agent of the unit whose turn it is, keeps it: looks at
 * the primary and at each replica that the rules name, writes the record by compare-and-set, and detaches replicas.
 * What is to be done is decided in keeper_decide.h. Owned by the agent.
 *
 * Lifecycle: create -> adopt, whenever rules are in force -> sync, whenever the store may have changed -> destroy.
 */
#ifndef AGENT_KEEPER_H
#define AGENT_KEEPER_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "common/broker_record.h"
#include "common/document_cache.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

struct keeper;

struct keeper_config {
    const struct agent_config *options;
    const char *password; /* of the brokers; NULL: none */
    const char *name;     /* of this agent; borrowed */
    struct agent_stats *stats;
    struct document_cache *documents; /* what it begins with while the store is away */
    bool (*is_keeper)(void *arg);     /* asked before each act; NULL: there is no other agent */
    void (*changed)(void *arg);       /* the record, or the fault */
    void (*put)(void *arg, const struct broker_record *record); /* this agent put it into the store; may be NULL */
    void *arg;
};

struct keeper *keeper_create(sd_event *loop, const struct keeper_config *config);
void keeper_destroy(struct keeper **keeper);

/* The brokers that the rules name. */
void keeper_adopt(struct keeper *keeper, const struct table_unit *unit);

/* Reads the record. A store that is away leaves the last one in force, be it one that this agent knew before it was
 * started; none is written then. STORE is borrowed until keeper_destroy. */
void keeper_sync(struct keeper *keeper, struct store *store);

/* Another process put RECORD: in force from now on, unless the one that is is as new. */
void keeper_heard(struct keeper *keeper, const struct broker_record *record);

/* In force; without members where there is none. */
const struct broker_record *keeper_record(const struct keeper *keeper);

/* By the record, or by the rules where it names none of theirs; NULL: the rules name no broker. */
const char *keeper_primary_url(const struct keeper *keeper);

/* NULL, or the alarm: the primary's data are not those of the record. */
const char *keeper_alarm(const struct keeper *keeper);

/* {"version","epoch","primary","in_sync":[URL...],"wait","at_us","by","consumer","hold","because","keeper","why","alarm"};
 * the caller owns it. */
json_t *keeper_report(const struct keeper *keeper);

#endif
