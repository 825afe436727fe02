/* SPDX-License-Identifier: Apache-2.0
 *
 * The control thread's counters: STAT(name, kind, "help"), as in gateway_stats_tbl.h.
 */
#include "common/follower_stats_tbl.h"
STAT(ready, STAT_GAUGE, "1 while /readyz says so: rules are there, listeners are up, and nothing drains.")
STAT(agents_followed, STAT_GAUGE, "Agents that the rules name.")
STAT(agents_heard, STAT_GAUGE, "Agents whose health reports arrive.")
STAT(node_probes_total, STAT_COUNTER, "Connections tried to nodes that were taken out.")
