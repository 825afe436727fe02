/* SPDX-License-Identifier: Apache-2.0
 *
 * Gateways: a real core, fed with what arrives, and the data path that writes clients' messages by the record in force.
 */
#include <string.h>

#include "router/core_evidence.h"
#include "test/sim/sim.h"

#define PERIOD_US   10000
#define CLIENTS_US  4000 /* of all gateways together */
#define DEADLINE_US 50000
#define STORE_US    150000 /* silent for so long, the store is away */
#define CASTS       NONE   /* in a deadline's `broker`: it is a proposal's */

static void act(struct world *world, uint8_t gateway);

/* --- the core ----------------------------------------------------------------------------------------------------- */

static uint64_t clock_of(const struct world *world, const struct gateway *gateway)
{
    return gateway->clock_us + world->now_us + world->now_us * gateway->drift_ppm / 1000000;
}

static void note_votes(struct world *world, struct gateway *gateway)
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++) {
        const struct core_unit *known = core_find_unit(&gateway->core, unit_id(unit));
        for (enum core_matter matter = 0; matter < CORE_MATTERS; matter++)
            if (known->vote.reasons[matter] != CORE_FINE) {
                gateway->said_us[unit][matter] = world->now_us;
                gateway->said_epoch[unit][matter] = known->record.epoch;
            }
    }
}

static void feed(struct world *world, uint8_t index, struct core_event event)
{
    struct gateway *gateway = &world->gateways[index];
    event.now_us = clock_of(world, gateway);
    core_step(&gateway->core, &event, &world->actions);
    if (event.kind != CORE_CONFIG)
        note_votes(world, gateway);
    if (world->actions.count > 0)
        act(world, index);
}

static void configure(struct world *world, uint8_t index)
{
    struct core_gateway gateways[GATEWAYS_MOST];
    struct core_unit_facts units[UNITS_MOST];
    memset(units, 0, sizeof(units));
    for (uint8_t i = 0; i < world->gateway_count; i++)
        gateways[i] = (struct core_gateway){gateway_id(i), world->gateways[i].site + 1U};
    for (uint8_t i = 0; i < world->unit_count; i++) {
        const struct unit *unit = &world->units[i];
        units[i].id = unit_id(i);
        units[i].datacenter = unit->site + 1U;
        units[i].standby = unit->standby != NONE ? unit_id(unit->standby) : 0;
        units[i].broker_count = unit->standby != NONE ? MEMBERS : 1;
        for (uint8_t j = 0; j < units[i].broker_count; j++)
            units[i].brokers[j] = broker_id(i, j);
        units[i].capacity_rps = unit->capacity;
    }
    struct core_config config = {world->policy, gateway_id(index), gateways, world->gateway_count,
                                 units,         world->unit_count};
    feed(world, index, (struct core_event){.kind = CORE_CONFIG, .config = &config});
    for (uint8_t i = 0; i < world->unit_count; i++)
        feed(world, index, (struct core_event){.kind = CORE_LOAD, .load = {unit_id(i), world->units[i].load}});
}

static void plan(struct world *world, uint8_t gateway, enum sim_kind kind, uint64_t in_us)
{
    sim_plan(world, in_us, kind, gateway, gateway)->run = world->gateways[gateway].run;
}

/* All but the units, which the core clears as it takes them into use. */
static void clear(struct core *core)
{
    size_t units = offsetof(struct core, units), behind = units + sizeof(core->units);
    memset(core, 0, units);
    memset((char *)core + behind, 0, sizeof(*core) - behind);
}

