/* SPDX-License-Identifier: Apache-2.0
 *
 * What the control thread counts. It is the only writer and the only reader.
 */
#ifndef GATEWAY_CONTROL_STATS_H
#define GATEWAY_CONTROL_STATS_H

#include "common/stats.h"

struct control_stats {
#define STAT(name, kind, help) stat_value name;
#include "gateway/control_stats_tbl.h"
#undef STAT
};

#endif
