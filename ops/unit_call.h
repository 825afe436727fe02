/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks units, each through any one of its agents, for what concerns the unit's broker.
 */
#ifndef OPS_UNIT_CALL_H
#define OPS_UNIT_CALL_H

#include "ops/fleet.h"

/* One exchange with each unit that has an agent, or with UNIT alone (NULL: all). TARGET is path and query. Each
 * answer's `items` are appended to ITEMS with their unit; returns CTL_DONE, or the code of the first fault, which was
 * printed. */
enum ctl_exit unit_call(const struct ctl *ctl, const char *unit, const char *method, const char *target, json_t *items);

#endif
