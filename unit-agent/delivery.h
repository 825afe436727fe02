/* SPDX-License-Identifier: Apache-2.0
 *
 * Brings messages to the app: many at once, each by a POST to a node of its colour, again and again until the app
 * answers 2xx. Partitions say whose turn it is (partition.h); this knows nothing of order. Owned by the agent.
 */
#ifndef AGENT_DELIVERY_H
#define AGENT_DELIVERY_H

#include "unit-agent/agent_stats.h"
#include "unit-agent/nodes.h"
#include "unit-agent/partition.h"

struct delivery;

/* One exchange with a node; times by the wall clock. */
struct delivery_attempt {
    const char *node; /* its URL */
    uint64_t began_us, ended_us;
    const struct http_response *response;
};

struct delivery_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    struct str unit;
    struct nodes *nodes;
    struct agent_stats *stats;
    /* MESSAGE was acknowledged, and its partition knows: the cursor is to be written. */
    void (*acknowledged)(void *arg, struct partition *partition);
    /* An exchange ended, whatever comes of it. MESSAGE and ATTEMPT are borrowed for the call. NULL: nobody listens. */
    void (*attempted)(void *arg, const struct message *message, const struct delivery_attempt *attempt);
    /* MESSAGE has its final outcome, which RESPONSE led to: a 2xx, or it is to be a dead letter. Called once, before
     * the broker knows; so it may come again from a later life of the agent. NULL: nobody listens. */
    void (*settled)(void *arg, const struct message *message, const struct http_response *response);
    /* Whether an attempt may be begun at this moment; delivery_wake tells when it may again. */
    bool (*may_begin)(void *arg);
    void *arg;
};

struct delivery *delivery_create(sd_event *loop, const struct delivery_config *config);
void delivery_destroy(struct delivery **delivery); /* after the partitions, which take back their messages */

/* The hooks for struct partition_hooks; ARG is the delivery. */
void delivery_ready(void *delivery, struct message *message);
void delivery_withdraw(void *delivery, struct message *message);

/* Calls FN for each message whose exchange has begun before BEFORE_US (wall) and goes on, oldest first. */
void delivery_each_lasting(const struct delivery *delivery, uint64_t before_us,
                           void (*fn)(void *arg, struct message *message), void *arg);

/* There is room again: a node came back, or a limit was raised. */
void delivery_wake(struct delivery *delivery);

/* Begins nothing any more. What is in flight finishes: see agent_deliveries_in_flight. */
void delivery_stop(struct delivery *delivery);

/* How long to wait before an attempt that follows FAILS failures (from 1): MIN doubled FAILS - 1 times, at most MAX,
 * give or take a fifth by RANDOM. */
int64_t delivery_backoff_ms(int64_t min_ms, int64_t max_ms, uint32_t fails, uint64_t random);

#endif
