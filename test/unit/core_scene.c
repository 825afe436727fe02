/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/core_scene.h"

#include "router/core_evidence.h"

struct core_unit_facts scene_units[] = {
    {.id = UNIT, .datacenter = HOME, .standby = STANDBY, .brokers = {P, S}, .broker_count = 2},
    {.id = OTHER, .datacenter = HOME, .standby = STANDBY, .brokers = {OTHER_P, OTHER_S}, .broker_count = 2},
    {.id = STANDBY, .datacenter = AWAY, .brokers = {X}, .broker_count = 1},
    {.id = FOURTH, .datacenter = AWAY, .brokers = {Y}, .broker_count = 1},
};

struct scene scene;

void scene_step(struct core_event event)
{
    event.now_us = scene.now_us;
    core_step(&scene.core, &event, &scene.actions);
    for (unsigned i = 0; i < scene.actions.count; i++) {
        enum core_action_kind kind = scene.actions.items[i].kind;
        scene.counts[kind]++;
        scene.last[kind] = scene.actions.items[i];
    }
}

void scene_configure(void)
{
    struct core_config config = {scene.policy, GW2, scene.gateways, scene.gateway_count, scene_units, 4};
    scene_step((struct core_event){.kind = CORE_CONFIG, .config = &config});
}

struct core_record scene_record(uint64_t unit)
{
    uint64_t primary = unit == UNIT ? P : OTHER_P;
    return (struct core_record){.unit = unit,
                                .epoch = EPOCH,
                                .primary = primary,
                                .members = {{primary, RUN + primary}, {primary + 1, RUN + primary + 1}},
                                .member_count = 2,
                                .moved_ago_us = UINT64_MAX};
}

void scene_put(struct core_record record)
{
    scene_step((struct core_event){.kind = CORE_RECORD, .record = record});
}

void scene_line(uint64_t broker, enum core_line_kind kind)
{
    scene_step((struct core_event){.kind = CORE_LINE, .line = {broker < OTHER_P ? UNIT : OTHER, broker, kind}});
}

void scene_tell(void)
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

/* As the first worker does, where nobody answers it. */
static void miss_answers(void)
{
    for (uint64_t unit = UNIT; unit <= OTHER; unit++)
        if (core_is_unheard(&scene.core, scene_unit(unit)))
            scene_line(core_primary(scene_unit(unit))->id, CORE_LINE_MISSED);
}

void scene_pass_ms(unsigned ms)
{
    for (unsigned i = 0; i < ms / 10; i++) {
        scene.now_us += CORE_TICK_US;
        if (!scene.deaf)
            miss_answers();
        scene_step((struct core_event){.kind = CORE_TICK});
        scene_tell();
    }
}

void scene_silence(uint64_t unit)
{
    uint64_t primary = unit == UNIT ? P : OTHER_P;
    scene.seen[primary].unit = 0;
    scene.seen[primary + 1].sees_primary = false;
    scene.agents[unit] = false;
}

void scene_vote(unsigned index, uint64_t gateway, uint64_t unit, enum core_reason reason)
{
    scene.votes[index] =
        (struct core_vote){.gateway = gateway, .unit = unit, .epoch = EPOCH, .reasons = {[CORE_PRIMARY] = reason}};
}

const struct core_unit *scene_unit(uint64_t unit)
{
    return core_find_unit(&scene.core, unit);
}

void scene_forget_actions(void)
{
    memset(scene.counts, 0, sizeof(scene.counts));
}

int scene_begin(void **state)
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
    scene_pass_ms(4000);
    scene_forget_actions();
    return 0;
}
