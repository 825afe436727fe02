/* SPDX-License-Identifier: Apache-2.0
 *
 * How a run begins, and all that goes wrong in it: drawn from the seed. After a while everything is mended, and stays
 * so.
 */
#include <string.h>

#include "test/sim/sim.h"

#define BEGIN_US 600000  /* quiet, for all to learn of each other */
#define QUIET_US 2500000 /* in the end, for all to come right */

enum fault {
    FAULT_BROKER_CRASH = 0,
    FAULT_BROKER_FREEZE,
    FAULT_HOST_CRASH,
    FAULT_HOST_FREEZE,
    FAULT_CUT,
    FAULT_SITE_CUT,
    FAULT_PAIR_CUT, /* between a unit's two brokers */
    FAULT_STANDBY_SICK,
    FAULT_PRIMARY_FREEZE,
    FAULT_GUARD_FREEZE, /* the agent of the primary's host */
    FAULT_GUARD_CRASH,  /* that of the standby's */
    FAULT_ROGUE,
    FAULT_GUARD_DEAF,  /* that of the primary's */
    FAULT_WORK,        /* an operator moves the unit by plan */
    FAULT_AGENT_CRASH, /* from here on: mere noise, that no broker is touched by */
    FAULT_AGENT_FREEZE,
    FAULT_GATEWAY_FREEZE,
    FAULT_GATEWAY_CRASH,
    FAULT_ALL_FREEZE,
    FAULT_GATEWAY_CUT,
    FAULT_STORE,
    FAULT_GATEWAY_DEAF,
    FAULTS,
};

static uint64_t pick(struct world *world, const uint64_t *choices, uint64_t count)
{
    return choices[sim_chance(world, count)];
}

#define PICK(world, ...)                                                                                               \
    pick(world, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* --- the beginning ------------------------------------------------------------------------------------------------ */

static void lay_out(struct world *world)
{
    uint8_t sites = (uint8_t)PICK(world, 2, 2, 3);
    world->gateway_count = (uint8_t)PICK(world, 1, 2, 3, 3, 3, 3, 4, 5);
    world->unit_count = (uint8_t)PICK(world, 2, 3, 3, 4, 5);
    world->store_site = (uint8_t)sim_chance(world, sites);
    for (uint8_t i = 0; i < world->gateway_count; i++) {
        struct gateway *gateway = &world->gateways[i];
        gateway->site = i % sites;
        gateway->clock_us = 1 + sim_chance(world, UINT64_C(1) << 40);
        gateway->drift_ppm = sim_chance(world, 300);
    }
    for (uint8_t i = 0; i < GATEWAYS_MOST; i++) /* they are left over from the run before */
        world->gateways[i].up = false;
    for (uint8_t i = 0; i < world->unit_count; i++)
        world->units[i].site = i % sites;
    for (uint8_t i = 0; i < world->unit_count; i++) {
        struct unit *unit = &world->units[i];
        uint8_t other = (uint8_t)((i + 1) % world->unit_count);
        bool fits = world->units[other].site != unit->site || sim_happens(world, 200000);
        unit->standby = fits && !sim_happens(world, 100000) ? other : NONE;
        unit->load = 10;
        unit->capacity = (double)PICK(world, 0, 0, 0, 0, 0, 0, 15, 30);
    }
}

static void choose_policy(struct world *world)
{
    world->policy = (struct table_failover){.automatic = !sim_happens(world, 50000),
                                            .gap_ms = 40,
                                            .cooldown_ms = (int64_t)PICK(world, 300, 1000, 600000),
                                            .window_ms = (int64_t)PICK(world, 100, 300, 60000),
                                            .clean_ms = (int64_t)PICK(world, 0, 200, 1000),
                                            .max_units = (uint32_t)PICK(world, 1, 1, 2),
                                            .max_share = (uint32_t)PICK(world, 34, 34, 100)};
    world->delay_us = (uint32_t)PICK(world, 100, 500, 2000);
    world->jitter_us = (uint32_t)PICK(world, 200, 2000, 10000);
    world->loss_ppm = (uint32_t)PICK(world, 0, 1000, 10000, 20000);
    world->lost_reply_ppm = PICK(world, 0, 50000, 300000);
}

static void start_unit(struct world *world, uint8_t index)
{
    struct unit *unit = &world->units[index];
    struct sim_record *record = &world->store[index];
    for (uint8_t i = 0; i < REPLICAS; i++)
        unit->brokers[i].source = NONE;
    *record = (struct sim_record){.epoch = ++world->epoch, .in_sync = 1, .consumer = index, .by = NONE};
    broker_start(world, index, 0);
    record->runs[0] = unit->brokers[0].run;
    unit->brokers[0].primary = true;
    unit->brokers[0].epoch = record->epoch;
    if (unit->standby == NONE)
        return;
    broker_start(world, index, 1);
    record->runs[1] = unit->brokers[1].run;
    record->in_sync = 3;
    unit->brokers[1].source = 0;
    unit->brokers[1].linked = true;
    unit->brokers[1].epoch = record->epoch;
    unit->brokers[0].acked_us[1] = world->now_us;
}

static void tell_records(struct world *world)
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++)
        for (uint8_t place = 0; place < PLACE_STORE; place++) {
            struct sim_event *event = sim_plan(world, 1000, SIM_PUSH, PLACE_STORE, place);
            event->unit = unit;
            event->record = world->store[unit];
        }
}

