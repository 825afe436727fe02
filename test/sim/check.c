/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold, judged by who sees everything. What the core decides is judged by what the world was like and what
 * gateways really said, not by asking the core again.
 */
#include <string.h>

#include "test/sim/sim.h"

#define TRAVEL_US 30000  /* the last good word is no longer on its way */
#define WHILE_US  150000 /* what was so for so long, everybody may be expected to know */

/* --- safety of the data ------------------------------------------------------------------------------------------- */

/* What was acknowledged is with the recorded primary, while that is up under its recorded run. */
void check_unit(struct world *world, uint8_t index)
{
    const struct unit *unit = &world->units[index];
    const struct sim_record *record = &world->store[index];
    const struct broker *primary = &unit->brokers[record->primary];
    if (record->epoch == 0 || !primary->up || primary->run != record->runs[record->primary])
        return;
    for (unsigned i = 0; i < WORDS; i++)
        if (((unit->acknowledged[i] | unit->local[i]) & ~primary->data[i]) != 0)
            sim_fail(world, "unit %u: an acknowledged message is not with its primary %u of epoch %lu", index,
                     record->primary, (unsigned long)record->epoch);
}

void check_write(struct world *world, uint8_t index, uint8_t broker, uint64_t epoch)
{
    struct unit *unit = &world->units[index];
    if (epoch >= EPOCHS_MOST)
        return;
    if (unit->writer[epoch] != 0 && unit->writer[epoch] != broker + 1)
        sim_fail(world, "unit %u: brokers %u and %u both take writes of epoch %lu", index, unit->writer[epoch] - 1,
                 broker, (unsigned long)epoch);
    unit->writer[epoch] = (uint8_t)(broker + 1);
}

/* --- guard rails -------------------------------------------------------------------------------------------------- */

static bool lately(const struct world *world, uint64_t at_us, int64_t span_ms)
{
    return at_us != 0 && world->now_us - at_us < (uint64_t)span_ms * 970; /* clocks differ a little */
}

static void check_rails(struct world *world, uint8_t index, bool switched)
{
    const struct unit *unit = &world->units[index];
    unsigned share = world->unit_count * world->policy.max_share / 100, moved = 1;
    for (uint8_t i = 0; i < world->unit_count; i++)
        moved += i != index && lately(world, world->units[i].moved_us, world->policy.window_ms);
    if (moved > (share > world->policy.max_units ? share : world->policy.max_units))
        sim_fail(world, "unit %u is the %u. that is moved within the window", index, moved);
    if (switched && lately(world, unit->switched_us, world->policy.cooldown_ms))
        sim_fail(world, "unit %u is moved again too soon", index);
    if (!world->policy.automatic)
        sim_fail(world, "unit %u is moved although that is left to operators", index);
}

void check_record(struct world *world, uint8_t index, const struct sim_record *before, const struct sim_record *after)
{
    struct unit *unit = &world->units[index];
    bool switched = before->primary != after->primary;
    sim_trace(world, "unit %u: epoch %lu, primary %u, in sync %u, consumer %u, by %d", index,
              (unsigned long)after->epoch, after->primary, after->in_sync, after->consumer,
              after->by == NONE ? -1 : after->by);
    if (before->epoch == 0)
        sim_fail(world, "unit %u has no record, and a gateway makes one", index);
    if (after->by != NONE) {
        world->failovers++;
        check_rails(world, index, switched);
        unit->moved_us = after->moved_us;
        unit->switched_us = switched ? after->moved_us : unit->switched_us;
        unit->failed_epoch = switched ? after->epoch : unit->failed_epoch;
        if (switched)
            memset(unit->local, 0, sizeof(unit->local));
    } else if (after->moved_us == 0) {
        unit->moved_us = unit->switched_us = 0;
    }
    world->switches += switched && after->by == NONE;
    check_unit(world, index);
}

/* --- proposals ---------------------------------------------------------------------------------------------------- */

