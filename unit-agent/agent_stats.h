/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent counts. It has one thread, which is the only writer and the only reader.
 */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include "common/stats.h"
#include "router/unit.h"

struct agent_stats {
#define STAT(name, kind, help) stat_value name;
#include "unit-agent/agent_stats_tbl.h"
#undef STAT
    stat_value judged[COLOR_COUNT], judged_badly[COLOR_COUNT]; /* first attempts at the unit's own nodes, by colour */
    struct stat_histogram latency;                             /* from the gateway's `in_us` to the app's 2xx */
};

extern const struct stat_row agent_stat_rows[];
extern const size_t agent_stat_row_count;

#endif