void gateway_start(struct world *world, uint8_t index)
{
    struct gateway *gateway = &world->gateways[index];
    uint64_t run = gateway->run + 1, clock_us = gateway->clock_us, drift_ppm = gateway->drift_ppm;
    uint8_t site = gateway->site;
    memset((char *)gateway + sizeof(gateway->core), 0, sizeof(*gateway) - sizeof(gateway->core));
    clear(&gateway->core);
    gateway->run = run;
    gateway->clock_us = clock_us;
    gateway->drift_ppm = drift_ppm;
    gateway->site = site;
    gateway->up = true;
    gateway->core.waived = world->waived != CORE_MAY_MOVE ? 1U << world->waived : 0;
    configure(world, index);
    gateway->due_us = world->now_us + sim_chance(world, PERIOD_US);
    plan(world, index, SIM_TICK, gateway->due_us - world->now_us);
    plan(world, index, SIM_CLIENTS, sim_chance(world, CLIENTS_US));
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static struct core_record core_record_of(const struct world *world, uint8_t unit, const struct sim_record *record)
{
    struct core_record out = {.unit = unit_id(unit), .epoch = record->epoch, .moved_ago_us = UINT64_MAX};
    if (record->epoch == 0)
        return out;
    out.primary = broker_id(unit, record->primary);
    out.consumer = record->consumer != unit ? unit_id(record->consumer) : 0;
    for (uint8_t i = 0; i < MEMBERS; i++)
        if ((record->in_sync >> i & 1) != 0)
            out.members[out.member_count++] = (struct core_member){broker_id(unit, i), record->runs[i]};
    out.hold = record->hold;
    out.drained = record->drained;
    out.target = record->hold ? broker_id(unit, record->target) : 0;
    out.target_consumer = record->hold && record->target_consumer != unit ? unit_id(record->target_consumer) : 0;
    if (record->moved_us != 0)
        out.moved_ago_us = world->now_us > record->moved_us ? world->now_us - record->moved_us : 0;
    return out;
}

static void take_record(struct world *world, uint8_t index, uint8_t unit, const struct sim_record *record)
{
    struct gateway *gateway = &world->gateways[index];
    if (world->now_us < gateway->deaf_us)
        return;
    if (record->epoch > gateway->records[unit].epoch)
        gateway->records[unit] = *record;
    feed(world, index, (struct core_event){.kind = CORE_RECORD, .record = core_record_of(world, unit, record)});
}

static void push(struct world *world, uint8_t gateway, uint8_t unit, uint8_t to)
{
    struct sim_event *event = sim_cast(world, SIM_PUSH, place_of_gateway(gateway), to);
    if (event == NULL)
        return;
    event->unit = unit;
    event->record = world->gateways[gateway].records[unit];
}

static void push_to_all(struct world *world, uint8_t gateway, uint8_t unit)
{
    for (uint8_t i = 0; i < world->gateway_count; i++)
        if (i != gateway)
            push(world, gateway, unit, place_of_gateway(i));
    for (uint8_t i = 0; i < world->unit_count; i++)
        push(world, gateway, unit, place_of_host(i));
}

static void read_store(struct world *world, uint8_t index, uint8_t unit)
{
    struct sim_event *event = sim_send(world, SIM_READ, place_of_gateway(index), PLACE_STORE);
    if (event != NULL)
        event->unit = unit;
}

static void hear_store(struct world *world, uint8_t index)
{
    struct gateway *gateway = &world->gateways[index];
    gateway->store_us = world->now_us;
    if (gateway->store_up)
        return;
    gateway->store_up = true;
    for (uint8_t unit = 0; unit < world->unit_count; unit++)
        read_store(world, index, unit);
    feed(world, index, (struct core_event){.kind = CORE_STORE, .store_up = true});
}

/* --- what the core wants ------------------------------------------------------------------------------------------ */

static void propose(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal)
{
    struct gateway *gateway = &world->gateways[index];
    struct sim_record record = gateway->records[unit];
    if (world->mutant == MUTANT_GIVE_UP && proposal->plan != CORE_PLAN_NONE && proposal->plan != CORE_PLAN_LEVEL)
        return;
    check_proposal(world, index, proposal);
    if (world->failure[0] != '\0') /* it may make no sense at all */
        return;
    gateway->proposing[unit] = ++gateway->proposals;
    gateway->proposing_from[unit] = proposal->from_epoch;
    sim_trace(world, "gateway %u proposes that unit %u (epoch %lu) be moved (%s)", index, unit,
              (unsigned long)proposal->from_epoch, core_plan_name(proposal->plan));
    uint8_t primary = (uint8_t)(proposal->primary - broker_id(unit, 0));
    if (primary != record.primary) {
        record.primary = primary;
        record.in_sync = (uint8_t)(1 << primary);
        record.runs[primary] = proposal->run_id;
    }
    record.consumer = proposal->consumer != 0 ? (uint8_t)(proposal->consumer - unit_id(0)) : unit;
    record.by = proposal->plan == CORE_PLAN_NONE ? index : NONE;
    record.moved_us = proposal->plan == CORE_PLAN_NONE ? world->now_us : record.moved_us;
    record.drained = record.drained && (proposal->plan == CORE_PLAN_NONE || proposal->plan == CORE_PLAN_LEVEL);
    record.hold = false;
    struct sim_event *deadline = sim_plan(world, DEADLINE_US, SIM_DEADLINE, index, index);
    deadline->unit = unit;
    deadline->broker = CASTS;
    deadline->cas.number = gateway->proposals;
    struct sim_event *event = sim_send(world, SIM_CAS, place_of_gateway(index), PLACE_STORE);
    if (event == NULL)
        return;
    event->unit = unit;
    event->cas.record = record;
    event->cas.from_epoch = proposal->from_epoch;
    event->cas.number = gateway->proposals;
}

static void tell_votes(struct world *world, uint8_t index)
{
    const struct gateway *gateway = &world->gateways[index];
    for (uint8_t i = 0; i < world->gateway_count; i++) {
        struct sim_event *event = i != index ? sim_cast(world, SIM_VOTES, index, i) : NULL;
        for (uint8_t unit = 0; event != NULL && unit < world->unit_count; unit++) {
            const struct core_vote *vote = &core_find_unit(&gateway->core, unit_id(unit))->vote;
            event->votes[unit] = (struct sim_vote){.epoch = vote->epoch,
                                                   .reasons = {(uint8_t)vote->reasons[0], (uint8_t)vote->reasons[1]},
                                                   .abstains = vote->abstains,
                                                   .standby_healthy = vote->standby_healthy};
        }
    }
}

static void act(struct world *world, uint8_t index)
{
    bool voted = false;
    for (unsigned i = 0; i < world->actions.count; i++) {
        const struct core_action *action = &world->actions.items[i];
        uint8_t unit = (uint8_t)(action->unit - unit_id(0));
        switch (action->kind) {
        case CORE_PROPOSE:
            propose(world, index, unit, &action->proposal);
            break;
        case CORE_VOTE:
            voted = true;
            break;
        case CORE_ASK:
            read_store(world, index, unit);
            break;
        case CORE_ALARM:
            world->gateways[index].alarms |= 1U << unit;
            break;
        case CORE_CALM:
            world->gateways[index].alarms &= ~(1U << unit);
            break;
        }
    }
    if (voted)
        tell_votes(world, index);
}

/* --- what arrives ------------------------------------------------------------------------------------------------- */

static void take_pulse(struct world *world, uint8_t index, const struct sim_event *event)
{
    uint8_t host = (uint8_t)(event->from - GATEWAYS_MOST);
    feed(world, index, (struct core_event){.kind = CORE_AGENT, .agent = {unit_id(host), true}});
    for (uint8_t unit = 0; unit < world->unit_count; unit++)
        for (uint8_t broker = 0; broker < MEMBERS; broker++) {
            const struct sim_seen *seen = &event->pulse.seen[unit][broker];
            if (!seen->told)
                continue;
            struct core_broker_seen told = {.unit = unit_id(unit),
                                            .broker = broker_id(unit, broker),
                                            .run_id = seen->run,
                                            .epoch = seen->epoch,
                                            .offset = seen->offset,
                                            .age_us = seen->age_us,
                                            .healthy = seen->healthy,
                                            .primary = seen->primary,
                                            .sees_primary = seen->sees_primary,
                                            .gone = seen->gone};
            if (world->mutant == MUTANT_FENCE && seen->primary)
                told.epoch = UINT64_MAX;
            if (world->mutant == MUTANT_LEVEL && !seen->primary)
                told.offset = UINT64_MAX;
            feed(world, index, (struct core_event){.kind = CORE_BROKER, .broker = told});
        }
}

static void take_votes(struct world *world, uint8_t index, const struct sim_event *event)
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++) {
        const struct sim_vote *vote = &event->votes[unit];
        struct core_vote peer = {.gateway = gateway_id(event->from),
                                 .unit = unit_id(unit),
                                 .epoch = vote->epoch,
                                 .reasons = {vote->reasons[0], vote->reasons[1]},
                                 .abstains = vote->abstains,
                                 .standby_healthy = vote->standby_healthy};
        feed(world, index, (struct core_event){.kind = CORE_PEER, .peer = peer});
    }
}