/* Faults that mean something together only, and that chance alone would seldom join: each against one unit, at some
 * time behind the first. */
static const struct step {
    uint8_t scenario, fault;
    uint32_t at_us, spread_us, span_us;
} steps[] = {
    /* a stray replica acknowledges what the standby lacks */
    {0, FAULT_ROGUE, 0, 0, 1000000},
    {0, FAULT_PAIR_CUT, 50000, 60000, 500000},
    {0, FAULT_BROKER_CRASH, 60000, 80000, 500000},
    /* the set grows, and the primary does not hear of it for a while */
    {1, FAULT_PAIR_CUT, 0, 0, 120000},
    {1, FAULT_GUARD_FREEZE, 125000, 60000, 400000},
    {1, FAULT_PAIR_CUT, 130000, 80000, 500000},
    {1, FAULT_BROKER_CRASH, 140000, 100000, 500000},
    /* the standby's disk is full, and it stays in sync */
    {2, FAULT_STANDBY_SICK, 0, 0, 600000},
    {2, FAULT_PRIMARY_FREEZE, 80000, 200000, 500000},
    /* an agent comes back with what it knew before a failover */
    {3, FAULT_BROKER_CRASH, 0, 0, 400000},
    {3, FAULT_GUARD_CRASH, 60000, 200000, 20000},
    /* a unit's agent is gone for good; its broker is not */
    {4, FAULT_AGENT_CRASH, 0, 0, 9000000},
    /* a planned switch of which neither the primary's agent nor some gateway hears */
    {5, FAULT_GUARD_DEAF, 0, 0, 300000},
    {5, FAULT_GATEWAY_DEAF, 0, 0, 300000},
    {5, FAULT_WORK, 1000, 30000, 0},
    /* a planned switch while the target is behind */
    {6, FAULT_BROKER_FREEZE, 0, 0, 40000},
    {6, FAULT_WORK, 1000, 15000, 0},
};

#define LONG_AFFAIR 4 /* the one that takes seconds */

static void plan_scenario(struct world *world, uint8_t scenario, uint8_t unit)
{
    uint64_t room_us = world->chaos_us - BEGIN_US, begin_us = BEGIN_US;
    if (scenario == LONG_AFFAIR)
        world->chaos_us += 4000000;
    else
        begin_us += sim_chance(world, room_us);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        if (steps[i].scenario != scenario)
            continue;
        uint64_t at_us = begin_us + steps[i].at_us + sim_chance(world, steps[i].spread_us + 1);
        struct sim_event *event = sim_plan(world, at_us, SIM_FAULT, 0, PLACE_STORE);
        event->broker = steps[i].fault;
        event->unit = unit;
        event->write.need = true; /* this unit, and no other */
        event->write.epoch = steps[i].span_us;
    }
}

static void plan_faults(struct world *world)
{
    static const uint64_t spans_us[] = {30000, 80000, 80000, 200000, 500000, 500000, 5000000};
    unsigned first = world->noise_only ? FAULT_AGENT_CRASH : 0;
    unsigned count = 1 + (unsigned)sim_chance(world, 7);
    world->end_us = world->now_us + world->chaos_us + QUIET_US;
    for (unsigned i = 0; i < count; i++) {
        struct sim_event *event =
            sim_plan(world, BEGIN_US + sim_chance(world, world->chaos_us - BEGIN_US), SIM_FAULT, 0, PLACE_STORE);
        event->broker = (uint8_t)(first + sim_chance(world, FAULTS - first));
        event->write.epoch = pick(world, spans_us, sizeof(spans_us) / sizeof(*spans_us));
    }
    sim_plan(world, world->chaos_us, SIM_HEAL, 0, PLACE_STORE);
}

