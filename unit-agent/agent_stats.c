/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/agent_stats.h"

const struct stat_row agent_stat_rows[] = {
#define STAT(name, kind, help) {#name, kind, help, offsetof(struct agent_stats, name)},
#include "common/measure.h"
#include "unit-agent/agent_stats_tbl.h"
#undef STAT
};

const size_t agent_stat_row_count = COUNT_OF(agent_stat_rows);