/* Each vote of the proposal was really said, of this record, and not long ago. */
static unsigned true_votes(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal,
                           bool *elsewhere)
{
    uint64_t stale_us = CORE_VOTE_US + world->delay_us + world->jitter_us + 2 * CORE_TICK_US;
    uint8_t primary = world->gateways[index].records[unit].primary;
    uint8_t site = world->units[host_of(world, unit, primary)].site;
    unsigned votes = 0;
    for (unsigned i = 0; i < proposal->ballot_count; i++) {
        const struct core_ballot *ballot = &proposal->ballots[i];
        if (ballot->reason == CORE_FINE)
            continue;
        const struct gateway *voter = &world->gateways[ballot->gateway - gateway_id(0)];
        uint64_t said_us = voter->said_us[unit][proposal->matter];
        if (said_us == 0 || world->now_us - said_us > stale_us ||
            voter->said_epoch[unit][proposal->matter] != proposal->from_epoch)
            sim_fail(world, "gateway %u counts a vote on unit %u that gateway %lu did not give", index, unit,
                     (unsigned long)(ballot->gateway - gateway_id(0)));
        votes++;
        *elsewhere = *elsewhere || voter->site != site;
    }
    return votes;
}

static void check_votes(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal)
{
    bool elsewhere = false, anyone_elsewhere = false;
    uint8_t primary = world->gateways[index].records[unit].primary;
    uint8_t site = world->units[host_of(world, unit, primary)].site;
    for (uint8_t i = 0; i < world->gateway_count; i++)
        anyone_elsewhere = anyone_elsewhere || world->gateways[i].site != site;
    if (true_votes(world, index, unit, proposal, &elsewhere) * 2 <= world->gateway_count)
        sim_fail(world, "gateway %u proposes unit %u without a majority", index, unit);
    if (anyone_elsewhere && !elsewhere)
        sim_fail(world, "gateway %u proposes unit %u without a vote from elsewhere", index, unit);
}

static void check_standby(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal)
{
    const struct sim_record *record = &world->gateways[index].records[unit];
    uint8_t standby = (uint8_t)(proposal->primary - broker_id(unit, 0));
    if (standby >= MEMBERS || standby == record->primary || (record->in_sync >> standby & 1) == 0) {
        sim_fail(world, "gateway %u proposes a primary of unit %u that is not in sync", index, unit);
        return;
    }
    const struct broker *broker = &world->units[unit].brokers[standby];
    const struct agent *guard = &world->agents[host_of(world, unit, standby)];
    if (proposal->run_id != record->runs[standby])
        sim_fail(world, "gateway %u proposes another run for unit %u than was in sync", index, unit);
    uint64_t told_us = world->now_us - (uint64_t)world->policy.gap_ms * 1000 - TRAVEL_US;
    if ((!broker->up && broker->down_us < told_us) || (broker->sick_us < told_us && broker->well_us > world->now_us))
        sim_fail(world, "gateway %u moves unit %u to a broker that is dead or unwell", index, unit);
    uint64_t seen_us = guard->sees_us[unit], steady_us = guard->steady_us[unit];
    if (guard->up && seen_us != 0 && world->now_us - seen_us < 15000 && world->now_us - steady_us > WHILE_US &&
        sim_reaches(world, place_of_host(host_of(world, unit, standby)), place_of_gateway(index)))
        sim_fail(world, "gateway %u moves unit %u although the standby sees the primary", index, unit);
}

/* Nobody's work is disturbed: neither the unit nor its consumers go where an operator is at work. */
static void check_drained(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal)
{
    const struct sim_record *records = world->gateways[index].records, *record = &records[unit];
    uint8_t standby = world->units[unit].standby;
    bool consumer_moves = standby != NONE && proposal->consumer == unit_id(standby) && record->consumer != standby;
    if (proposal->primary == broker_id(unit, 0) && record->primary != 0 && record->drained)
        sim_fail(world, "gateway %u moves unit %u back to its drained home", index, unit);
    if (consumer_moves && records[standby].drained)
        sim_fail(world, "gateway %u has unit %u delivered by one that is drained", index, unit);
}