/* Most of them to one unit, so that it goes there and back. */
static void plan_work(struct world *world)
{
    unsigned count = (unsigned)PICK(world, 0, 1, 2, 4);
    uint8_t unit = (uint8_t)sim_chance(world, world->unit_count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t gateway = (uint8_t)sim_chance(world, world->gateway_count);
        struct sim_event *event =
            sim_plan(world, BEGIN_US + sim_chance(world, world->chaos_us - BEGIN_US), SIM_OPERATOR, gateway, gateway);
        event->unit = sim_happens(world, 200000) ? (uint8_t)sim_chance(world, world->unit_count) : unit;
    }
}

void fault_plan(struct world *world)
{
    lay_out(world);
    choose_policy(world);
    world->noise_only = sim_happens(world, 250000);
    world->chaos_us = BEGIN_US + 200000 + sim_chance(world, 1500000);
    for (uint8_t i = 0; i < world->unit_count; i++)
        start_unit(world, i);
    uint8_t unit = (uint8_t)sim_chance(world, world->unit_count);
    uint8_t scenario = (uint8_t)PICK(world, 0, 1, 2, 3, 0, 1, 2, 3, 5, 6, LONG_AFFAIR);
    bool staged = !world->noise_only && sim_happens(world, 400000);
    if (sim_happens(world, staged && scenario == LONG_AFFAIR ? 500000 : 100000)) /* its record was never written */
        world->store[unit] = (struct sim_record){.consumer = unit, .by = NONE};
    for (uint8_t i = 0; i < world->unit_count; i++)
        agent_start(world, i);
    for (uint8_t i = 0; i < world->gateway_count; i++)
        gateway_start(world, i);
    tell_records(world);
    if (staged)
        plan_scenario(world, scenario, unit);
    plan_faults(world);
    plan_work(world);
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static struct sim_event *mend_later(struct world *world, const struct sim_event *fault, enum sim_kind kind)
{
    uint64_t left_us = world->end_us - QUIET_US - world->now_us;
    uint64_t in_us = fault->write.epoch < left_us ? fault->write.epoch : left_us;
    struct sim_event *event = sim_plan(world, in_us, kind, 0, PLACE_STORE);
    event->broker = fault->broker;
    return event;
}

static uint64_t thaw_us(const struct world *world, const struct sim_event *fault)
{
    uint64_t heal_us = world->end_us - QUIET_US, until_us = world->now_us + fault->write.epoch;
    return until_us < heal_us ? until_us : heal_us;
}

/* The fault model: memory may be lost only where another in-sync broker has the data. */
static bool may_crash(const struct world *world, uint8_t unit, uint8_t index)
{
    const struct sim_record *record = &world->store[unit];
    const struct broker *brokers = world->units[unit].brokers;
    if (!brokers[index].up)
        return false;
    if (index >= MEMBERS || (record->in_sync >> index & 1) == 0)
        return true;
    uint8_t other = (uint8_t)(1 - index);
    return record->in_sync == 3 && brokers[other].up && brokers[other].run == record->runs[other];
}

static void crash_broker(struct world *world, const struct sim_event *fault, uint8_t unit, uint8_t index)
{
    if (!may_crash(world, unit, index))
        return;
    broker_crash(world, unit, index);
    struct sim_event *event = mend_later(world, fault, SIM_RESTART);
    event->broker = index;
    event->unit = unit;
    event->to = PLACE_STORE;
    event->from = 1;
    if (sim_happens(world, 400000))
        return;
    struct sim_event *soon = sim_plan(world, 2000 + sim_chance(world, 30000), SIM_RESTART, 1, PLACE_STORE);
    soon->broker = index;
    soon->unit = unit;
}

static void freeze_broker(struct world *world, const struct sim_event *fault, uint8_t unit, uint8_t index)
{
    struct broker *broker = &world->units[unit].brokers[index];
    if (broker->up)
        broker->frozen_us = thaw_us(world, fault);
}

static void freeze_gateway(struct world *world, const struct sim_event *fault, uint8_t index)
{
    world->gateways[index].froze_us = world->now_us;
    world->gateways[index].frozen_us = thaw_us(world, fault);
}

static void crash_agent(struct world *world, const struct sim_event *fault, uint8_t host)
{
    world->agents[host].up = false;
    struct sim_event *event = mend_later(world, fault, SIM_RESTART);
    event->unit = host;
    event->from = 2;
}

static void crash_gateway(struct world *world, const struct sim_event *fault, uint8_t index)
{
    world->gateways[index].up = false;
    struct sim_event *event = mend_later(world, fault, SIM_RESTART);
    event->unit = index;
    event->from = 3;
}

static void each_on_host(struct world *world, const struct sim_event *fault, uint8_t host,
                         void (*hit)(struct world *world, const struct sim_event *fault, uint8_t unit, uint8_t index))
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++)
        for (uint8_t index = 0; index < MEMBERS; index++)
            if (host_of(world, unit, index) == host)
                hit(world, fault, unit, index);
}

