/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_plan.h"

static const struct core_member *member_of(const struct core_record *record, uint64_t broker)
{
    for (unsigned i = 0; i < record->member_count; i++)
        if (record->members[i].broker == broker)
            return &record->members[i];
    return NULL;
}

void core_plan_record(const struct core *core, struct core_unit *unit, const struct core_record *before)
{
    const struct core_record *record = &unit->record;
    if (!record->hold || !before->hold || record->target != before->target)
        unit->held_us = record->hold ? core->now_us : 0;
    unit->plan = !record->hold                               ? CORE_PLAN_NONE
                 : member_of(record, record->target) == NULL ? CORE_PLAN_LOST
                                                             : CORE_PLAN_HELD;
}

/* The first word of the stamp counts: whatever the primary takes later, agents wrote, and no client waits for it. */
static void hear_primary(struct core_unit *unit, const struct core_broker_seen *seen)
{
    if (unit->plan != CORE_PLAN_HELD || !seen->primary || seen->epoch < unit->record.epoch)
        return;
    unit->plan = CORE_PLAN_FENCED;
    unit->fence_offset = seen->offset;
}

static void hear_target(struct core_unit *unit, const struct core_broker_seen *seen)
{
    if (unit->plan == CORE_PLAN_FENCED && !seen->primary && seen->healthy && seen->offset >= unit->fence_offset)
        unit->plan = CORE_PLAN_LEVEL;
}

void core_plan_hear(struct core_unit *unit, const struct core_broker_seen *seen)
{
    const struct core_member *member = member_of(&unit->record, seen->broker);
    if (unit->plan == CORE_PLAN_NONE || member == NULL || member->run_id != seen->run_id)
        return;
    if (seen->broker == unit->record.primary)
        hear_primary(unit, seen);
    else if (seen->broker == unit->record.target)
        hear_target(unit, seen);
}

bool core_plan_propose(const struct core *core, const struct core_unit *unit, struct core_proposal *proposal)
{
    const struct core_record *record = &unit->record;
    uint64_t since_us = core->now_us - unit->held_us;
    bool level = unit->plan == CORE_PLAN_LEVEL;
    bool over = unit->plan == CORE_PLAN_LOST || since_us >= CORE_HOLD_US;
    if (unit->plan == CORE_PLAN_NONE || unit->proposed_us != 0 || !core->store_up || !(level || over))
        return false;
    const struct core_member *next = member_of(record, level ? record->target : record->primary);
    *proposal = (struct core_proposal){.unit = unit->facts.id,
                                       .plan = unit->plan,
                                       .primary = level ? record->target : record->primary,
                                       .run_id = next != NULL ? next->run_id : 0,
                                       .consumer = level ? record->target_consumer : record->consumer,
                                       .held_us = since_us};
    return true;
}
