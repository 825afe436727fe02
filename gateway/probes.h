/* SPDX-License-Identifier: Apache-2.0
 *
 * Brings back the nodes that a failed connection took out: each `proxy.probe_interval` it tries to connect to those of
 * the rules in force, and clears `refused` where that works. Owned by the control thread.
 */
#ifndef GATEWAY_PROBES_H
#define GATEWAY_PROBES_H

#include <systemd/sd-event.h>

#include "gateway/config.h"
#include "gateway/control_stats.h"
#include "gateway/view.h"

struct probes;

/* CONFIG and STATS are borrowed for its life. */
struct probes *probes_create(sd_event *loop, const struct gateway_config *config, struct control_stats *stats);
void probes_destroy(struct probes **probes);

/* Takes a reference of its own. */
void probes_adopt(struct probes *probes, struct view *view);

#endif