static uint8_t site_of(const struct world *world, uint8_t place)
{
    if (place == PLACE_STORE)
        return world->store_site;
    return is_gateway(place) ? world->gateways[place].site : world->units[place - GATEWAYS_MOST].site;
}

static bool is_there(const struct world *world, uint8_t place)
{
    return place == PLACE_STORE ||
           (is_gateway(place) ? place < world->gateway_count : place - GATEWAYS_MOST < world->unit_count);
}

static uint8_t any_place(struct world *world)
{
    uint8_t place;
    do
        place = (uint8_t)sim_chance(world, PLACES_MOST);
    while (!is_there(world, place));
    return place;
}

/* Both directions, or one. */
static void cut(struct world *world, const struct sim_event *fault, uint8_t from, uint8_t to, bool both)
{
    sim_trace(world, "place %u is cut off from %u%s", from, to, both ? " both ways" : "");
    for (int way = 0; way <= both; way++) {
        uint8_t a = way == 0 ? from : to, b = way == 0 ? to : from;
        world->cut[a][b]++;
        struct sim_event *event = mend_later(world, fault, SIM_MEND);
        event->from = a;
        event->unit = b;
    }
}

static void cut_site(struct world *world, const struct sim_event *fault)
{
    uint8_t site = (uint8_t)sim_chance(world, SITES), other = (uint8_t)sim_chance(world, SITES);
    bool both = sim_happens(world, 500000);
    for (uint8_t a = 0; a < PLACES_MOST; a++)
        for (uint8_t b = 0; b < PLACES_MOST; b++)
            if (site != other && site_of(world, a) == site && site_of(world, b) == other && is_there(world, a) &&
                is_there(world, b))
                cut(world, fault, a, b, both);
}

static void cut_gateway(struct world *world, const struct sim_event *fault, uint8_t gateway)
{
    if (world->gateway_count < 3) /* then one of them is no minority */
        return;
    bool both = sim_happens(world, 500000);
    for (uint8_t place = 0; place < PLACES_MOST; place++)
        if (place != gateway && is_there(world, place))
            cut(world, fault, place, gateway, both);
}

static void attach_rogue(struct world *world, const struct sim_event *fault, uint8_t unit)
{
    struct broker *rogue = &world->units[unit].brokers[2];
    if (rogue->up || world->units[unit].standby == NONE)
        return;
    broker_start(world, unit, 2);
    broker_follow(world, unit, 2, world->store[unit].primary);
    struct sim_event *event = mend_later(world, fault, SIM_MEND);
    event->from = NONE;
    event->unit = unit;
}

static void sicken(struct world *world, const struct sim_event *fault, uint8_t unit, uint8_t index)
{
    struct broker *broker = &world->units[unit].brokers[index];
    broker->sick_us = world->now_us;
    broker->well_us = thaw_us(world, fault);
}

/* Whom a fault strikes, as far as it strikes such a one. */
struct target {
    uint8_t unit, gateway;
    uint8_t any, primary, standby; /* brokers of the unit */
};

static void crash_host(struct world *world, const struct sim_event *fault, uint8_t host)
{
    crash_agent(world, fault, host);
    each_on_host(world, fault, host, crash_broker);
}

static void freeze_agent(struct world *world, const struct sim_event *fault, uint8_t host)
{
    world->agents[host].frozen_us = thaw_us(world, fault);
}

static void freeze_host(struct world *world, const struct sim_event *fault, uint8_t host)
{
    freeze_agent(world, fault, host);
    each_on_host(world, fault, host, freeze_broker);
}

static void freeze_gateways(struct world *world, const struct sim_event *fault)
{
    for (uint8_t i = 0; i < world->gateway_count; i++)
        freeze_gateway(world, fault, i);
}

static void cut_any(struct world *world, const struct sim_event *fault)
{
    uint8_t from = any_place(world), to = any_place(world);
    if (from != to)
        cut(world, fault, from, to, sim_happens(world, 500000));
}

static void cut_pair(struct world *world, const struct sim_event *fault, uint8_t unit)
{
    if (world->units[unit].standby != NONE)
        cut(world, fault, place_of_broker(world, unit, 0), place_of_broker(world, unit, 1), true);
}

static void lose_store(struct world *world, const struct sim_event *fault)
{
    world->store_away = true;
    mend_later(world, fault, SIM_MEND);
}

