/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_evidence.h"

#define LAG_MOST_US       10000  /* later than this, and we do not trust our own silence */
#define FAILING_US        400000 /* in-band errors alone are a slow proof, but sooner than a standby is struck off */
#define FAILING_FRESH_US  200000
#define MISSED_FRESH_US   50000    /* it is told of each few milliseconds */
#define OK_FRESH_US       10000    /* who serves requests now is not condemned by hearsay */
#define ACQUAINTED_US     1000000  /* whom this gateway never heard may be one to whom it is not connected yet */
#define WARY_MOST         2        /* times that the gap grows by half */
#define WARY_US           10000000 /* without a false alarm, until it shrinks again */
#define TOGETHER_US       100000
#define CONSUMERS_GONE_US 3000000 /* an agent may be restarted; its broker keeps what it did not deliver */
#define HISTORY_STEPS     64

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* --- complaints --------------------------------------------------------------------------------------------------- */

static uint64_t history_step(const struct core *core)
{
    uint64_t width_us = (uint64_t)core->policy.clean_ms * 1000 / HISTORY_STEPS;
    return core->now_us / (width_us > 0 ? width_us : 1);
}

static uint64_t history_bits(const struct core *core, const struct core_history *history)
{
    uint64_t passed = history_step(core) - history->step;
    return passed < HISTORY_STEPS ? history->bits << passed : 0;
}

static void complain(const struct core *core, struct core_history *history)
{
    history->bits = history_bits(core, history) | 1;
    history->step = history_step(core);
}

/* --- patience ----------------------------------------------------------------------------------------------------- */

/* Where a primary that is well was silent for nearly as long as one that is dead, silence proves less: on a machine
 * that is short of processors. As accrual failure detectors do it (Hayashibara et al., 2004), in steps. */
static unsigned wariness(const struct core *core, const struct core_broker *broker)
{
    uint64_t calm = (core->now_us - broker->wary_us) / WARY_US;
    return calm < broker->wary ? broker->wary - (unsigned)calm : 0;
}

static uint64_t heard_us(const struct core_broker *broker)
{
    return later(broker->led_us, broker->ok_us);
}

static uint64_t patience_us(const struct core *core, const struct core_broker *broker)
{
    uint64_t gap_us = core_gap_us(core);
    for (unsigned i = wariness(core, broker); i > 0; i--)
        gap_us += gap_us / 2;
    return heard_us(broker) != 0 ? gap_us : later(gap_us, ACQUAINTED_US);
}

/* UNIT's primary gave a sign of life at AT_US. What this gateway slept through itself was no silence of a broker. */
static void end_silence(const struct core *core, const struct core_unit *unit, struct core_broker *broker,
                        uint64_t at_us)
{
    uint64_t good_us = later(heard_us(broker), unit->since_us);
    bool was_missed = broker->missed_us > good_us && core->now_us >= core->doubts_us;
    if (broker->id != unit->record.primary || heard_us(broker) == 0 || !was_missed ||
        at_us < good_us + patience_us(core, broker))
        return;
    unsigned wary = wariness(core, broker) + 1;
    broker->wary = wary < WARY_MOST ? wary : WARY_MOST;
    broker->wary_us = core->now_us;
}

/* --- what is heard ------------------------------------------------------------------------------------------------ */

void core_hear_broker(struct core *core, struct core_unit *unit, const struct core_broker_seen *seen)
{
    struct core_broker *broker = core_find_broker(unit, seen->broker);
    if (broker == NULL)
        return;
    uint64_t now_us = core->now_us;
    if (broker->pulse_us == 0) /* nothing is known yet of how it fares */
        complain(core, &broker->sick);
    broker->pulse_us = now_us;
    broker->run_id = seen->run_id;
    broker->epoch = seen->epoch;
    broker->healthy = seen->healthy && !seen->gone;
    broker->primary = seen->primary;
    broker->sees_primary = seen->sees_primary;
    if (seen->gone)
        broker->gone_us = now_us;
    if (!broker->healthy) {
        broker->condemned_us = now_us;
        complain(core, &broker->sick);
    } else if (seen->age_us < now_us) {
        broker->heard_us = later(broker->heard_us, now_us - seen->age_us);
        if (seen->primary) {
            end_silence(core, unit, broker, now_us - seen->age_us);
            broker->led_us = later(broker->led_us, now_us - seen->age_us);
        }
    }
}