static void take_outcome(struct world *world, uint8_t index, const struct sim_event *event)
{
    struct gateway *gateway = &world->gateways[index];
    hear_store(world, index);
    bool won = event->cas.result == CORE_WON;
    if (gateway->proposing[event->unit] == event->cas.number) {
        gateway->proposing[event->unit] = 0;
        feed(world, index,
             (struct core_event){.kind = CORE_PROPOSED, .proposed = {unit_id(event->unit), event->cas.result}});
    }
    take_record(world, index, event->unit, &event->cas.record);
    if (won)
        push_to_all(world, index, event->unit);
}

static void tell_line(struct world *world, uint8_t index, uint8_t unit, uint8_t broker, enum core_line_kind kind)
{
    if (broker < MEMBERS)
        feed(world, index,
             (struct core_event){.kind = CORE_LINE, .line = {unit_id(unit), broker_id(unit, broker), kind}});
}

/* The first worker asks whom nobody hears. Here no answer ever comes, so that silence alone is judged. */
static void miss_answers(struct world *world, uint8_t index)
{
    const struct gateway *gateway = &world->gateways[index];
    for (uint8_t unit = 0; unit < world->unit_count; unit++) {
        const struct core_unit *known = core_find_unit(&gateway->core, unit_id(unit));
        if (known != NULL && core_is_unheard(&gateway->core, known))
            tell_line(world, index, unit, gateway->records[unit].primary, CORE_LINE_MISSED);
    }
}

