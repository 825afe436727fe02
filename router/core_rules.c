/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_rules.h"

#include "router/core_evidence.h"
#include "router/core_votes.h"

/* --- helpers ------------------------------------------------------------------------------------------------------ */

static uint64_t since_moved_us(const struct core *core, const struct core_unit *unit)
{
    return unit->moved_us == INT64_MIN ? UINT64_MAX : (uint64_t)((int64_t)core->now_us - unit->moved_us);
}

static uint64_t window_us(const struct core *core)
{
    return (uint64_t)core->policy.window_ms * 1000;
}

static unsigned movable_units(const struct core *core)
{
    unsigned share = core->unit_count * core->policy.max_share / 100;
    return share > core->policy.max_units ? share : core->policy.max_units;
}

static bool is_drained_home(const struct core_unit *unit, uint64_t broker)
{
    return unit->record.drained && broker == unit->facts.brokers[0];
}

/* Where there are several, one that nothing is to be said against. */
static const struct core_member *standby_member(const struct core *core, const struct core_unit *unit)
{
    const struct core_member *first = NULL, *able = NULL;
    for (unsigned i = 0; i < unit->record.member_count; i++) {
        const struct core_member *member = &unit->record.members[i];
        const struct core_broker *broker = core_find_broker(unit, member->broker);
        if (member->broker == unit->record.primary || broker == NULL)
            continue;
        bool is_able =
            core_is_well(core, broker) && !is_drained_home(unit, member->broker) && broker->run_id == member->run_id;
        if (is_able && core_is_clean(core, broker))
            return member;
        able = able == NULL && is_able ? member : able;
        first = first != NULL ? first : member;
    }
    return able != NULL ? able : first;
}

const struct core_broker *core_standby(const struct core *core, const struct core_unit *unit)
{
    const struct core_member *member = standby_member(core, unit);
    return member != NULL ? core_find_broker(unit, member->broker) : NULL;
}

static const struct core_unit *standby_unit(const struct core *core, const struct core_unit *unit)
{
    return core_find_unit(core, unit->facts.standby);
}

bool core_is_spent(const struct core *core, const struct core_unit *unit)
{
    unsigned moved = 0;
    for (unsigned i = 0; i < core->unit_count; i++)
        moved += &core->units[i] != unit && since_moved_us(core, &core->units[i]) < window_us(core);
    return moved + 1 > movable_units(core);
}

/* --- rules: each is true where it objects ------------------------------------------------------------------------- */

static bool not_suspected(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)core;
    return unit->suspicion[matter] == CORE_FINE;
}

static bool not_automatic(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)unit, (void)matter;
    return !core->policy.automatic;
}

static bool no_record(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)core, (void)matter;
    return unit->record.epoch == 0;
}

static bool doubts_itself(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)matter;
    return core_doubts(core, unit);
}

static bool led_for_long(const struct core *core, const struct core_unit *unit)
{
    return unit->led_us == 0 || core->now_us - unit->led_us >= (uint64_t)core->policy.cooldown_ms * 1000;
}

/* A unit's consumers may follow its queue, and its queue its consumers: that is one failover. */
static bool cooling_down(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    bool at_home = unit->record.primary == unit->facts.brokers[0];
    bool consumes_itself = unit->record.consumer == 0 || unit->record.consumer == unit->facts.id;
    bool second_half = matter == CORE_PRIMARY ? at_home && !consumes_itself && led_for_long(core, unit)
                                              : consumes_itself && since_moved_us(core, unit) < window_us(core);
    return !second_half && since_moved_us(core, unit) < (uint64_t)core->policy.cooldown_ms * 1000;
}

/* What an operator works on stays out of use until he says that it is ready. */
static bool drained(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    const struct core_unit *host = standby_unit(core, unit);
    const struct core_broker *standby = core_standby(core, unit);
    if (matter == CORE_CONSUMER)
        return host != NULL && host->record.drained;
    return standby != NULL && is_drained_home(unit, standby->id);
}

/* A gateway votes for no more units than may be moved: so no two majorities can move more, though they do not know of
 * each other. */
