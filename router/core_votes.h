/* SPDX-License-Identifier: Apache-2.0
 *
 * Votes against a unit's primary or consumers: this gateway's own, and those that the others told. A vote names the
 * record that it judges by, lapses within milliseconds, and counts once for each registered gateway. Part of the core.
 */
#ifndef ROUTER_CORE_VOTES_H
#define ROUTER_CORE_VOTES_H

#include "router/core.h"

struct core_tally {
    unsigned against, needed;
    bool other_site; /* some vote comes from another datacentre than the primary's, or there is no gateway elsewhere */
};

void core_hear_vote(struct core *core, struct core_unit *unit, const struct core_vote *vote);
void core_forget_votes(struct core *core);

/* Fills in this gateway's own vote. Whether it changed. */
bool core_cast_vote(struct core *core, struct core_unit *unit);

void core_tally(const struct core *core, const struct core_unit *unit, enum core_matter matter,
                struct core_tally *tally);

/* The votes behind PROPOSAL, whose unit and matter are filled in. */
void core_collect_ballots(const struct core *core, const struct core_unit *unit, struct core_proposal *proposal);

#endif
