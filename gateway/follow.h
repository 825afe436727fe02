/* SPDX-License-Identifier: Apache-2.0
 *
 * What the units' agents say about their brokers and nodes: one event stream an agent (GET /v1/health/stream), opened
 * again with backoff. A report is a lease: it counts until FOLLOW_LEASE_US after the agent's last event, so that an
 * agent that dies takes its verdicts with it. Nodes that an agent calls down are marked `reported`.
 * Owned by the control thread.
 */
#ifndef GATEWAY_FOLLOW_H
#define GATEWAY_FOLLOW_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "gateway/view.h"

#define FOLLOW_LEASE_US 3000000

struct follow;

/* TOKEN (may be NULL) and REGISTRY are borrowed for its life. */
struct follow *follow_create(sd_event *loop, struct registry *registry, const char *token);
void follow_destroy(struct follow **follow);

/* Follows the agents that TABLE names, and no others. Copies what it needs. */
void follow_adopt(struct follow *follow, const struct table *table);

struct follow_agent {
    const char *unit, *url;
    bool heard;           /* its lease runs */
    int64_t age_ms;       /* since its last event; -1: never heard */
    const char *fault;    /* why it is not heard; "" where it is */
    const json_t *report; /* its last one, with the agent's own keys; NULL: none yet */
};

/* Runs FN once for each agent of the rules; what it gets lives until it returns. */
void follow_each(const struct follow *follow, void (*fn)(const struct follow_agent *agent, void *arg), void *arg);

#endif
