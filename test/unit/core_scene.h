/* SPDX-License-Identifier: Apache-2.0
 *
 * One gateway's core among three, and what it is told again and again: two units that can fail over, one that stands by
 * for both, one more. Tests change what is told, let time pass, and look at what the core wants.
 */
#ifndef TEST_UNIT_CORE_SCENE_H
#define TEST_UNIT_CORE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "router/core.h"

enum { HOME = 1, AWAY };                             /* datacentres */
enum { UNIT = 10, OTHER, STANDBY, FOURTH };          /* units */
enum { GW1 = 20, GW2, GW3 };                         /* gateways; GW2 is this one */
enum { P = 30, S, OTHER_P, OTHER_S, X, Y, BROKERS }; /* brokers: primary and replica of each unit that has both */
enum { RUN = 50, ANOTHER_RUN = 99 };                 /* the run of broker B is RUN + B */

#define EPOCH 5

extern struct core_unit_facts scene_units[4];

extern struct scene {
    struct core core;
    struct core_actions actions;
    unsigned counts[CORE_CALM + 1];
    struct core_action last[CORE_CALM + 1]; /* of each kind */
    uint64_t now_us;
    struct table_failover policy;
    struct core_gateway gateways[3];
    unsigned gateway_count;
    struct core_broker_seen seen[BROKERS]; /* told each tick; unit 0: not */
    bool agents[FOURTH + 1];               /* told each tick */
    struct core_vote votes[2];             /* told each tick; gateway 0: not */
    bool deaf;                             /* its workers do not run: no answer is missed */
} scene;

void scene_step(struct core_event event);
void scene_configure(void);
struct core_record scene_record(uint64_t unit);
void scene_put(struct core_record record);
void scene_line(uint64_t broker, enum core_line_kind kind);
void scene_tell(void);
void scene_pass_ms(unsigned ms);
/* Nobody hears of the unit's primary or of its agent any more, and its replica's agent neither. */
void scene_silence(uint64_t unit);
void scene_vote(unsigned index, uint64_t gateway, uint64_t unit, enum core_reason reason);
const struct core_unit *scene_unit(uint64_t unit);
void scene_forget_actions(void);
/* All is well, and has been for a while. */
int scene_begin(void **state);

#endif
