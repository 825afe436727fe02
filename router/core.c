/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core.h"

#include <string.h>

#include "common/invariant.h"
#include "router/core_evidence.h"
#include "router/core_plan.h"
#include "router/core_rules.h"
#include "router/core_votes.h"

#define ASK_EVERY_US 50000
#define LASTING_US   1000000 /* what stays wrong for so long is told to operators, and may freeze failovers */
#define LEARNING_US  500000
#define WINDOW_US(c) ((uint64_t)(c)->policy.window_ms * 1000)
#define CLEAN_US(c)  ((uint64_t)(c)->policy.clean_ms * 1000)

/* --- finding ------------------------------------------------------------------------------------------------------ */

struct core_unit *core_find_unit(const struct core *core, uint64_t id)
{
    for (unsigned i = 0; i < core->unit_count && id != 0; i++)
        if (core->unit_ids[i] == id)
            return (struct core_unit *)&core->units[i];
    return NULL;
}

unsigned core_find_gateway(const struct core *core, uint64_t id)
{
    unsigned i = 0;
    while (i < core->gateway_count && core->gateways[i].id != id)
        i++;
    return i;
}

struct core_broker *core_find_broker(const struct core_unit *unit, uint64_t id)
{
    for (unsigned i = 0; i < unit->facts.broker_count && id != 0; i++)
        if (unit->brokers[i].id == id)
            return (struct core_broker *)&unit->brokers[i];
    return NULL;
}

struct core_broker *core_primary(const struct core_unit *unit)
{
    return core_find_broker(unit, unit->record.epoch != 0 ? unit->record.primary : unit->facts.brokers[0]);
}

/* --- acting ------------------------------------------------------------------------------------------------------- */

static struct core_action *act(struct core_actions *actions, enum core_action_kind kind, const struct core_unit *unit)
{
    if (actions->count == CORE_ACTIONS_MOST)
        return NULL;
    struct core_action *action = &actions->items[actions->count++];
    action->kind = kind;
    action->unit = unit->facts.id;
    return action;
}

static void ask(struct core *core, struct core_unit *unit, struct core_actions *actions)
{
    if (unit->asked_us != 0 && core->now_us - unit->asked_us < ASK_EVERY_US)
        return;
    if (act(actions, CORE_ASK, unit) != NULL)
        unit->asked_us = core->now_us;
}

/* Where the consumers are to be: with the standby, if the unit's own are silent and the standby's are there. */
static uint64_t next_consumer(const struct core *core, const struct core_unit *unit)
{
    const struct core_unit *standby = core_find_unit(core, unit->facts.standby);
    bool there = standby != NULL && core_consumes(core, standby) && !standby->record.drained;
    return !core_consumes(core, unit) && there ? standby->facts.id : unit->record.consumer;
}

static uint64_t run_of_primary(const struct core_unit *unit)
{
    for (unsigned i = 0; i < unit->record.member_count; i++)
        if (unit->record.members[i].broker == unit->record.primary)
            return unit->record.members[i].run_id;
    return 0;
}

static void propose(struct core *core, struct core_unit *unit, enum core_matter matter, struct core_actions *actions)
{
    struct core_action *action = act(actions, CORE_PROPOSE, unit);
    if (action == NULL)
        return;
    const struct core_broker *standby = matter == CORE_PRIMARY ? core_standby(core, unit) : NULL;
    action->proposal = (struct core_proposal){
        .unit = unit->facts.id,
        .from_epoch = unit->record.epoch,
        .matter = matter,
        .primary = standby != NULL ? standby->id : unit->record.primary,
        .run_id = standby != NULL ? standby->run_id : run_of_primary(unit),
        .consumer = next_consumer(core, unit),
    };
    core_collect_ballots(core, unit, &action->proposal);
    unit->proposed_us = core->now_us;
    unit->proposal_ended = false;
}

/* What an operator asked for needs no votes: it rests on what the brokers hold. */
static void switch_over(struct core *core, struct core_unit *unit, struct core_actions *actions)
{
    struct core_proposal proposal;
    if (!core_plan_propose(core, unit, &proposal))
        return;
    struct core_action *action = act(actions, CORE_PROPOSE, unit);
    if (action == NULL)
        return;
    action->proposal = proposal;
    action->proposal.from_epoch = unit->record.epoch;
    unit->proposed_us = core->now_us;
    unit->proposal_ended = false;
}

