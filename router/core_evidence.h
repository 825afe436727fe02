/* SPDX-License-Identifier: Apache-2.0
 *
 * What this gateway itself sees of brokers and agents, and whether it suspects them. Every word is a lease: it is worth
 * something for the gap of the rules, and no longer. Part of the core.
 */
#ifndef ROUTER_CORE_EVIDENCE_H
#define ROUTER_CORE_EVIDENCE_H

#include "router/core.h"

void core_hear_broker(struct core *core, struct core_unit *unit, const struct core_broker_seen *seen);
void core_hear_line(struct core *core, const struct core_unit *unit, struct core_broker *broker,
                    enum core_line_kind kind);

/* With each event, for a loop that was stopped may read what waited before its timer: what was not heard may wait
 * still. LAG_US: how late the tick is, 0 for other events. */
void core_note_lag(struct core *core, uint64_t lag_us);

/* Fills in what UNIT is suspected of, and since when. */
void core_judge(struct core *core, struct core_unit *unit);

/* Whether what this gateway sees of UNIT may say more about the gateway than about the unit. */
bool core_doubts(const struct core *core, const struct core_unit *unit);

/* Whether the agents of UNIT are there to deliver. */
bool core_consumes(const struct core *core, const struct core_unit *unit);

/* Whether nobody has said for a good part of the gap that the primary of UNIT leads: time to ask it oneself, so that
 * the answer is there, or missed, before the gap is over. */
bool core_is_unheard(const struct core *core, const struct core_unit *unit);
/* When the primary of UNIT, which has one, will have been silent for too long. */
uint64_t core_silent_us(const struct core *core, const struct core_unit *unit);

/* Heard of within the gap, and healthy; `core_is_clean`: with no complaint for long enough. */
bool core_is_well(const struct core *core, const struct core_broker *broker);
bool core_is_clean(const struct core *core, const struct core_broker *broker);

/* The broker that the record, or else the rules, call primary; NULL where the unit has none. */
struct core_broker *core_primary(const struct core_unit *unit);

static inline uint64_t core_gap_us(const struct core *core)
{
    return (uint64_t)core->policy.gap_ms * 1000;
}

#endif
