/* SPDX-License-Identifier: Apache-2.0
 *
 * The control thread's counters: STAT(name, kind, "help"), as in gateway_stats_tbl.h.
 */
#include "common/follower_stats_tbl.h"
STAT(ready, STAT_GAUGE, "1 while /readyz says so: rules are there, listeners are up, and nothing drains.")
STAT(agents_followed, STAT_GAUGE, "Agents that the rules name.")
STAT(agents_heard, STAT_GAUGE, "Agents whose health reports arrive.")
STAT(ramp_steps_total, STAT_COUNTER, "Steps of colour ramps that this gateway has put in force, their ends included.")
STAT(ramp_rollbacks_total, STAT_COUNTER, "Colour ramps that this gateway has rolled back because the colour failed.")
STAT(node_probes_total, STAT_COUNTER, "Connections tried to nodes that were taken out.")