static void strike(struct world *world, const struct sim_event *fault, const struct target *at)
{
    switch ((enum fault)fault->broker) {
    case FAULT_BROKER_CRASH:
        return crash_broker(world, fault, at->unit, at->primary);
    case FAULT_STANDBY_SICK:
        return sicken(world, fault, at->unit, at->standby);
    case FAULT_BROKER_FREEZE:
        return freeze_broker(world, fault, at->unit, at->any);
    case FAULT_PRIMARY_FREEZE:
        return freeze_broker(world, fault, at->unit, at->primary);
    case FAULT_HOST_CRASH:
        return crash_host(world, fault, at->unit);
    case FAULT_HOST_FREEZE:
        return freeze_host(world, fault, at->unit);
    case FAULT_GUARD_FREEZE:
        return freeze_agent(world, fault, host_of(world, at->unit, at->primary));
    case FAULT_GUARD_CRASH:
        return crash_agent(world, fault, host_of(world, at->unit, at->standby));
    case FAULT_CUT:
        return cut_any(world, fault);
    case FAULT_SITE_CUT:
        return cut_site(world, fault);
    case FAULT_PAIR_CUT:
        return cut_pair(world, fault, at->unit);
    case FAULT_ROGUE:
        return attach_rogue(world, fault, at->unit);
    case FAULT_AGENT_CRASH:
        return crash_agent(world, fault, at->unit);
    case FAULT_AGENT_FREEZE:
        return freeze_agent(world, fault, at->unit);
    case FAULT_GATEWAY_FREEZE:
        return freeze_gateway(world, fault, at->gateway);
    case FAULT_GATEWAY_CRASH:
        return crash_gateway(world, fault, at->gateway);
    case FAULT_ALL_FREEZE:
        return freeze_gateways(world, fault);
    case FAULT_GATEWAY_CUT:
        return cut_gateway(world, fault, at->gateway);
    case FAULT_STORE:
        return lose_store(world, fault);
    case FAULT_GUARD_DEAF:
        world->agents[host_of(world, at->unit, at->primary)].deaf_us = thaw_us(world, fault);
        return;
    case FAULT_GATEWAY_DEAF:
        world->gateways[at->gateway].deaf_us = thaw_us(world, fault);
        return;
    case FAULT_WORK:
        sim_plan(world, 0, SIM_OPERATOR, at->gateway, at->gateway)->unit = at->unit;
        return;
    case FAULTS:
        return;
    }
}

static void choose_and_strike(struct world *world, const struct sim_event *fault)
{
    struct target at = {.unit = (uint8_t)sim_chance(world, world->unit_count),
                        .gateway = (uint8_t)sim_chance(world, world->gateway_count),
                        .any = (uint8_t)sim_chance(world, MEMBERS)};
    if (fault->write.need)
        at.unit = fault->unit;
    at.primary = world->store[at.unit].primary;
    at.standby = (uint8_t)(1 - at.primary);
    sim_trace(world, "fault %u for %lu us (unit %u, gateway %u)", fault->broker, (unsigned long)fault->write.epoch,
              at.unit, at.gateway);
    strike(world, fault, &at);
}

/* --- mending ------------------------------------------------------------------------------------------------------ */

static void mend(struct world *world, const struct sim_event *event)
{
    if (event->from == NONE) {
        if (world->units[event->unit].brokers[2].up)
            broker_crash(world, event->unit, 2);
    } else if (event->broker == FAULT_STORE) {
        world->store_away = false;
    } else if (world->cut[event->from][event->unit] > 0) {
        world->cut[event->from][event->unit]--;
    }
}

static void restart(struct world *world, const struct sim_event *event)
{
    if (event->from == 1 && !world->units[event->unit].brokers[event->broker].up)
        broker_start(world, event->unit, event->broker);
    if (event->from == 2 && !world->agents[event->unit].up)
        agent_start(world, event->unit);
    if (event->from == 3 && !world->gateways[event->unit].up)
        gateway_start(world, event->unit);
}

/* Faults end no later than this; only what the network does by itself is left. */
static void heal(struct world *world)
{
    sim_trace(world, "all is mended");
    memset(world->cut, 0, sizeof(world->cut));
    world->loss_ppm = 0;
    world->lost_reply_ppm = 0;
    world->store_away = false;
    world->healed = true;
}

void fault_event(struct world *world, const struct sim_event *event)
{
    switch (event->kind) {
    case SIM_FAULT:
        if (!world->healed)
            choose_and_strike(world, event);
        break;
    case SIM_MEND:
        mend(world, event);
        break;
    case SIM_RESTART:
        restart(world, event);
        break;
    default:
        heal(world);
        break;
    }
}