/* What is wrong for long is told once, and again when it was right for long. */
static void alarm_or_calm(struct core *core, struct core_unit *unit, struct core_actions *actions)
{
    bool lasting = unit->suspected_us != 0 && core->now_us - unit->suspected_us >= LASTING_US;
    bool clean = unit->suspected_us == 0 && core->now_us - unit->cleared_us >= CLEAN_US(core);
    if (!unit->alarmed && lasting) {
        struct core_action *action = act(actions, CORE_ALARM, unit);
        if (action != NULL)
            action->refusal = unit->refusal;
        unit->alarmed = action != NULL;
    } else if (unit->alarmed && clean) {
        unit->alarmed = act(actions, CORE_CALM, unit) == NULL;
    }
}

/* Enough is moved, and one more unit stays suspected: something is wrong that moving units does not mend. */
static void freeze(struct core *core, const struct core_unit *unit)
{
    bool lasting = unit->suspected_us != 0 && core->now_us - unit->suspected_us >= LASTING_US;
    bool spent = core->now_us < core->frozen_us || core_is_spent(core, unit);
    if (lasting && unit->refusal == CORE_FROZEN && spent)
        core->frozen_us = core->now_us + WINDOW_US(core);
}

/* The primary first, for its proposal takes the consumers along; each may be moved where the other may not. */
static void decide(struct core *core, struct core_unit *unit, struct core_actions *actions)
{
    unit->refusal = CORE_NOT_SUSPECTED;
    for (enum core_matter matter = 0; matter < CORE_MATTERS; matter++) {
        enum core_refusal refusal = core_objection(core, unit, matter);
        if (refusal == CORE_MAY_MOVE)
            propose(core, unit, matter, actions);
        if (unit->refusal == CORE_NOT_SUSPECTED)
            unit->refusal = refusal;
    }
    switch_over(core, unit, actions);
    freeze(core, unit);
    alarm_or_calm(core, unit, actions);
}

static void consider(struct core *core, struct core_unit *unit, struct core_actions *actions)
{
    core_judge(core, unit);
    if (core_cast_vote(core, unit))
        act(actions, CORE_VOTE, unit);
    decide(core, unit, actions);
    if (unit->proposed_us != 0 && unit->proposal_ended)
        ask(core, unit, actions);
}

/* --- configuration ------------------------------------------------------------------------------------------------ */

static void take_facts(struct core *core, struct core_unit *unit, const struct core_unit_facts *facts)
{
    struct core_broker before[CORE_BROKERS_MOST];
    INVARIANT(facts->broker_count <= CORE_BROKERS_MOST);
    if (unit->facts.id == 0) {
        unit->since_us = core->now_us;
        unit->moved_us = INT64_MIN;
    }
    struct core_unit_facts old = unit->facts;
    memcpy(before, unit->brokers, sizeof(before));
    memset(unit->brokers, 0, sizeof(unit->brokers));
    unit->facts = *facts;
    for (unsigned i = 0; i < facts->broker_count; i++) {
        for (unsigned j = 0; j < old.broker_count; j++)
            if (before[j].id == facts->brokers[i])
                unit->brokers[i] = before[j];
        unit->brokers[i].id = facts->brokers[i];
    }
}

static void swap_units(struct core_unit *a, struct core_unit *b)
{
    struct core_unit kept = *a;
    *a = *b;
    *b = kept;
}

/* Brings the unit of that id to place TO, behind which the old ones stand; makes a new one where there is none. */
static void place_unit(struct core *core, uint64_t id, unsigned to)
{
    unsigned from = to;
    while (from < core->unit_count && core->units[from].facts.id != id)
        from++;
    if (from < core->unit_count) {
        if (from != to)
            swap_units(&core->units[from], &core->units[to]);
        return;
    }
    if (to < core->unit_count && core->unit_count < CORE_UNITS_MOST)
        core->units[core->unit_count++] = core->units[to];
    if (to == core->unit_count)
        core->unit_count++;
    memset(&core->units[to], 0, sizeof(core->units[to]));
}