static void tick(struct world *world, uint8_t index)
{
    struct gateway *gateway = &world->gateways[index];
    uint64_t lag_us = world->now_us - gateway->due_us;
    miss_answers(world, index);
    feed(world, index, (struct core_event){.kind = CORE_TICK, .lag_us = lag_us});
    tell_votes(world, index);
    if (sim_happens(world, 100000))
        push(world, index, (uint8_t)sim_chance(world, world->unit_count),
             (uint8_t)sim_chance(world, world->gateway_count));
    if (sim_happens(world, 400000))
        read_store(world, index, (uint8_t)sim_chance(world, world->unit_count));
    if (gateway->store_up && world->now_us - gateway->store_us > STORE_US) {
        gateway->store_up = false;
        feed(world, index, (struct core_event){.kind = CORE_STORE, .store_up = false});
    }
    gateway->due_us = world->now_us + PERIOD_US;
    plan(world, index, SIM_TICK, PERIOD_US);
}

/* --- operators ---------------------------------------------------------------------------------------------------- */

/* To the standby, and home again. */
static void switch_unit(struct world *world, uint8_t index, uint8_t unit)
{
    struct sim_record record = world->gateways[index].records[unit];
    if (record.epoch == 0 || record.hold || record.in_sync != 3 || world->units[unit].standby == NONE)
        return;
    sim_trace(world, "an operator asks gateway %u to switch unit %u (epoch %lu)", index, unit,
              (unsigned long)record.epoch);
    record.hold = true;
    record.target = (uint8_t)(1 - record.primary);
    record.drained = record.target == 1;
    record.target_consumer = record.target == 1 ? world->units[unit].standby : unit;
    record.moved_us = record.target == 1 ? record.moved_us : 0;
    record.by = NONE;
    struct sim_event *event = sim_send(world, SIM_CAS, place_of_gateway(index), PLACE_STORE);
    if (event == NULL)
        return;
    event->unit = unit;
    event->cas.record = record;
    event->cas.from_epoch = record.epoch;
}

