/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that stand between a suspicion and a failover, each a row of one table: the first that objects is the
 * answer, and what operators are shown. Part of the core.
 */
#ifndef ROUTER_CORE_RULES_H
#define ROUTER_CORE_RULES_H

#include "router/core.h"

/* What keeps this gateway from voting against UNIT; CORE_MAY_MOVE: nothing, it votes. */
enum core_refusal core_objection_to_vote(const struct core *core, const struct core_unit *unit,
                                         enum core_matter matter);

/* What keeps it from proposing, its vote being cast. */
enum core_refusal core_objection(const struct core *core, const struct core_unit *unit, enum core_matter matter);

/* The broker that would take over: in sync, and well if there is such a one. NULL where none is in sync. */
const struct core_broker *core_standby(const struct core *core, const struct core_unit *unit);

/* Whether the unit that stands by for UNIT can carry the load of both, as far as the rules declare what it can. */
bool core_has_room(const struct core *core, const struct core_unit *unit);

/* As many units as may be were moved, and UNIT would be one more. */
bool core_is_spent(const struct core *core, const struct core_unit *unit);

#endif