static bool frozen(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)matter;
    unsigned taken = 0;
    if (core->now_us < unit->rests_us)
        return true;
    for (unsigned i = 0; i < core->unit_count; i++) {
        const struct core_unit *other = &core->units[i];
        bool voted = other->ballot_us != 0 && core->now_us - other->ballot_us < CORE_BALLOT_US;
        taken += other != unit && (voted || since_moved_us(core, other) < window_us(core));
    }
    return core->now_us < core->frozen_us || taken + 1 > movable_units(core);
}

static bool store_away(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)unit, (void)matter;
    return !core->store_up;
}

static bool no_majority(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    struct core_tally tally;
    core_tally(core, unit, matter, &tally);
    return tally.against < tally.needed;
}

static bool no_other_site(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    struct core_tally tally;
    core_tally(core, unit, matter, &tally);
    return !tally.other_site;
}

static bool no_standby(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    return matter == CORE_PRIMARY ? core_standby(core, unit) == NULL : standby_unit(core, unit) == NULL;
}

static bool standby_restarted(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    const struct core_member *member = standby_member(core, unit);
    return matter == CORE_PRIMARY && member != NULL && core_find_broker(unit, member->broker)->run_id != member->run_id;
}

static bool standby_unwell(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    const struct core_broker *standby = core_standby(core, unit);
    if (matter == CORE_CONSUMER)
        return standby_unit(core, unit) != NULL && !core_consumes(core, standby_unit(core, unit));
    return standby != NULL && !(core_is_well(core, standby) && core_is_clean(core, standby));
}

static bool standby_objects(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    const struct core_broker *standby = core_standby(core, unit);
    return matter == CORE_PRIMARY && standby != NULL && standby->sees_primary;
}

bool core_has_room(const struct core *core, const struct core_unit *unit)
{
    const struct core_unit *standby = standby_unit(core, unit);
    return standby == NULL || standby->facts.capacity_rps <= 0 ||
           standby->load_rps + unit->load_rps <= standby->facts.capacity_rps;
}

static bool no_headroom(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)matter;
    return !core_has_room(core, unit);
}

static bool undecided(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    (void)core, (void)matter;
    return unit->proposed_us != 0;
}

typedef bool (*rule_fn)(const struct core *core, const struct core_unit *unit, enum core_matter matter);

/* In the order of enum core_refusal. Up to CORE_FROZEN they stand before the vote, the others before the proposal. */
static const rule_fn rules[CORE_REFUSALS] = {
    [CORE_NOT_SUSPECTED] = not_suspected,   [CORE_NOT_AUTOMATIC] = not_automatic,
    [CORE_NO_RECORD] = no_record,           [CORE_DOUBTS_ITSELF] = doubts_itself,
    [CORE_COOLING_DOWN] = cooling_down,     [CORE_DRAINED] = drained,
    [CORE_NO_STANDBY] = no_standby,         [CORE_STANDBY_RESTARTED] = standby_restarted,
    [CORE_STANDBY_UNWELL] = standby_unwell, [CORE_STANDBY_OBJECTS] = standby_objects,
    [CORE_NO_HEADROOM] = no_headroom,       [CORE_FROZEN] = frozen,
    [CORE_STORE_AWAY] = store_away,         [CORE_NO_MAJORITY] = no_majority,
    [CORE_NO_OTHER_SITE] = no_other_site,   [CORE_UNDECIDED] = undecided,
};

static enum core_refusal first_objection(const struct core *core, const struct core_unit *unit, enum core_matter matter,
                                         enum core_refusal last)
{
    for (enum core_refusal refusal = CORE_NOT_SUSPECTED; refusal <= last; refusal++)
        if ((core->waived & 1U << refusal) == 0 && rules[refusal](core, unit, matter))
            return refusal;
    return CORE_MAY_MOVE;
}

enum core_refusal core_objection_to_vote(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    return first_objection(core, unit, matter, CORE_FROZEN);
}

enum core_refusal core_objection(const struct core *core, const struct core_unit *unit, enum core_matter matter)
{
    return first_objection(core, unit, matter, CORE_UNDECIDED);
}
