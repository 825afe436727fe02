/* SPDX-License-Identifier: Apache-2.0
 *
 * Agents: each guards the brokers on its host (orders them about by its copy of the record), keeps the in-sync set of
 * the units whose primary it guards, and tells the gateways what it sees. As unit-agent/ does, in small.
 */
#include <string.h>

#include "test/sim/sim.h"

#define PERIOD_US  10000
#define PATIENT_US 30000 /* a broker that has not answered for so long is unwell */
#define SHRINK_US  50000
#define CAS_US     60000

static void plan(struct world *world, uint8_t host, uint64_t in_us)
{
    sim_plan(world, in_us, SIM_AGENT, place_of_host(host), place_of_host(host))->run = world->agents[host].run;
}

void agent_start(struct world *world, uint8_t host)
{
    struct agent *agent = &world->agents[host];
    struct agent before = *agent;
    memset(agent, 0, sizeof(*agent));
    agent->run = before.run + 1;
    memcpy(agent->disk, before.disk, sizeof(agent->disk));
    memcpy(agent->records, before.disk, sizeof(agent->records));
    agent->up = true;
    plan(world, host, sim_chance(world, PERIOD_US));
}

static bool guards(const struct world *world, uint8_t host, uint8_t unit, uint8_t index)
{
    return host_of(world, unit, index) == host && (index == 0 || world->units[unit].standby != NONE);
}

/* --- the warden --------------------------------------------------------------------------------------------------- */

static void warden(struct world *world, struct agent *agent, uint8_t unit, uint8_t index)
{
    const struct sim_record *record = &agent->records[unit];
    struct broker *broker = &world->units[unit].brokers[index];
    bool same_run = broker->run == record->runs[index];
    if (record->epoch == 0 || !broker->up || broker->frozen_us > world->now_us)
        return;
    if (record->primary != index) {
        bool fresh = record->epoch >= broker->epoch || world->mutant == MUTANT_STALE_DEMOTE;
        if (fresh && (broker->primary || broker->source != record->primary))
            broker_follow(world, unit, index, record->primary);
    } else if (record->epoch > broker->epoch) {
        if (!broker->primary && (same_run || world->mutant == MUTANT_WARDEN_RUN))
            broker_promote(world, unit, index, record->epoch);
        else if (broker->primary && same_run)
            broker_stamp(world, unit, index, record->epoch);
    }
}

/* --- the keeper --------------------------------------------------------------------------------------------------- */

static void put(struct world *world, uint8_t host, uint8_t unit, const struct sim_record *record)
{
    struct sim_event *event = sim_send(world, SIM_CAS, place_of_host(host), PLACE_STORE);
    world->agents[host].asked_us[unit] = world->now_us;
    if (event == NULL)
        return;
    event->unit = unit;
    event->cas.record = *record;
    event->cas.record.by = NONE;
    event->cas.from_epoch = record->epoch;
}

static bool holds_all(const struct broker *replica, const struct broker *primary)
{
    for (unsigned i = 0; i < WORDS; i++)
        if ((primary->data[i] & ~replica->data[i]) != 0)
            return false;
    return true;
}

static void expand(struct world *world, uint8_t host, uint8_t unit, uint8_t index)
{
    struct agent *agent = &world->agents[host];
    struct sim_record record = agent->records[unit];
    uint8_t other = (uint8_t)(1 - index);
    struct broker *primary = &world->units[unit].brokers[index], *replica = &world->units[unit].brokers[other];
    bool keeps_up = replica->linked && replica->source == index && world->now_us - primary->acked_us[other] < 20000;
    bool stamped = primary->epoch > record.epoch || world->mutant == MUTANT_PRE_STAMP;
    if (!keeps_up) {
        if (primary->epoch > record.epoch && world->now_us - agent->stamped_us[unit] > 100000)
            put(world, host, unit, &record); /* open again for those who write alone, at an epoch of its own */
    } else if (!stamped) {
        broker_stamp(world, unit, index, record.epoch + 1);
        agent->stamped_us[unit] = world->now_us;
    } else if (holds_all(replica, primary)) {
        record.in_sync = 3;
        record.runs[other] = replica->run;
        put(world, host, unit, &record);
    }
}

static void keep(struct world *world, uint8_t host, uint8_t unit, uint8_t index)
{
    struct agent *agent = &world->agents[host];
    struct sim_record record = agent->records[unit];
    struct broker *primary = &world->units[unit].brokers[index];
    if (record.epoch == 0 || record.primary != index || primary->run != record.runs[index] || !primary->up ||
        !primary->primary || primary->frozen_us > world->now_us || world->units[unit].standby == NONE ||
        primary->epoch < record.epoch || (agent->asked_us[unit] != 0 && world->now_us - agent->asked_us[unit] < CAS_US))
        return;
    if (record.in_sync != 3) {
        expand(world, host, unit, index);
    } else if (primary->epoch == record.epoch && world->now_us - primary->acked_us[1 - index] > SHRINK_US) {
        record.in_sync = (uint8_t)(1 << index);
        put(world, host, unit, &record);
    }
}

