/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_text.h"

#include "common/measure.h"

const char *core_reason_name(enum core_reason reason)
{
    static const char *const names[] = {
        [CORE_FINE] = "fine",           [CORE_SILENT] = "silent",       [CORE_REFUSED] = "refused",
        [CORE_CONDEMNED] = "condemned", [CORE_RESTARTED] = "restarted", [CORE_FAILING] = "failing",
    };
    return reason < COUNT_OF(names) ? names[reason] : "unknown";
}

const char *core_refusal_name(enum core_refusal refusal)
{
    static const char *const names[CORE_REFUSALS] = {
        [CORE_MAY_MOVE] = "it may be moved",
        [CORE_NOT_SUSPECTED] = "it is not suspected",
        [CORE_NOT_AUTOMATIC] = "the rules leave failover to operators",
        [CORE_NO_RECORD] = "it has no record",
        [CORE_DOUBTS_ITSELF] = "this gateway lagged, or most units fell silent together",
        [CORE_COOLING_DOWN] = "it was moved not long ago",
        [CORE_DRAINED] = "where it would go is being worked on",
        [CORE_NO_STANDBY] = "no other broker is in sync",
        [CORE_STANDBY_RESTARTED] = "the standby is not the run that was in sync",
        [CORE_STANDBY_UNWELL] = "the standby is not well",
        [CORE_STANDBY_OBJECTS] = "the standby still sees the primary",
        [CORE_NO_HEADROOM] = "the standby has no room for its load",
        [CORE_FROZEN] = "as many units as may be were moved",
        [CORE_STORE_AWAY] = "the store is away",
        [CORE_NO_MAJORITY] = "no majority of the gateways agrees",
        [CORE_NO_OTHER_SITE] = "no gateway of another datacentre agrees",
        [CORE_UNDECIDED] = "a proposal is under way",
    };
    return refusal < CORE_REFUSALS ? names[refusal] : "unknown";
}

const char *core_plan_name(enum core_plan plan)
{
    static const char *const names[] = {
        [CORE_PLAN_NONE] = "none",   [CORE_PLAN_HELD] = "held", [CORE_PLAN_FENCED] = "fenced",
        [CORE_PLAN_LEVEL] = "level", [CORE_PLAN_LOST] = "lost",
    };
    return plan < COUNT_OF(names) ? names[plan] : "unknown";
}

static void explain_plan(const struct core_proposal *proposal, struct buf *out)
{
    static const char *const reasons[] = {
        [CORE_PLAN_NONE] = "",
        [CORE_PLAN_HELD] = "the primary was not heard to be fenced",
        [CORE_PLAN_FENCED] = "the standby was not heard to be level",
        [CORE_PLAN_LEVEL] = "",
        [CORE_PLAN_LOST] = "the standby is not in sync any more",
    };
    double held_ms = (double)proposal->held_us / 1000;
    if (proposal->plan == CORE_PLAN_LEVEL)
        buf_printf(out, "planned switch: the standby was level after %.1f ms", held_ms);
    else
        buf_printf(out, "planned switch given up after %.1f ms: %s", held_ms, reasons[proposal->plan]);
}

void core_explain(const struct core_proposal *proposal, core_name_fn *name, void *arg, struct buf *out)
{
    unsigned against = 0;
    if (proposal->plan != CORE_PLAN_NONE) {
        explain_plan(proposal, out);
        return;
    }
    buf_printf(out, "%s suspected:", proposal->matter == CORE_PRIMARY ? "primary" : "consumers");
    for (unsigned i = 0; i < proposal->ballot_count; i++) {
        const struct core_ballot *ballot = &proposal->ballots[i];
        bool abstains = ballot->abstains && ballot->reason == CORE_FINE;
        buf_printf(out, "%s %s %s", i > 0 ? "," : "", name(arg, ballot->gateway),
                   abstains ? "abstains" : core_reason_name(ballot->reason));
        against += ballot->reason != CORE_FINE;
    }
    buf_printf(out, "; %u votes, %u needed", against, proposal->needed);
}