static void check_move(struct world *world, uint8_t index, uint8_t unit, const struct core_proposal *proposal)
{
    const struct gateway *gateway = &world->gateways[index];
    uint8_t standby = world->units[unit].standby;
    check_votes(world, index, unit, proposal);
    if (proposal->matter == CORE_PRIMARY)
        check_standby(world, index, unit, proposal);
    check_drained(world, index, unit, proposal);
    if (standby != NONE && world->units[standby].capacity > 0 &&
        world->units[standby].load + world->units[unit].load > world->units[standby].capacity)
        sim_fail(world, "gateway %u moves unit %u to a unit without room", index, unit);
    if (gateway->frozen_us - gateway->froze_us > 30000 && world->now_us - gateway->frozen_us < 30000)
        sim_fail(world, "gateway %u proposes unit %u right after it was stopped", index, unit);
    if (world->noise_only)
        sim_fail(world, "gateway %u proposes unit %u for mere noise", index, unit);
}

void check_proposal(struct world *world, uint8_t index, const struct core_proposal *proposal)
{
    const struct gateway *gateway = &world->gateways[index];
    uint8_t unit = (uint8_t)(proposal->unit - unit_id(0));
    if (proposal->from_epoch == 0) {
        sim_fail(world, "gateway %u proposes unit %u, which has no record", index, unit);
        return;
    }
    if (proposal->plan == CORE_PLAN_NONE)
        check_move(world, index, unit, proposal);
    if (!gateway->store_up)
        sim_fail(world, "gateway %u proposes unit %u while the store is away", index, unit);
    if (gateway->proposing[unit] != 0 && gateway->proposing_from[unit] == proposal->from_epoch)
        sim_fail(world, "gateway %u proposes unit %u twice at once", index, unit);
}
/* --- after all is mended ------------------------------------------------------------------------------------------ */

static bool serves(const struct world *world, uint8_t index)
{
    const struct unit *unit = &world->units[index];
    for (uint8_t i = 0; i < world->gateway_count; i++)
        if (world->now_us - unit->served_us[i] > 300000)
            return false;
    return true;
}

/* Nobody but an operator can or may help: and the operators were told. */
static bool waits_for_operator(const struct world *world, uint8_t index)
{
    const struct sim_record *record = &world->store[index];
    const struct broker *brokers = world->units[index].brokers;
    bool lost = brokers[record->primary].run != record->runs[record->primary];
    for (uint8_t i = 0; i < world->gateway_count; i++) {
        enum core_refusal refusal = core_find_unit(&world->gateways[i].core, unit_id(index))->refusal;
        bool rail = refusal == CORE_NOT_AUTOMATIC || refusal == CORE_COOLING_DOWN || refusal == CORE_FROZEN ||
                    refusal == CORE_NO_HEADROOM || refusal == CORE_DRAINED || refusal == CORE_NO_STANDBY ||
                    refusal == CORE_STANDBY_RESTARTED;
        if (!lost || !rail || (world->gateways[i].alarms >> index & 1) == 0)
            return false;
    }
    return true;
}

void check_end(struct world *world)
{
    for (uint8_t unit = 0; unit < world->unit_count; unit++) {
        const struct sim_record *record = &world->store[unit];
        check_unit(world, unit);
        if (record->epoch == 0)
            continue;
        for (uint8_t i = 0; i < world->gateway_count; i++)
            if (world->gateways[i].records[unit].epoch != record->epoch)
                sim_fail(world, "gateway %u does not know the record of unit %u", i, unit);
        if (!serves(world, unit) && !waits_for_operator(world, unit))
            sim_fail(world, "unit %u does not serve, although all is mended (%s)", unit,
                     core_refusal_name(core_find_unit(&world->gateways[0].core, unit_id(unit))->refusal));
    }
}
