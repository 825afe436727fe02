/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's counters: STAT(name, kind, "help"). One list: struct, Prometheus text and docs/METRICS.md come from it.
 */
STAT(agent_messages_read_total, STAT_COUNTER, "Messages read from the unit's streams and not known to be done.")
STAT(agent_messages_malformed_total, STAT_COUNTER,
     "Entries that cannot be delivered: no envelope, or control characters.")
STAT(agent_messages_held, STAT_GAUGE, "Messages in memory: read, and not acknowledged yet.")
STAT(agent_message_bytes, STAT_GAUGE, "Memory that the messages take.")
STAT(agent_deliveries_total, STAT_COUNTER, "Exchanges with the app's nodes begun: each one an attempt.")
STAT(agent_deliveries_in_flight, STAT_GAUGE, "Exchanges with the app's nodes under way.")
STAT(agent_acknowledged_total, STAT_COUNTER, "Messages that the app answered with 2xx.")
STAT(agent_retries_total, STAT_COUNTER,
     "Attempts that failed: the message is tried again by its topic's ladder, or is a dead letter.")
STAT(agent_losses_total, STAT_COUNTER, "Exchanges whose node was lost, sent again and not counted as attempts.")
STAT(agent_parked_total, STAT_COUNTER, "Messages moved to their users' parks.")
STAT(agent_unparked_total, STAT_COUNTER, "Messages delivered from their users' parks.")
STAT(agent_dead_letters_total, STAT_COUNTER, "Messages moved to the dead letters.")
STAT(agent_parked_users, STAT_GAUGE, "Users that are parked, in the partitions of this agent.")
STAT(agent_parked_messages, STAT_GAUGE, "Messages in their parks.")
STAT(agent_dead_letters, STAT_GAUGE, "Dead letters of the partitions of this agent.")
STAT(agent_deferred_total, STAT_COUNTER,
     "Attempts answered with 429 or 503: delivered again, and not counted as a failure.")
STAT(agent_cursor_writes_total, STAT_COUNTER, "Cursors written; each one records all acknowledgements since the last.")
STAT(agent_cursor_failures_total, STAT_COUNTER, "Cursors that the broker did not confirm; they are written again.")
STAT(agent_entries_trimmed_total, STAT_COUNTER,
     "Acknowledged entries removed because they are older than their topic's retention.")
STAT(agent_stream_regressions_total, STAT_COUNTER,
     "Streams that ended before what was already read: the broker lost entries.")
STAT(agent_leases_held, STAT_GAUGE, "Partitions that this agent serves for all agents of its unit.")
STAT(agent_leases_lost_total, STAT_COUNTER,
     "Partitions that another agent took from this one, because the broker did not hear from it.")
STAT(agent_lapses_total, STAT_COUNTER,
     "Times that the broker confirmed no beat for `lease.ttl`: nothing was delivered until it did.")
STAT(agent_listeners_silent, STAT_GAUGE,
     "Listeners to the unit's broadcasts that say nothing: what they have not passed is not trimmed.")
STAT(agent_gate_closed, STAT_GAUGE, "1 while messages wait because not every in-sync broker has what was read of late.")
STAT(agent_gate_rounds_total, STAT_COUNTER, "Questions whether every in-sync broker has what was read.")
STAT(agent_gate_refusals_total, STAT_COUNTER, "Those of them that were answered no, or not at all.")
STAT(agent_replies_total, STAT_COUNTER, "Answers of the app for clients that wait for them.")
STAT(agent_replies_dropped_total, STAT_COUNTER, "Answers of the app that could not be passed on.")
STAT(agent_traces_total, STAT_COUNTER, "Trace lines written: attempts, acknowledgements and the like.")
STAT(agent_traces_dropped_total, STAT_COUNTER,
     "Trace lines that could not be kept: the broker was away, full or too slow.")
