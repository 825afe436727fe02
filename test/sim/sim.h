/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of a simulated deployment do with events, and what is checked of them.
 */
#ifndef SIM_H
#define SIM_H

#include "test/sim/world.h"

/* broker.c */
void broker_start(struct world *world, uint8_t unit, uint8_t index);
void broker_crash(struct world *world, uint8_t unit, uint8_t index);
void broker_event(struct world *world, const struct sim_event *event);
void broker_follow(struct world *world, uint8_t unit, uint8_t index, uint8_t source);
void broker_promote(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch);
void broker_stamp(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch);
void broker_break_links(struct world *world, uint8_t unit);

/* agent.c */
void agent_start(struct world *world, uint8_t unit);
void agent_event(struct world *world, const struct sim_event *event);

/* gateway.c */
void gateway_start(struct world *world, uint8_t gateway);
void gateway_event(struct world *world, const struct sim_event *event);

/* store.c */
void store_event(struct world *world, const struct sim_event *event);

/* fault.c */
void fault_plan(struct world *world);
void fault_event(struct world *world, const struct sim_event *event);

/* check.c */
void check_unit(struct world *world, uint8_t unit);
void check_write(struct world *world, uint8_t unit, uint8_t broker, uint64_t epoch);
void check_proposal(struct world *world, uint8_t gateway, const struct core_proposal *proposal);
void check_record(struct world *world, uint8_t unit, const struct sim_record *before, const struct sim_record *after);
void check_end(struct world *world);

#endif
