/* SPDX-License-Identifier: Apache-2.0
 *
 * Brokers: what they hold, who follows whom, and when a write is acknowledged. Memory is lost with the process.
 */
#include <string.h>

#include "test/sim/sim.h"

#define LOOK_US 10000 /* how often a replica without a connection tries for one */

static struct broker *broker_at(struct world *world, uint8_t unit, uint8_t index)
{
    return &world->units[unit].brokers[index];
}

static bool holds(const uint64_t *data, uint16_t message)
{
    return (data[message / 64] >> message % 64 & 1) != 0;
}

static void add(uint64_t *data, uint16_t message)
{
    data[message / 64] |= UINT64_C(1) << message % 64;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

/* Fenced: a replica of nowhere, whatever it was. */
void broker_start(struct world *world, uint8_t unit, uint8_t index)
{
    struct broker *broker = broker_at(world, unit, index);
    bool was_primary = broker->source == NONE;
    broker->up = true;
    broker->run = ++world->runs;
    broker->primary = world->mutant == MUTANT_FENCED_BOOT && was_primary;
    if (world->mutant != MUTANT_FENCED_BOOT)
        broker->source = NONE;
    sim_trace(world, "broker %u/%u starts as run %lu", unit, index, (unsigned long)broker->run);
    struct sim_event *event =
        sim_plan(world, sim_chance(world, LOOK_US), SIM_BROKER, 0, place_of_broker(world, unit, index));
    event->unit = unit;
    event->broker = index;
    event->copy.run = broker->run;
}

static void lose_link(struct world *world, uint8_t unit, uint8_t replica)
{
    struct broker *broker = broker_at(world, unit, replica);
    broker->linked = false;
    broker->link++;
}

void broker_break_links(struct world *world, uint8_t unit)
{
    for (uint8_t i = 0; i < REPLICAS; i++) {
        struct broker *broker = broker_at(world, unit, i);
        if (!broker->linked)
            continue;
        uint8_t here = place_of_broker(world, unit, i), there = place_of_broker(world, unit, broker->source);
        if (!sim_reaches(world, here, there) || !sim_reaches(world, there, here))
            lose_link(world, unit, i);
    }
}

void broker_crash(struct world *world, uint8_t unit, uint8_t index)
{
    struct broker *broker = broker_at(world, unit, index);
    sim_trace(world, "broker %u/%u crashes", unit, index);
    broker->up = broker->primary = false;
    broker->down_us = world->now_us;
    broker->epoch = broker->frozen_us = broker->offset = 0;
    if (world->store[unit].primary == index)
        memset(world->units[unit].local, 0, sizeof(world->units[unit].local));
    lose_link(world, unit, index);
    for (uint8_t i = 0; i < REPLICAS; i++)
        if (broker_at(world, unit, i)->source == index)
            lose_link(world, unit, i);
    memset(broker->data, 0, sizeof(broker->data));
    if (sim_happens(world, 300000)) /* an old file is all that is left */
        memcpy(broker->data, broker->snapshot, sizeof(broker->data));
    for (uint16_t i = 0; i < world->units[unit].messages; i++)
        if (world->units[unit].waits[i].run == broker->run)
            world->units[unit].waits[i].waiting = false;
    for (uint8_t i = 0; i < world->gateway_count; i++) {
        struct sim_event *event = sim_send(world, SIM_RESET, place_of_broker(world, unit, index), i);
        if (event != NULL) {
            event->unit = unit;
            event->broker = index;
        }
    }
    check_unit(world, unit);
}

/* --- what its agent orders ---------------------------------------------------------------------------------------- */

static void tell_replicas(struct world *world, uint8_t unit, uint8_t index, uint16_t message)
{
    struct broker *primary = broker_at(world, unit, index);
    primary->offset++;
    for (uint8_t i = 0; i < REPLICAS; i++) {
        struct broker *replica = broker_at(world, unit, i);
        if (i == index || !replica->linked || replica->source != index)
            continue;
        struct sim_event *event =
            sim_plan(world, world->delay_us + 50, SIM_REPLICATE, 0, place_of_broker(world, unit, i));
        event->unit = unit;
        event->broker = i;
        event->copy.link = replica->link;
        event->copy.epoch = primary->epoch;
        event->copy.message = message;
        event->copy.offset = primary->offset;
    }
}

void broker_follow(struct world *world, uint8_t unit, uint8_t index, uint8_t source)
{
    struct broker *broker = broker_at(world, unit, index);
    sim_trace(world, "broker %u/%u follows %u", unit, index, source);
    broker->primary = false;
    broker->source = source;
    lose_link(world, unit, index);
    for (uint8_t i = 0; i < REPLICAS; i++)
        if (broker_at(world, unit, i)->source == index)
            lose_link(world, unit, i);
}

void broker_stamp(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch)
{
    struct broker *broker = broker_at(world, unit, index);
    if (epoch < broker->epoch)
        sim_fail(world, "the epoch of broker %u/%u falls from %lu to %lu", unit, index, (unsigned long)broker->epoch,
                 (unsigned long)epoch);
    sim_trace(world, "broker %u/%u is stamped %lu", unit, index, (unsigned long)epoch);
    broker->epoch = epoch;
    tell_replicas(world, unit, index, MESSAGES_MOST);
}

void broker_promote(struct world *world, uint8_t unit, uint8_t index, uint64_t epoch)
{
    struct broker *broker = broker_at(world, unit, index);
    sim_trace(world, "broker %u/%u is promoted", unit, index);
    lose_link(world, unit, index);
    broker->source = NONE;
    broker->primary = true;
    broker_stamp(world, unit, index, epoch);
}

/* --- replication -------------------------------------------------------------------------------------------------- */

static uint8_t attached(struct world *world, uint8_t unit, uint8_t index)
{
    uint8_t bits = 0;
    for (uint8_t i = 0; i < REPLICAS; i++)
        if (broker_at(world, unit, i)->linked && broker_at(world, unit, i)->source == index)
            bits |= (uint8_t)(1 << i);
    return bits;
}

/* To the gateway of WAIT, for the attempt that it names. */
static void answer(struct world *world, uint8_t unit, uint8_t index, uint16_t message, const struct wait *wait,
                   enum answer what)
{
    struct sim_event *event =
        sim_send(world, SIM_ANSWER, place_of_broker(world, unit, index), place_of_gateway(wait->gateway));
    if (event == NULL)
        return;
    event->unit = unit;
    event->broker = index;
    event->write.message = message;
    event->write.attempt = wait->attempt;
    event->write.answer = what;
    event->write.epoch = broker_at(world, unit, index)->epoch;
    event->write.run = broker_at(world, unit, index)->run;
    event->write.attached = attached(world, unit, index);
}

static void look_at_wait(struct world *world, uint8_t unit, uint8_t index, uint16_t message)
{
    struct wait *wait = &world->units[unit].waits[message];
    if (!wait->waiting || wait->run != broker_at(world, unit, index)->run)
        return;
    if (__builtin_popcount(wait->holders & attached(world, unit, index)) < wait->need)
        return;
    wait->waiting = false;
    answer(world, unit, index, message, wait, ANSWER_OK);
}

static void take_copy(struct world *world, const struct sim_event *event)
{
    struct broker *replica = broker_at(world, event->unit, event->broker);
    if (!replica->up || !replica->linked || replica->link != event->copy.link)
        return;
    uint8_t here = place_of_broker(world, event->unit, event->broker);
    uint8_t there = place_of_broker(world, event->unit, replica->source);
    if (!sim_reaches(world, there, here)) { /* a hole in the stream ends it */
        lose_link(world, event->unit, event->broker);
        return;
    }
    if (event->copy.message < MESSAGES_MOST)
        add(replica->data, event->copy.message);
    replica->epoch = event->copy.epoch;
    replica->offset = event->copy.offset;
    if (!sim_reaches(world, here, there))
        return;
    struct sim_event *reply =
        sim_plan(world, world->delay_us + 50, SIM_REPLICATED, 0, place_of_broker(world, event->unit, replica->source));
    reply->unit = event->unit;
    reply->broker = replica->source;
    reply->copy = event->copy;
    reply->copy.replica = event->broker;
}

static void take_acknowledgement(struct world *world, const struct sim_event *event)
{
    struct broker *primary = broker_at(world, event->unit, event->broker);
    struct broker *replica = broker_at(world, event->unit, event->copy.replica);
    if (!primary->up || !primary->primary || !replica->linked || replica->link != event->copy.link)
        return;
    primary->acked_us[event->copy.replica] = world->now_us;
    if (event->copy.message == MESSAGES_MOST)
        return;
    world->units[event->unit].waits[event->copy.message].holders |= (uint8_t)(1 << event->copy.replica);
    look_at_wait(world, event->unit, event->broker, event->copy.message);
}

static bool can_attach(struct world *world, uint8_t unit, uint8_t index)
{
    struct broker *replica = broker_at(world, unit, index);
    if (!replica->up || replica->primary || replica->source == NONE)
        return false;
    struct broker *primary = broker_at(world, unit, replica->source);
    uint8_t here = place_of_broker(world, unit, index), there = place_of_broker(world, unit, replica->source);
    return primary->up && primary->primary && primary->frozen_us <= world->now_us && sim_reaches(world, here, there) &&
           sim_reaches(world, there, here);
}

/* A full copy: whatever the replica held is gone. */
static void attach(struct world *world, const struct sim_event *event)
{
    uint8_t unit = event->unit, index = event->broker;
    struct broker *replica = broker_at(world, unit, index);
    if (replica->link != event->copy.link || replica->linked || !can_attach(world, unit, index))
        return;
    struct broker *primary = broker_at(world, unit, replica->source);
    memcpy(replica->data, primary->data, sizeof(replica->data));
    replica->epoch = primary->epoch;
    replica->offset = primary->offset;
    replica->linked = true;
    primary->acked_us[index] = world->now_us;
    sim_trace(world, "broker %u/%u has copied %u/%u", unit, index, unit, replica->source);
    for (uint16_t i = 0; i < world->units[unit].messages; i++)
        if (holds(replica->data, i))
            world->units[unit].waits[i].holders |= (uint8_t)(1 << index);
    check_unit(world, unit);
}

static void look(struct world *world, const struct sim_event *event)
{
    struct broker *broker = broker_at(world, event->unit, event->broker);
    if (!broker->up || broker->run != event->copy.run)
        return;
    if (sim_happens(world, 50000))
        memcpy(broker->snapshot, broker->data, sizeof(broker->snapshot));
    broker_break_links(world, event->unit);
    if (broker->linked) { /* a heartbeat of replication, which tells the primary that it lives */
        struct broker *primary = broker_at(world, event->unit, broker->source);
        if (primary->up && primary->primary)
            primary->acked_us[event->broker] = world->now_us;
    } else if (can_attach(world, event->unit, event->broker)) {
        struct sim_event *next = sim_plan(world, 2000 + sim_chance(world, 20000), SIM_ATTACH, 0, event->to);
        next->unit = event->unit;
        next->broker = event->broker;
        next->copy.link = broker->link;
    }
    struct sim_event *again = sim_plan(world, LOOK_US, SIM_BROKER, 0, event->to);
    again->unit = event->unit;
    again->broker = event->broker;
    again->copy.run = broker->run;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static uint8_t holders_of(struct world *world, uint8_t unit, uint8_t index, uint16_t message)
{
    uint8_t bits = 0;
    for (uint8_t i = 0; i < REPLICAS; i++)
        if (holds(broker_at(world, unit, i)->data, message))
            bits |= (uint8_t)(1 << i);
    return bits & attached(world, unit, index);
}

static void take_write(struct world *world, const struct sim_event *event)
{
    uint8_t unit = event->unit, index = event->broker;
    struct broker *broker = broker_at(world, unit, index);
    uint16_t message = event->write.message;
    struct wait wait = {.run = broker->run,
                        .attempt = event->write.attempt,
                        .gateway = event->from,
                        .need = event->write.need,
                        .waiting = true};
    if (!broker->up) {
        answer(world, unit, index, message, &wait, ANSWER_REFUSED);
    } else if (world->now_us < broker->well_us) {
        answer(world, unit, index, message, &wait, ANSWER_ERROR);
    } else if (!broker->primary) {
        answer(world, unit, index, message, &wait, ANSWER_READONLY);
    } else if (broker->epoch != event->write.epoch && world->mutant != MUTANT_BROKER_EPOCH) {
        answer(world, unit, index, message, &wait, ANSWER_EPOCH);
    } else {
        check_write(world, unit, index, event->write.epoch);
        add(broker->data, message);
        wait.holders = holders_of(world, unit, index, message);
        world->units[unit].waits[message] = wait;
        tell_replicas(world, unit, index, message);
        look_at_wait(world, unit, index, message);
    }
}

static void take_probe(struct world *world, const struct sim_event *event)
{
    struct broker *broker = broker_at(world, event->unit, event->broker);
    if (!broker->up)
        return;
    struct sim_event *reply =
        sim_send(world, SIM_PROBED, place_of_broker(world, event->unit, event->broker), event->from);
    if (reply == NULL)
        return;
    reply->unit = event->unit;
    reply->broker = event->broker;
    reply->write.run = broker->run;
    reply->write.need = broker->primary;
}

void broker_event(struct world *world, const struct sim_event *event)
{
    switch (event->kind) {
    case SIM_BROKER:
        look(world, event);
        break;
    case SIM_PROBE:
        take_probe(world, event);
        break;
    case SIM_WRITE:
        take_write(world, event);
        break;
    case SIM_REPLICATE:
        take_copy(world, event);
        break;
    case SIM_REPLICATED:
        take_acknowledgement(world, event);
        break;
    case SIM_ATTACH:
        attach(world, event);
        break;
    default:
        break;
    }
}