STAT(agent_broker_up, STAT_GAUGE, "1 while the unit's primary broker serves this agent.")
STAT(agent_nodes_up, STAT_GAUGE, "Nodes of the unit's app that answer.")
STAT(agent_nodes, STAT_GAUGE, "Nodes of the unit's app that the rules name.")
STAT(agent_keeper, STAT_GAUGE, "1 while this agent keeps its unit's broker record.")
STAT(agent_record_version, STAT_GAUGE, "Version of the broker record in force.")
STAT(agent_in_sync_members, STAT_GAUGE, "Brokers that are in sync by that record, with the primary.")
STAT(agent_record_writes_total, STAT_COUNTER, "Broker records that this agent wrote.")
STAT(agent_record_alarm, STAT_GAUGE, "1 while the primary's data are not those of the broker record.")
STAT(agent_promotions_total, STAT_COUNTER, "Brokers that this agent made primaries, as their records say.")
STAT(agent_demotions_total, STAT_COUNTER, "Brokers that were primaries and that this agent made replicas.")
STAT(agent_replicas_detached_total, STAT_COUNTER,
     "Replicas whose connection to the primary was ended: foreign ones, and those that do not keep up.")
STAT(agent_timers_near, STAT_GAUGE, "Messages of the unit that are due within the hour.")
STAT(agent_timers_later, STAT_GAUGE, "Messages of the unit that are due later.")
STAT(agent_timers_due_total, STAT_COUNTER, "Messages that were due, brought to their partitions by this agent.")
STAT(agent_transactions_prepared, STAT_GAUGE, "Messages of the unit that wait for their sender's word.")
STAT(agent_transactions_parked, STAT_GAUGE, "Prepared messages of the unit whose sender never answered.")
STAT(agent_transactions_parked_total, STAT_COUNTER, "Prepared messages that this agent parked after their last check.")
STAT(agent_checks_total, STAT_COUNTER, "Times that this agent asked an LDC-Check-Url.")
STAT(agent_checks_failed_total, STAT_COUNTER, "Checks that were not answered with 2xx.")
STAT(agent_checks_committed_total, STAT_COUNTER, "Transactions that were committed by the answer to a check.")
STAT(agent_checks_rolled_back_total, STAT_COUNTER, "Transactions that were rolled back by the answer to a check.")
STAT(agent_scrubs_total, STAT_COUNTER, "Times that all buckets of a collection were looked through.")
STAT(agent_buckets_scrubbed_total, STAT_COUNTER, "Buckets of collections that were looked through for that.")
STAT(agent_buckets_divergent_total, STAT_COUNTER,
     "Buckets found to be wrong: changed by hand, or other than the origin's by its digest.")
STAT(agent_buckets_wrong, STAT_GAUGE, "Buckets of the unit's copies that are known to be wrong, and not repaired yet.")
STAT(agent_values_repaired_total, STAT_COUNTER, "Values of the unit's copies that were replaced by the origin's.")
STAT(agent_keys_relisted_total, STAT_COUNTER, "Keys that a collection's list lacked, or had too many.")
STAT(agent_copy_changes_total, STAT_COUNTER, "Changes of collections that this agent applied to its unit's copies.")
STAT(agent_copy_bootstraps_total, STAT_COUNTER, "Copies of collections that this agent began to make anew.")
STAT(agent_copy_share_percent, STAT_GAUGE,
     "Of its time, what it may work at making copies and having them catch up: 25, less where live writes want a "
     "broker.")
STAT(agent_copies_owned, STAT_GAUGE, "Copies of collections that this agent keeps for its unit.")
STAT(agent_copies_open, STAT_GAUGE, "Those of them that may be read.")
STAT(agent_origin_buckets_wrong, STAT_GAUGE,
     "Buckets of collections that were changed by hand where they are written, and not mended yet.")
STAT(agent_origin_values_mended_total, STAT_COUNTER, "Values there that were written again, as a unit's copy had them.")
STAT(agent_pushed_total, STAT_COUNTER, "Changes of collections that an app was told of by push.")
STAT(agent_push_failures_total, STAT_COUNTER, "Pushes that the app did not answer with 2xx; they are tried again.")
#include "common/follower_stats_tbl.h"
STAT(ready, STAT_GAUGE,
     "1 while /readyz says so: rules are there that name the unit, its broker serves, and nothing ends.")
