/* SPDX-License-Identifier: Apache-2.0
 *
 * What the watch over units counts: STAT(name, kind, "help").
 */
STAT(failover_peers, STAT_GAUGE, "Other gateways whose pulses were heard in the last 100 ms.")
STAT(failover_agents, STAT_GAUGE, "Agents whose pulses were heard in the last 100 ms.")
STAT(failover_suspected_units, STAT_GAUGE, "Units whose primary or consumers this gateway suspects now.")
STAT(failover_alarmed_units, STAT_GAUGE, "Units that stay suspected and are not moved: an operator should look.")
STAT(failover_frozen, STAT_GAUGE, "1 while no unit is moved, since too many were in a short time.")
STAT(failover_doubts, STAT_GAUGE, "1 while this gateway abstains, since its own loop lagged.")
STAT(failover_suspicions_total, STAT_COUNTER, "Times that a unit's primary or consumers became suspect here.")
STAT(failover_votes_total, STAT_COUNTER, "Votes of this gateway against a unit's primary or consumers.")
STAT(failover_proposals_total, STAT_COUNTER, "Records that this gateway proposed to the store.")
STAT(failover_won_total, STAT_COUNTER, "Proposals that the store took.")
STAT(failover_lost_total, STAT_COUNTER, "Proposals that came after somebody else's.")
STAT(failover_unknown_total, STAT_COUNTER, "Proposals to which the store gave no answer.")
STAT(failover_records_total, STAT_COUNTER, "New records of units that came into force here.")
STAT(failover_pushed_total, STAT_COUNTER, "Records heard from other processes before the store told of them.")
