/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_votes.h"

#include <string.h>

#include "router/core_evidence.h"
#include "router/core_rules.h"

void core_hear_vote(struct core *core, struct core_unit *unit, const struct core_vote *vote)
{
    unsigned gateway = core_find_gateway(core, vote->gateway);
    if (gateway == core->gateway_count || vote->gateway == core->self)
        return;
    struct core_heard_vote *heard = &unit->heard[gateway];
    *heard = (struct core_heard_vote){.at_us = core->now_us,
                                      .epoch = vote->epoch,
                                      .abstains = vote->abstains,
                                      .standby_healthy = vote->standby_healthy};
    for (unsigned i = 0; i < CORE_MATTERS; i++)
        heard->reasons[i] = (uint8_t)vote->reasons[i];
}

void core_forget_votes(struct core *core)
{
    for (unsigned i = 0; i < core->unit_count; i++)
        memset(core->units[i].heard, 0, sizeof(core->units[i].heard));
}

static bool same(const struct core_vote *a, const struct core_vote *b)
{
    return a->epoch == b->epoch && a->abstains == b->abstains && a->standby_healthy == b->standby_healthy &&
           memcmp(a->reasons, b->reasons, sizeof(a->reasons)) == 0;
}

/* OTHER would have the vote that UNIT has: at once where it comes first, so that gateways that split their votes come
 * together on one unit; else when the vote for UNIT has led to nothing for long. */
static bool yields(const struct core *core, const struct core_unit *unit, const struct core_unit *other)
{
    bool waits = other != unit && other->refusal == CORE_FROZEN && core->now_us >= other->rests_us;
    bool in_vain = core->now_us - unit->ballots_us > 3 * CORE_BALLOT_US;
    return waits && (other->facts.id < unit->facts.id || in_vain);
}

/* Votes are few, and one that is taken back may still lead to a failover for a while: who yields rests for longer. */
static void spend_ballot(struct core *core, struct core_unit *unit, bool votes)
{
    if (!votes) {
        unit->ballots_us = 0;
        return;
    }
    unit->ballot_us = core->now_us;
    if (unit->ballots_us == 0)
        unit->ballots_us = core->now_us;
    for (unsigned i = 0; i < core->unit_count; i++)
        if (yields(core, unit, &core->units[i]))
            unit->rests_us = core->now_us + 2 * CORE_BALLOT_US;
}

bool core_cast_vote(struct core *core, struct core_unit *unit)
{
    const struct core_broker *standby = core_standby(core, unit);
    struct core_vote vote = {.gateway = core->self,
                             .unit = unit->facts.id,
                             .epoch = unit->record.epoch,
                             .abstains = core_doubts(core, unit),
                             .standby_healthy =
                                 standby != NULL && core_is_well(core, standby) && core_is_clean(core, standby)};
    bool votes = false;
    for (enum core_matter matter = 0; matter < CORE_MATTERS; matter++)
        if (core_objection_to_vote(core, unit, matter) == CORE_MAY_MOVE) {
            vote.reasons[matter] = unit->suspicion[matter];
            votes = true;
        }
    spend_ballot(core, unit, votes);
    bool changed = !same(&unit->vote, &vote);
    unit->vote = vote;
    return changed;
}

/* The present vote of GATEWAY; false where it has said nothing that counts. */
static bool present_vote(const struct core *core, const struct core_unit *unit, unsigned gateway,
                         enum core_matter matter, struct core_ballot *ballot)
{
    const struct core_heard_vote *heard = &unit->heard[gateway];
    ballot->gateway = core->gateways[gateway].id;
    if (ballot->gateway == core->self) {
        ballot->reason = unit->vote.reasons[matter];
        ballot->abstains = unit->vote.abstains;
        return true;
    }
    ballot->reason = heard->reasons[matter];
    ballot->abstains = heard->abstains;
    return heard->at_us != 0 && core->now_us - heard->at_us < CORE_VOTE_US && heard->epoch == unit->record.epoch;
}

/* The datacentre in which the unit's queue is now. */
static uint64_t primary_site(const struct core *core, const struct core_unit *unit)
{
    const struct core_unit *standby = core_find_unit(core, unit->facts.standby);
    bool at_home = unit->record.primary == unit->facts.brokers[0] || standby == NULL;
    return at_home ? unit->facts.datacenter : standby->facts.datacenter;
}

void core_tally(const struct core *core, const struct core_unit *unit, enum core_matter matter,
                struct core_tally *tally)
{
    uint64_t site = primary_site(core, unit);
    bool elsewhere = false, spoke = false;
    *tally = (struct core_tally){.needed = core->gateway_count / 2 + 1};
    for (unsigned i = 0; i < core->gateway_count; i++) {
        struct core_ballot ballot;
        bool other = core->gateways[i].datacenter != site;
        elsewhere = elsewhere || other;
        if (!present_vote(core, unit, i, matter, &ballot) || ballot.reason == CORE_FINE)
            continue;
        tally->against++;
        spoke = spoke || other;
    }
    tally->other_site = spoke || !elsewhere;
}

void core_collect_ballots(const struct core *core, const struct core_unit *unit, struct core_proposal *proposal)
{
    proposal->needed = core->gateway_count / 2 + 1;
    for (unsigned i = 0; i < core->gateway_count; i++)
        if (present_vote(core, unit, i, proposal->matter, &proposal->ballots[proposal->ballot_count]))
            proposal->ballot_count++;
}