/* --- the data path ------------------------------------------------------------------------------------------------ */

static void send_write(struct world *world, uint8_t index, uint8_t unit, uint16_t message)
{
    const struct sim_record *record = &world->gateways[index].records[unit];
    struct sent *sent = &world->units[unit].sent[message];
    bool local = sent->tries > 0 ? sent->local : sim_happens(world, 200000);
    *sent = (struct sent){.epoch = record->epoch,
                          .local = local,
                          .run = record->runs[record->primary],
                          .tries = (uint16_t)(sent->tries + 1),
                          .gateway = index,
                          .primary = record->primary,
                          .in_sync = record->in_sync,
                          .waiting = true};
    struct sim_event *deadline = sim_plan(world, DEADLINE_US, SIM_DEADLINE, index, index);
    deadline->unit = unit;
    deadline->broker = record->primary;
    deadline->write.message = message;
    deadline->write.attempt = sent->tries;
    struct sim_event *event =
        sim_send(world, SIM_WRITE, place_of_gateway(index), place_of_broker(world, unit, record->primary));
    if (event == NULL)
        return;
    event->unit = unit;
    event->broker = record->primary;
    event->write.message = message;
    event->write.attempt = sent->tries;
    event->write.epoch = record->epoch;
    event->write.need = local ? 0 : (uint8_t)(__builtin_popcount(record->in_sync) - 1);
}

/* A message of this gateway that ended without an answer; it keeps its id. */
static uint16_t unanswered(const struct world *world, uint8_t index, uint8_t unit)
{
    uint16_t count = world->units[unit].messages;
    for (uint16_t i = count; i > 0 && i + 40 > count; i--) {
        const struct sent *sent = &world->units[unit].sent[i - 1];
        if (sent->gateway == index && !sent->waiting && !sent->acknowledged)
            return i - 1;
    }
    return MESSAGES_MOST;
}

static void serve_clients(struct world *world, uint8_t index)
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++) {
        if (world->gateways[index].records[unit].epoch == 0 || world->gateways[index].records[unit].hold)
            continue;
        uint16_t message = sim_happens(world, 500000) ? unanswered(world, index, unit) : MESSAGES_MOST;
        if (message == MESSAGES_MOST && world->units[unit].messages < MESSAGES_MOST)
            message = world->units[unit].messages++;
        if (message != MESSAGES_MOST)
            send_write(world, index, unit, message);
    }
    plan(world, index, SIM_CLIENTS, (CLIENTS_US / 2 + sim_chance(world, CLIENTS_US)) * world->gateway_count);
}

/* WAIT counts replicas without naming them: that exactly the members are attached is seen behind it. */
static bool covered(const struct world *world, const struct sent *sent, const struct sim_event *event)
{
    uint8_t wanted = (uint8_t)(sent->in_sync & ~(1 << sent->primary));
    bool members = event->write.attached == wanted || world->mutant == MUTANT_THIRD_REPLICA;
    return event->write.run == sent->run && (wanted == 0 || sent->local || members);
}