void core_hear_line(struct core *core, const struct core_unit *unit, struct core_broker *broker,
                    enum core_line_kind kind)
{
    uint64_t now_us = core->now_us;
    switch (kind) {
    case CORE_LINE_OK:
        end_silence(core, unit, broker, now_us);
        broker->ok_us = now_us;
        broker->failing_us = 0;
        break;
    case CORE_LINE_ALIVE:
        end_silence(core, unit, broker, now_us);
        broker->led_us = now_us;
        broker->failing_us = 0;
        break;
    case CORE_LINE_MISSED:
        broker->missed_us = now_us;
        break;
    case CORE_LINE_ERROR:
        broker->error_us = now_us;
        if (broker->failing_us == 0)
            broker->failing_us = now_us;
        break;
    case CORE_LINE_RESET:
        broker->reset_us = now_us;
        break;
    case CORE_LINE_REFUSED:
        broker->refused_us = now_us;
        complain(core, &broker->sick);
        break;
    }
}

void core_note_lag(struct core *core, uint64_t lag_us)
{
    uint64_t since_us = core->now_us - core->ticked_us;
    if (core->ticked_us != 0 && since_us > CORE_TICK_US)
        lag_us = later(lag_us, since_us - CORE_TICK_US);
    if (lag_us > LAG_MOST_US && core->doubts_us != UINT64_MAX)
        core->doubts_us = core->now_us + later(core_gap_us(core), CORE_VOTE_US);
}

/* --- what it means ------------------------------------------------------------------------------------------------ */

static bool within(const struct core *core, uint64_t at_us, uint64_t span_us)
{
    return at_us != 0 && core->now_us - at_us < span_us;
}

bool core_is_well(const struct core *core, const struct core_broker *broker)
{
    uint64_t gap_us = core_gap_us(core);
    return broker->healthy && within(core, broker->pulse_us, gap_us) && within(core, broker->heard_us, gap_us);
}

bool core_is_clean(const struct core *core, const struct core_broker *broker)
{
    return history_bits(core, &broker->sick) == 0;
}

static uint64_t recorded_run(const struct core_unit *unit, uint64_t broker)
{
    for (unsigned i = 0; i < unit->record.member_count; i++)
        if (unit->record.members[i].broker == broker)
            return unit->record.members[i].run_id;
    return 0;
}

static bool was_restarted(const struct core_unit *unit, const struct core_broker *broker)
{
    uint64_t run_id = recorded_run(unit, broker->id);
    return broker->pulse_us > unit->since_us && broker->run_id != 0 && run_id != 0 && broker->run_id != run_id;
}

/* A bad word counts while it is fresh, was said of this record's primary, and no request succeeded since. */
static bool stands(const struct core *core, const struct core_unit *unit, const struct core_broker *broker,
                   uint64_t said_us)
{
    return within(core, said_us, core_gap_us(core)) && said_us > unit->since_us && said_us > broker->ok_us;
}

/* Nobody says that it leads, and it does not say so itself. A gateway that does not get round to asking cannot tell a
 * silent broker from its own deafness. Where there is nobody to move to, nobody asks. */
static bool is_silent(const struct core *core, const struct core_unit *unit, const struct core_broker *broker)
{
    uint64_t good_us = later(heard_us(broker), unit->since_us);
    if (core->now_us - good_us < patience_us(core, broker))
        return false;
    return unit->facts.broker_count < 2 ||
           (broker->missed_us > good_us && within(core, broker->missed_us, MISSED_FRESH_US));
}