/* --- probes and pulses -------------------------------------------------------------------------------------------- */

static void probe(struct world *world, uint8_t host, uint8_t unit, uint8_t index)
{
    struct sim_event *event = sim_send(world, SIM_PROBE, place_of_host(host), place_of_broker(world, unit, index));
    if (event == NULL)
        return;
    event->unit = unit;
    event->broker = index;
}

static uint64_t age_us(const struct world *world, uint64_t at_us)
{
    return at_us == 0 ? UINT64_MAX : world->now_us - at_us;
}

static struct sim_seen look_at(const struct world *world, uint8_t host, uint8_t unit, uint8_t index)
{
    const struct agent *agent = &world->agents[host];
    const struct broker *broker = &world->units[unit].brokers[index];
    uint8_t primary = agent->records[unit].primary;
    struct sim_seen seen = {.run = broker->up ? broker->run : 0,
                            .epoch = broker->epoch,
                            .offset = broker->offset,
                            .age_us = age_us(world, agent->answered_us[unit][index]),
                            .primary = broker->primary,
                            .gone = !broker->up,
                            .told = true};
    seen.healthy = broker->up && world->now_us >= broker->well_us && seen.age_us < PATIENT_US;
    seen.sees_primary = index != primary && age_us(world, agent->sees_us[unit]) < PATIENT_US;
    return seen;
}

static void pulse(struct world *world, uint8_t host)
{
    for (uint8_t i = 0; i < world->gateway_count; i++) {
        struct sim_event *event = sim_cast(world, SIM_PULSE, place_of_host(host), place_of_gateway(i));
        if (event == NULL)
            continue;
        for (uint8_t unit = 0; unit < world->unit_count; unit++)
            for (uint8_t index = 0; index < MEMBERS; index++)
                if (guards(world, host, unit, index) && world->now_us >= world->agents[host].doubts_us)
                    event->pulse.seen[unit][index] = look_at(world, host, unit, index);
    }
}

/* An agent that was late, or has only begun, has nothing to say of brokers until its probes had time. */
static void note_lag(struct world *world, struct agent *agent)
{
    if (world->now_us - agent->worked_us > 2 * PERIOD_US)
        agent->doubts_us = world->now_us + 2 * PERIOD_US;
    agent->worked_us = world->now_us;
}

static void work(struct world *world, uint8_t host)
{
    note_lag(world, &world->agents[host]);
    for (uint8_t unit = 0; unit < world->unit_count; unit++)
        for (uint8_t index = 0; index < MEMBERS; index++) {
            if (!guards(world, host, unit, index))
                continue;
            probe(world, host, unit, index);
            if (world->agents[host].records[unit].primary != index)
                probe(world, host, unit, world->agents[host].records[unit].primary);
            warden(world, &world->agents[host], unit, index);
            keep(world, host, unit, index);
        }
    pulse(world, host);
    if (sim_happens(world, 200000)) {
        struct sim_event *event = sim_send(world, SIM_READ, place_of_host(host), PLACE_STORE);
        if (event != NULL)
            event->unit = (uint8_t)sim_chance(world, world->unit_count);
    }
    plan(world, host, PERIOD_US);
}

static void take_record(struct world *world, uint8_t host, uint8_t unit, const struct sim_record *record)
{
    struct agent *agent = &world->agents[host];
    if (record->epoch <= agent->records[unit].epoch || world->now_us < agent->deaf_us)
        return;
    agent->disk[unit] = sim_happens(world, 500000) ? *record : agent->records[unit];
    agent->records[unit] = *record;
    agent->asked_us[unit] = 0;
    agent->sees_us[unit] = 0;
    for (uint8_t index = 0; index < MEMBERS; index++)
        if (guards(world, host, unit, index))
            warden(world, agent, unit, index);
}

static void take_answer(struct world *world, struct agent *agent, const struct sim_event *event)
{
    const struct sim_record *record = &agent->records[event->unit];
    agent->answered_us[event->unit][event->broker] = world->now_us;
    if (event->broker != record->primary || event->write.run != record->runs[record->primary] || event->write.need == 0)
        return;
    if (world->now_us - agent->sees_us[event->unit] >= PATIENT_US)
        agent->steady_us[event->unit] = world->now_us;
    agent->sees_us[event->unit] = world->now_us;
}

void agent_event(struct world *world, const struct sim_event *event)
{
    uint8_t host = (uint8_t)(event->to - GATEWAYS_MOST);
    struct agent *agent = &world->agents[host];
    if (!agent->up)
        return;
    switch (event->kind) {
    case SIM_AGENT:
        if (event->run == agent->run)
            work(world, host);
        break;
    case SIM_PROBED:
        take_answer(world, agent, event);
        break;
    case SIM_PUSH:
    case SIM_READ_DONE:
        take_record(world, host, event->unit, &event->record);
        break;
    case SIM_CAS_DONE:
        take_record(world, host, event->unit, &event->cas.record);
        break;
    default:
        break;
    }
}