/* What a primary alone has acknowledged is safe from planned work, and from nothing else. */
static void note_acknowledged(struct world *world, uint8_t index, const struct sim_event *event)
{
    struct unit *unit = &world->units[index];
    const struct sent *sent = &unit->sent[event->write.message];
    uint64_t bit = UINT64_C(1) << event->write.message % 64;
    bool alone = sent->local && (sent->in_sync & ~(1 << sent->primary)) != 0;
    if (!alone)
        unit->acknowledged[event->write.message / 64] |= bit;
    else if (sent->epoch >= unit->failed_epoch && unit->brokers[event->broker].run == event->write.run)
        unit->local[event->write.message / 64] |= bit;
}

static void take_answer(struct world *world, uint8_t index, const struct sim_event *event)
{
    struct sent *sent = &world->units[event->unit].sent[event->write.message];
    if (event->write.answer == ANSWER_REFUSED)
        tell_line(world, index, event->unit, event->broker, CORE_LINE_REFUSED);
    if (event->write.answer == ANSWER_ERROR)
        tell_line(world, index, event->unit, event->broker, CORE_LINE_ERROR);
    if (event->write.answer == ANSWER_OK)
        tell_line(world, index, event->unit, event->broker, CORE_LINE_OK);
    if (event->write.answer == ANSWER_EPOCH && event->write.epoch > world->gateways[index].records[event->unit].epoch)
        read_store(world, index, event->unit);
    if (!sent->waiting || sent->tries != event->write.attempt)
        return;
    sent->waiting = false;
    if (event->write.answer != ANSWER_OK || !covered(world, sent, event))
        return;
    sent->acknowledged = true;
    world->acknowledged++;
    world->units[event->unit].served_us[index] = world->now_us;
    note_acknowledged(world, event->unit, event);
    check_unit(world, event->unit);
}

static void end_waiting(struct world *world, uint8_t index, const struct sim_event *event)
{
    struct gateway *gateway = &world->gateways[index];
    if (event->broker == CASTS) {
        if (gateway->proposing[event->unit] != event->cas.number)
            return;
        gateway->proposing[event->unit] = 0;
        feed(world, index,
             (struct core_event){.kind = CORE_PROPOSED, .proposed = {unit_id(event->unit), CORE_UNKNOWN}});
        return;
    }
    struct sent *sent = &world->units[event->unit].sent[event->write.message];
    if (!sent->waiting || sent->tries != event->write.attempt)
        return;
    sent->waiting = false;
    tell_line(world, index, event->unit, event->broker, CORE_LINE_ERROR);
}

void gateway_event(struct world *world, const struct sim_event *event)
{
    uint8_t index = event->to;
    struct gateway *gateway = &world->gateways[index];
    if (!gateway->up || ((event->kind == SIM_TICK || event->kind == SIM_CLIENTS) && event->run != gateway->run))
        return;
    switch (event->kind) {
    case SIM_TICK:
        tick(world, index);
        break;
    case SIM_CLIENTS:
        serve_clients(world, index);
        break;
    case SIM_PULSE:
        take_pulse(world, index, event);
        break;
    case SIM_OPERATOR:
        switch_unit(world, index, event->unit);
        break;
    case SIM_VOTES:
        take_votes(world, index, event);
        break;
    case SIM_PUSH:
        if (event->from == PLACE_STORE)
            hear_store(world, index);
        take_record(world, index, event->unit, &event->record);
        break;
    case SIM_READ_DONE:
        hear_store(world, index);
        take_record(world, index, event->unit, &event->record);
        break;
    case SIM_CAS_DONE:
        take_outcome(world, index, event);
        break;
    case SIM_ANSWER:
        take_answer(world, index, event);
        break;
    case SIM_DEADLINE:
        end_waiting(world, index, event);
        break;
    case SIM_RESET:
        tell_line(world, index, event->unit, event->broker, CORE_LINE_RESET);
        break;
    default:
        break;
    }
}
