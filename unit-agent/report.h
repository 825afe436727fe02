/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent says of itself as JSON: the health events that gateways follow, and the status that operators read.
 */
#ifndef AGENT_REPORT_H
#define AGENT_REPORT_H

#include <jansson.h>

#include "unit-agent/agent.h"

/* {"unit","agent","seq","broker":{"url","up","fault"},"nodes":[{"url","color","up","fault"}],
 *  "lag":[{"topic","partition","subscription","pending"}],"epoch"}. The caller owns the reference, as below. */
json_t *report_health(const struct agent *agent, uint64_t seq);

/* The same keys but for `agent`, `seq` and `lag`, and
 * {"name","datacenter","pid","version","ready","unready","rules","store",
 * "broker_record" (see keeper_report),"counters","latency_us",
 * "partitions":[{"topic","partition","subscription","owned","linked","watermark","last_read","pending",
 * "held","in_flight","backing_off","oldest_ms"}]}. The counters are those of the metrics; see agent_refresh. */
json_t *report_status(const struct agent *agent);

#endif