static enum core_reason suspect_primary(const struct core *core, const struct core_unit *unit,
                                        const struct core_broker *broker)
{
    bool serves = within(core, broker->ok_us, OK_FRESH_US);
    if (broker->reset_us != 0 && stands(core, unit, broker, broker->refused_us))
        return CORE_REFUSED;
    if (!serves && stands(core, unit, broker, broker->gone_us))
        return CORE_REFUSED;
    if (was_restarted(unit, broker))
        return CORE_RESTARTED;
    if (!serves && stands(core, unit, broker, broker->condemned_us))
        return CORE_CONDEMNED;
    if (is_silent(core, unit, broker))
        return CORE_SILENT;
    if (broker->failing_us != 0 && core->now_us - later(broker->failing_us, unit->since_us) >= FAILING_US &&
        within(core, broker->error_us, FAILING_FRESH_US))
        return CORE_FAILING;
    return CORE_FINE;
}

bool core_is_unheard(const struct core *core, const struct core_unit *unit)
{
    const struct core_broker *primary = core_primary(unit);
    return primary != NULL && !within(core, later(primary->led_us, primary->ok_us), core_gap_us(core) * 3 / 8);
}

uint64_t core_silent_us(const struct core *core, const struct core_unit *unit)
{
    const struct core_broker *primary = core_primary(unit);
    return later(heard_us(primary), unit->since_us) + patience_us(core, primary);
}

bool core_consumes(const struct core *core, const struct core_unit *unit)
{
    return within(core, unit->agent_us, core_gap_us(core));
}

/* A unit whose queue has moved needs its consumers at once; else they are given time to come back. */
static enum core_reason suspect_consumers(const struct core *core, const struct core_unit *unit)
{
    bool at_home = core_primary(unit) == &unit->brokers[0];
    uint64_t patience_us = at_home ? CONSUMERS_GONE_US : core_gap_us(core);
    uint64_t good_us = later(unit->agent_us, unit->since_us);
    bool elsewhere = unit->record.consumer != 0 && unit->record.consumer != unit->facts.id;
    return !elsewhere && core->now_us - good_us >= patience_us ? CORE_SILENT : CORE_FINE;
}

void core_judge(struct core *core, struct core_unit *unit)
{
    const struct core_broker *primary = core_primary(unit);
    if (primary == NULL)
        return;
    unit->suspicion[CORE_PRIMARY] = suspect_primary(core, unit, primary);
    unit->suspicion[CORE_CONSUMER] = suspect_consumers(core, unit);
    bool suspected = unit->suspicion[CORE_PRIMARY] != CORE_FINE || unit->suspicion[CORE_CONSUMER] != CORE_FINE;
    if (suspected && unit->suspected_us == 0)
        unit->suspected_us = core->now_us;
    if (!suspected && (unit->suspected_us != 0 || unit->cleared_us == 0))
        unit->cleared_us = core->now_us;
    if (!suspected)
        unit->suspected_us = 0;
}

/* --- doubt -------------------------------------------------------------------------------------------------------- */

/* When anything at all was heard of the unit's primary. */
static uint64_t last_sign_us(const struct core_unit *unit, const struct core_broker *primary)
{
    return later(later(primary->pulse_us, primary->ok_us), unit->since_us);
}

/* More than half of the units fell silent when this one did: rather than they all, we are cut off. */
static bool fell_silent_together(const struct core *core, const struct core_unit *unit)
{
    const struct core_broker *mine = core_primary(unit);
    uint64_t sign_us = last_sign_us(unit, mine);
    unsigned silent = 0, all = 0;
    for (unsigned i = 0; i < core->unit_count; i++) {
        const struct core_unit *other = &core->units[i];
        const struct core_broker *primary = core_primary(other);
        if (primary == NULL)
            continue;
        uint64_t other_us = last_sign_us(other, primary);
        uint64_t apart_us = other_us > sign_us ? other_us - sign_us : sign_us - other_us;
        silent += core->now_us - other_us >= core_gap_us(core) / 2 && apart_us <= TOGETHER_US;
        all++;
    }
    return silent > 1 && silent * 2 > all;
}

bool core_doubts(const struct core *core, const struct core_unit *unit)
{
    if (core->now_us < core->doubts_us)
        return true;
    return unit->suspicion[CORE_PRIMARY] == CORE_SILENT && fell_silent_together(core, unit);
}
