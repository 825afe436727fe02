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

static struct core_unit_facts scene_units[] = {
    {.id = UNIT, .datacenter = HOME, .standby = STANDBY, .brokers = {P, S}, .broker_count = 2},
    {.id = OTHER, .datacenter = HOME, .standby = STANDBY, .brokers = {OTHER_P, OTHER_S}, .broker_count = 2},
    {.id = STANDBY, .datacenter = AWAY, .brokers = {X}, .broker_count = 1},
    {.id = FOURTH, .datacenter = AWAY, .brokers = {Y}, .broker_count = 1},
};

static struct scene {
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
} scene;

static inline void scene_step(struct core_event event)
{
    event.now_us = scene.now_us;
    core_step(&scene.core, &event, &scene.actions);
    for (unsigned i = 0; i < scene.actions.count; i++) {
        enum core_action_kind kind = scene.actions.items[i].kind;
        scene.counts[kind]++;
        scene.last[kind] = scene.actions.items[i];
    }
}

static inline void scene_configure(void)
{
    struct core_config config = {scene.policy, GW2, scene.gateways, scene.gateway_count, scene_units, 4};
    scene_step((struct core_event){.kind = CORE_CONFIG, .config = &config});
}

static inline struct core_record scene_record(uint64_t unit)
{
    uint64_t primary = unit == UNIT ? P : OTHER_P;
    return (struct core_record){.unit = unit,
                                .epoch = EPOCH,
                                .primary = primary,
                                .members = {{primary, RUN + primary}, {primary + 1, RUN + primary + 1}},
                                .member_count = 2,
                                .moved_ago_us = UINT64_MAX};
}

static inline void scene_put(struct core_record record)
{
    scene_step((struct core_event){.kind = CORE_RECORD, .record = record});
}

static inline void scene_line(uint64_t broker, enum core_line_kind kind)
{
    scene_step((struct core_event){.kind = CORE_LINE, .line = {broker < OTHER_P ? UNIT : OTHER, broker, kind}});
}

static inline void scene_tell(void)
{
    for (unsigned i = 0; i < BROKERS; i++)
        if (scene.seen[i].unit != 0)
            scene_step((struct core_event){.kind = CORE_BROKER, .broker = scene.seen[i]});
    for (unsigned i = 0; i <= FOURTH; i++)
        if (scene.agents[i])
            scene_step((struct core_event){.kind = CORE_AGENT, .agent = {i, true}});
    for (unsigned i = 0; i < 2; i++)
        if (scene.votes[i].gateway != 0)
            scene_step((struct core_event){.kind = CORE_PEER, .peer = scene.votes[i]});
}

static inline void scene_pass_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms / 10; i++) {
        scene.now_us += CORE_TICK_US;
        scene_step((struct core_event){.kind = CORE_TICK});
        scene_tell();
    }
}

/* Nobody hears of the unit's primary or of its agent any more, and its replica's agent neither. */
static inline void scene_silence(uint64_t unit)
{
    uint64_t primary = unit == UNIT ? P : OTHER_P;
    scene.seen[primary].unit = 0;
    scene.seen[primary + 1].sees_primary = false;
    scene.agents[unit] = false;
}

static inline void scene_vote(unsigned index, uint64_t gateway, uint64_t unit, enum core_reason reason)
{
    scene.votes[index] =
        (struct core_vote){.gateway = gateway, .unit = unit, .epoch = EPOCH, .reasons = {[CORE_PRIMARY] = reason}};
}

static inline const struct core_unit *scene_unit(uint64_t unit)
{
    return core_find_unit(&scene.core, unit);
}

static inline void scene_forget_actions(void)
{
    memset(scene.counts, 0, sizeof(scene.counts));
}

/* All is well, and has been for a while. */
static inline int scene_begin(void **state)
{
    static const uint64_t units[BROKERS] = {
        [P] = UNIT, [S] = UNIT, [OTHER_P] = OTHER, [OTHER_S] = OTHER, [X] = STANDBY, [Y] = FOURTH};
    (void)state;
    memset(&scene, 0, sizeof(scene));
    scene.now_us = 1000000;
    scene.policy = (struct table_failover){true, 40, 600000, 60000, 3000, 1, 34};
    scene.gateway_count = 3;
    memcpy(scene.gateways, (struct core_gateway[]){{GW1, HOME}, {GW2, AWAY}, {GW3, HOME}}, sizeof(scene.gateways));
    for (unsigned i = P; i < BROKERS; i++)
        scene.seen[i] = (struct core_broker_seen){.unit = units[i],
                                                  .broker = i,
                                                  .run_id = RUN + i,
                                                  .epoch = i < X ? EPOCH : 0,
                                                  .healthy = true,
                                                  .primary = i != S && i != OTHER_S,
                                                  .sees_primary = i == S || i == OTHER_S};
    for (unsigned i = UNIT; i <= FOURTH; i++)
        scene.agents[i] = true;
    scene_configure();
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = true});
    scene_put(scene_record(UNIT));
    scene_put(scene_record(OTHER));
    scene_pass_ms(1000);
    scene_forget_actions();
    return 0;
}

#endif
