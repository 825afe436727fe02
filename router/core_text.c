/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_text.h"

#include "router/core.h"

const char *core_reason_name(enum core_reason reason)
{
    static const char *const names[] = {
        [CORE_FINE] = "fine",           [CORE_SILENT] = "silent",       [CORE_REFUSED] = "refused",
        [CORE_CONDEMNED] = "condemned", [CORE_RESTARTED] = "restarted", [CORE_FAILING] = "failing",
    };
    return reason < sizeof(names) / sizeof(*names) ? names[reason] : "unknown";
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

void core_explain(const struct core_proposal *proposal, core_name_fn *name, void *arg, struct buf *out)
{
    unsigned against = 0;
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
