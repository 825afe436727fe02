/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /v1/health/stream: the agent's report as server-sent events, to each reader at once, when something changes, and
 * at every health.interval, for a report is a lease. Owned by the agent.
 */
#ifndef AGENT_HEALTH_H
#define AGENT_HEALTH_H

#include "common/httpd.h"
#include "unit-agent/agent.h"

struct health;

struct health *health_create(struct agent *agent);
void health_destroy(struct health **health); /* after the admin server, which owns the streams */

/* A new reader. */
void health_open(struct health *health, struct httpd_request *request);

/* A node or the broker came or went: tells all readers at the end of this turn of the loop. */
void health_changed(struct health *health);
/* Tells them now. */
void health_tell(struct health *health);

#endif
