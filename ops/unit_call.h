/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks units, each through any one of its agents, for what concerns the unit's broker; where they are gone, through one
 * of its standby.
 */
#ifndef OPS_UNIT_CALL_H
#define OPS_UNIT_CALL_H

#include "ops/fleet.h"

/* Who answers for UNIT, as something that can be asked one after the other. Borrows the fleet and the deployment: it is
 * not freed. */
struct deployment unit_agents(const struct fleet *fleet, const struct deployment *deployment, const char *unit);

/* The names of the units that somebody answers for, or of WANTED alone (NULL: all). A new reference. */
json_t *unit_names(const struct fleet *fleet, const char *wanted);

/* One exchange with each unit that has an agent, or with UNIT alone (NULL: all). TARGET is path and query. Each
 * answer's `items` are appended to ITEMS with their unit; returns CTL_DONE, or the code of the first fault, which was
 * printed. */
enum ctl_exit unit_call(const struct ctl *ctl, const char *unit, const char *method, const char *target, json_t *items);

/* The same; the items are shown by SHOW, or as JSON where that was asked for. TARGET is freed. */
enum ctl_exit unit_call_show(const struct ctl *ctl, const char *unit, const char *method, struct buf *target,
                             void (*show)(const json_t *items));

#endif
