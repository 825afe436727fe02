/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators do to the unit's queue through this agent: dead letters, cursors, pause and throttle. It has a
 * connection of its own to the unit's primary broker, where all of it happens: any agent of the unit can be asked, or
 * of its standby, whoever serves, and all of them see it. Owned by the agent.
 */
#ifndef AGENT_OPERATIONS_H
#define AGENT_OPERATIONS_H

#include "common/broker_record.h"
#include "common/httpd.h"
#include "router/table.h"
#include "unit-agent/config.h"
#include "unit-agent/valve.h"

struct operations;

struct operations_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the broker's; NULL: none */
    struct valves *valves;
    const struct broker_record *(*record)(void *arg); /* in force */
    void *arg;
};

struct operations *operations_create(sd_event *loop, const struct operations_config *config);
void operations_destroy(struct operations **operations); /* before the httpd: what is under way is not answered */

/* TABLE: it takes a reference; NULL: the rules name no such unit. PRIMARY: the broker's URL; empty: there is none. */
void operations_adopt(struct operations *operations, struct table *table, struct str primary);

/* To be called at an interval: reads what is paused and throttled. */
void operations_tick(struct operations *operations);

/* Answers REQUEST, whose query selects what it is about: `topic`, `subscription`, `partition` (all where absent), `id`
 * (a message), `limit`, and what the action itself needs. */
void operations_dead(struct operations *operations, struct httpd_request *request);
void operations_redrive(struct operations *operations, struct httpd_request *request);
void operations_purge(struct operations *operations, struct httpd_request *request);
void operations_reset(struct operations *operations, struct httpd_request *request); /* to: MS, MS-SEQ, end */
void operations_flow(struct operations *operations, struct httpd_request *request);  /* rate: open, paused, NUMBER */

/* For what else asks the broker: NULL where the rules name none. */
struct broker *operations_broker(const struct operations *operations);
const struct table *operations_table(const struct operations *operations);

/* The answer to what happened to the message `id` (trace_answer.c). */
void operations_trace(struct operations *operations, struct httpd_request *request);

#endif