static void configure(struct core *core, const struct core_config *config)
{
    INVARIANT(config->unit_count <= CORE_UNITS_MOST && config->gateway_count <= CORE_GATEWAYS_MOST);
    if (core->self == 0)
        core->doubts_us = UINT64_MAX;
    core->policy = config->policy;
    core->self = config->self;
    memcpy(core->gateways, config->gateways, config->gateway_count * sizeof(*config->gateways));
    core->gateway_count = config->gateway_count;
    for (unsigned i = 0; i < config->unit_count; i++) {
        place_unit(core, config->units[i].id, i);
        take_facts(core, &core->units[i], &config->units[i]);
        core->unit_ids[i] = config->units[i].id;
    }
    core->unit_count = config->unit_count;
    core_forget_votes(core);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void take_record(struct core *core, struct core_unit *unit, const struct core_record *record)
{
    INVARIANT(record->member_count <= CORE_BROKERS_MOST);
    if (record->epoch < unit->record.epoch)
        return;
    if (record->epoch > unit->record.epoch || unit->proposal_ended)
        unit->proposed_us = 0;
    unit->moved_us =
        record->moved_ago_us != UINT64_MAX ? (int64_t)core->now_us - (int64_t)record->moved_ago_us : INT64_MIN;
    if (record->epoch == unit->record.epoch)
        return;
    struct core_record before = unit->record;
    unit->record = *record;
    core_plan_record(core, unit, &before);
    if (before.epoch != 0 && before.primary != record->primary)
        unit->led_us = core->now_us;
    unit->since_us = core->now_us;
    unit->suspected_us = 0;
    unit->cleared_us = core->now_us;
    unit->ballot_us = 0;
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static void hear_broker(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    struct core_unit *unit = core_find_unit(core, event->broker.unit);
    if (unit == NULL)
        return;
    core_hear_broker(core, unit, &event->broker);
    core_plan_hear(unit, &event->broker);
    if (event->broker.epoch > unit->record.epoch)
        ask(core, unit, actions);
    consider(core, unit, actions);
}

static void hear_agent(struct core *core, const struct core_agent_seen *seen)
{
    struct core_unit *unit = core_find_unit(core, seen->unit);
    if (unit != NULL && seen->consumes)
        unit->agent_us = core->now_us;
}

static void hear_peer(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    struct core_unit *unit = core_find_unit(core, event->peer.unit);
    if (unit == NULL)
        return;
    core_hear_vote(core, unit, &event->peer);
    if (event->peer.epoch > unit->record.epoch)
        ask(core, unit, actions);
    consider(core, unit, actions);
}

static void hear_line(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    struct core_unit *unit = core_find_unit(core, event->line.unit);
    struct core_broker *broker = unit != NULL ? core_find_broker(unit, event->line.broker) : NULL;
    if (broker == NULL)
        return;
    core_hear_line(core, unit, broker, event->line.kind);
    if (event->line.kind != CORE_LINE_OK && event->line.kind != CORE_LINE_ALIVE)
        consider(core, unit, actions);
}

static void hear_record(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    struct core_unit *unit = core_find_unit(core, event->record.unit);
    if (unit == NULL)
        return;
    take_record(core, unit, &event->record);
    consider(core, unit, actions);
}

/* Lost or unknown, the store has the truth; a compare-and-set that comes late changes nothing twice. */
static void hear_outcome(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    struct core_unit *unit = core_find_unit(core, event->proposed.unit);
    if (unit == NULL || unit->proposed_us == 0)
        return;
    unit->proposal_ended = true;
    if (event->proposed.result != CORE_WON)
        ask(core, unit, actions);
}

/* Who has just begun must learn first which units were moved of late. */
static void hear_store(struct core *core, bool up)
{
    if (up && core->doubts_us == UINT64_MAX)
        core->doubts_us = core->now_us + LEARNING_US;
    core->store_up = up;
}

static void tick(struct core *core, struct core_actions *actions)
{
    core->ticked_us = core->now_us;
    for (unsigned i = 0; i < core->unit_count; i++)
        core_judge(core, &core->units[i]);
    for (unsigned i = 0; i < core->unit_count; i++)
        consider(core, &core->units[i], actions);
}

void core_step(struct core *core, const struct core_event *event, struct core_actions *actions)
{
    INVARIANT(event->now_us >= core->now_us);
    core->now_us = event->now_us;
    actions->count = 0;
    core_note_lag(core, event->kind == CORE_TICK ? event->lag_us : 0);
    switch (event->kind) {
    case CORE_TICK:
        tick(core, actions);
        break;
    case CORE_CONFIG:
        configure(core, event->config);
        break;
    case CORE_RECORD:
        hear_record(core, event, actions);
        break;
    case CORE_BROKER:
        hear_broker(core, event, actions);
        break;
    case CORE_AGENT:
        hear_agent(core, &event->agent);
        break;
    case CORE_PEER:
        hear_peer(core, event, actions);
        break;
    case CORE_LINE:
        hear_line(core, event, actions);
        break;
    case CORE_LOAD: {
        struct core_unit *unit = core_find_unit(core, event->load.unit);
        if (unit != NULL)
            unit->load_rps = event->load.rps;
        break;
    }
    case CORE_PROPOSED:
        hear_outcome(core, event, actions);
        break;
    case CORE_STORE:
        hear_store(core, event->store_up);
        break;
    }
}
