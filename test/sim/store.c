/* SPDX-License-Identifier: Apache-2.0
 *
 * The store: one record a unit, one epoch for all, compare-and-set, watches. Requests and replies may be lost.
 */
#include "test/sim/sim.h"

static void tell_watchers(struct world *world, uint8_t unit)
{
    for (uint8_t i = 0; i < world->gateway_count + world->unit_count; i++) {
        uint8_t to = i < world->gateway_count ? place_of_gateway(i) : place_of_host(i - world->gateway_count);
        struct sim_event *event = sim_send(world, SIM_PUSH, PLACE_STORE, to);
        if (event == NULL)
            continue;
        event->unit = unit;
        event->record = world->store[unit];
    }
}

static void compare_and_set(struct world *world, const struct sim_event *event)
{
    uint8_t unit = event->unit;
    struct sim_record before = world->store[unit];
    bool won = before.epoch == event->cas.from_epoch || world->mutant == MUTANT_CAS;
    if (won) {
        world->store[unit] = event->cas.record;
        world->store[unit].epoch = ++world->epoch;
        check_record(world, unit, &before, &world->store[unit]);
        tell_watchers(world, unit);
    }
    if (sim_happens(world, world->lost_reply_ppm))
        return;
    struct sim_event *reply = sim_send(world, SIM_CAS_DONE, PLACE_STORE, event->from);
    if (reply == NULL)
        return;
    reply->unit = unit;
    reply->cas.record = world->store[unit];
    reply->cas.number = event->cas.number;
    reply->cas.result = won ? CORE_WON : CORE_LOST;
}

void store_event(struct world *world, const struct sim_event *event)
{
    if (world->store_away)
        return;
    if (event->kind == SIM_CAS) {
        compare_and_set(world, event);
        return;
    }
    struct sim_event *reply = sim_send(world, SIM_READ_DONE, PLACE_STORE, event->from);
    if (reply == NULL)
        return;
    reply->unit = event->unit;
    reply->record = world->store[event->unit];
}
