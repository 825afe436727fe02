/* SPDX-License-Identifier: Apache-2.0
 *
 * Chance, time, the network, and one run from its first event to its last.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/queue.h"
#include "test/sim/sim.h"

/* --- chance: splitmix64, by Sebastiano Vigna ---------------------------------------------------------------------- */

static uint64_t next_chance(struct world *world)
{
    uint64_t z = (world->chance += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t sim_chance(struct world *world, uint64_t below)
{
    return (uint64_t)((unsigned __int128)next_chance(world) * below >> 64);
}

bool sim_happens(struct world *world, uint64_t ppm)
{
    return ppm > 0 && sim_chance(world, 1000000) < ppm;
}

/* --- the network -------------------------------------------------------------------------------------------------- */

struct sim_event *sim_plan(struct world *world, uint64_t in_us, enum sim_kind kind, uint8_t from, uint8_t to)
{
    struct sim_event *event = queue_put(world->queue, world->now_us + in_us, ++world->order);
    event->kind = kind;
    event->from = from;
    event->to = to;
    return event;
}

bool sim_reaches(const struct world *world, uint8_t from, uint8_t to)
{
    return from == to || world->cut[from][to] == 0;
}

static uint64_t travel_us(struct world *world, uint8_t from, uint8_t to)
{
    return from == to ? 20 + sim_chance(world, 60) : world->delay_us + sim_chance(world, world->jitter_us + 1);
}

struct sim_event *sim_cast(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to)
{
    if (!sim_reaches(world, from, to) || (from != to && sim_happens(world, world->loss_ppm)))
        return NULL;
    return sim_plan(world, travel_us(world, from, to), kind, from, to);
}

struct sim_event *sim_send(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to)
{
    if (!sim_reaches(world, from, to))
        return NULL;
    uint64_t again_us = from != to && sim_happens(world, world->loss_ppm) ? 200000 : 0;
    return sim_plan(world, travel_us(world, from, to) + again_us, kind, from, to);
}

/* --- saying ------------------------------------------------------------------------------------------------------- */

void sim_fail(struct world *world, const char *format, ...)
{
    if (world->failure[0] != '\0')
        return;
    va_list args;
    va_start(args, format);
    int len = snprintf(world->failure, sizeof(world->failure), "at %.3f ms: ", (double)world->now_us / 1000);
    vsnprintf(world->failure + len, sizeof(world->failure) - (size_t)len, format, args);
    va_end(args);
}

void sim_trace(struct world *world, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list args;
    va_start(args, format);
    printf("%10.3f ", (double)world->now_us / 1000);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

/* --- a run -------------------------------------------------------------------------------------------------------- */

static bool is_broker_event(enum sim_kind kind)
{
    return kind == SIM_BROKER || kind == SIM_PROBE || kind == SIM_WRITE || kind == SIM_REPLICATE ||
           kind == SIM_REPLICATED || kind == SIM_ATTACH;
}

static bool is_fault_event(enum sim_kind kind)
{
    return kind >= SIM_FAULT;
}

static uint64_t frozen_until(const struct world *world, const struct sim_event *event)
{
    if (is_fault_event(event->kind) || event->to == PLACE_STORE)
        return 0;
    if (is_broker_event(event->kind))
        return world->units[event->unit].brokers[event->broker].frozen_us;
    if (is_gateway(event->to))
        return world->gateways[event->to].frozen_us;
    return world->agents[event->to - GATEWAYS_MOST].frozen_us;
}

static void deliver(struct world *world, const struct sim_event *event)
{
    if (is_fault_event(event->kind))
        fault_event(world, event);
    else if (event->to == PLACE_STORE)
        store_event(world, event);
    else if (is_broker_event(event->kind))
        broker_event(world, event);
    else if (is_gateway(event->to))
        gateway_event(world, event);
    else
        agent_event(world, event);
}

/* Whoever is stopped gets all that came meanwhile at once, in order. */
static void put_off(struct world *world, const struct sim_event *event, uint64_t until_us)
{
    struct sim_event held = *event;
    struct sim_event *later = queue_put(world->queue, until_us, ++world->order);
    held.at_us = later->at_us;
    held.order = later->order;
    *later = held;
}

static void reset(struct world *world, uint64_t seed)
{
    struct world kept = *world;
    memset(world, 0, sizeof(*world));
    world->queue = kept.queue;
    world->gateways = kept.gateways;
    world->mutant = kept.mutant;
    world->waived = kept.waived;
    world->trace = kept.trace;
    world->seed = seed;
    world->chance = seed * 0x2545f4914f6cdd1d + 1;
    world->now_us = 1000000;
    queue_clear(world->queue);
}

bool sim_run(struct world *world, uint64_t seed)
{
    reset(world, seed);
    fault_plan(world);
    struct sim_event *event;
    while (world->failure[0] == '\0' && (event = queue_take(world->queue)) != NULL && event->at_us <= world->end_us) {
        world->now_us = event->at_us;
        world->events++;
        uint64_t until_us = frozen_until(world, event);
        if (until_us > world->now_us)
            put_off(world, event, until_us);
        else
            deliver(world, event);
    }
    if (world->failure[0] == '\0')
        check_end(world);
    return world->failure[0] == '\0';
}
