/* SPDX-License-Identifier: Apache-2.0
 *
 * A planned switch, as one gateway sees it through: the record holds the unit and names a target -> the primary is
 * heard to be stamped with that record, so that nobody who does not hold can write -> the target is heard to hold all
 * that the primary held then -> it is proposed to lead. Nobody runs it: every gateway looks, and the store takes one
 * proposal. What does not come about in CORE_HOLD_US is given up. Part of the core.
 */
#ifndef ROUTER_CORE_PLAN_H
#define ROUTER_CORE_PLAN_H

#include "router/core.h"

/* UNIT has got its record; BEFORE is the one before. */
void core_plan_record(const struct core *core, struct core_unit *unit, const struct core_record *before);

/* A pulse told of a broker of UNIT. */
void core_plan_hear(struct core_unit *unit, const struct core_broker_seen *seen);

/* Whether it is time for a proposal, which is filled in then: all but its epoch. */
bool core_plan_propose(const struct core *core, const struct core_unit *unit, struct core_proposal *proposal);

#endif
