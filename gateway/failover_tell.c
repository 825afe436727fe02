/* SPDX-License-Identifier: Apache-2.0
 *
 * What the watch has seen change, for people: into its log.
 */
#include <stdio.h>

#include "gateway/failover_state.h"

static void tell_suspicion(struct failover *failover, struct failover_unit *shown, const struct core_unit *unit,
                           enum core_matter matter)
{
    static const char *const matters[CORE_MATTERS] = {"primary", "consumers"};
    char text[160];
    enum core_reason before = shown->shown[matter], now = unit->suspicion[matter];
    shown->shown[matter] = now;
    if ((before == CORE_FINE) == (now == CORE_FINE))
        return;
    stat_add(&failover->stats.failover_suspicions_total, now != CORE_FINE);
    snprintf(text, sizeof(text), "%s %s", matters[matter], core_reason_name(now));
    failover_log_add(&failover->log, now != CORE_FINE ? FAILOVER_SUSPECTED : FAILOVER_CLEARED, shown->unit->name,
                     unit->record.epoch, str_of(text));
}

static void tell_vote(struct failover *failover, struct failover_unit *shown, const struct core_unit *unit)
{
    char text[160];
    bool votes = unit->vote.reasons[CORE_PRIMARY] != CORE_FINE || unit->vote.reasons[CORE_CONSUMER] != CORE_FINE;
    bool begins = votes && !shown->voted;
    shown->voted = votes;
    if (!begins)
        return;
    stat_add(&failover->stats.failover_votes_total, 1);
    snprintf(text, sizeof(text), "primary %s, consumers %s", core_reason_name(unit->vote.reasons[CORE_PRIMARY]),
             core_reason_name(unit->vote.reasons[CORE_CONSUMER]));
    failover_log_add(&failover->log, FAILOVER_VOTED, shown->unit->name, unit->record.epoch, str_of(text));
}

static void tell_promotion(struct failover *failover, struct failover_unit *shown, const struct core_unit *unit)
{
    const struct core_broker *primary = core_find_broker(unit, unit->record.primary);
    if (primary == NULL || unit->record.epoch == 0 || shown->led >= unit->record.epoch || !primary->primary ||
        primary->epoch < unit->record.epoch)
        return;
    shown->led = unit->record.epoch;
    failover_log_add(&failover->log, FAILOVER_PROMOTED, shown->unit->name, unit->record.epoch,
                     str_of(failover_name_of(failover, primary->id)));
}

static void tell_plan(struct failover *failover, struct failover_unit *shown, const struct core_unit *unit)
{
    static const char *const texts[] = {
        [CORE_PLAN_NONE] = "",
        [CORE_PLAN_HELD] = "requests are held",
        [CORE_PLAN_FENCED] = "the primary is fenced",
        [CORE_PLAN_LEVEL] = "the standby is level",
        [CORE_PLAN_LOST] = "the standby is not in sync any more",
    };
    if (shown->planned == unit->plan)
        return;
    shown->planned = unit->plan;
    if (unit->plan != CORE_PLAN_NONE)
        failover_log_add(&failover->log, FAILOVER_PLANNED, shown->unit->name, unit->record.epoch,
                         str_of(texts[unit->plan]));
}

void failover_tell_progress(struct failover *failover, uint64_t id)
{
    struct failover_unit *shown = failover_find_unit(failover, id);
    const struct core_unit *unit = core_find_unit(&failover->core, id);
    if (shown == NULL || unit == NULL)
        return;
    tell_plan(failover, shown, unit);
    tell_promotion(failover, shown, unit);
}

void failover_tell(struct failover *failover)
{
    for (unsigned i = 0; i < failover->unit_count; i++) {
        struct failover_unit *shown = &failover->units[i];
        const struct core_unit *unit = core_find_unit(&failover->core, shown->id);
        for (enum core_matter matter = 0; unit != NULL && matter < CORE_MATTERS; matter++)
            tell_suspicion(failover, shown, unit, matter);
        if (unit == NULL)
            continue;
        tell_vote(failover, shown, unit);
    }
}
