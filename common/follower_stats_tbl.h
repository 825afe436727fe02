/* SPDX-License-Identifier: Apache-2.0
 *
 * What every process counts that follows the store: STAT(name, kind, "help"), included by the lists of the gateway's
 * control thread and of the agent.
 */
STAT(start_time_seconds, STAT_GAUGE, "When this process started, in seconds since 1970.")
STAT(rules_epoch, STAT_GAUGE, "Epoch of the rules that this process serves, in each of its threads.")
STAT(rules_version, STAT_GAUGE, "Version of the rules in force.")
STAT(rules_from_cache, STAT_GAUGE,
     "1 while the rules in force come from the cache file and the store has not confirmed them.")
STAT(rules_adopted_total, STAT_COUNTER, "Rule versions put in force.")
STAT(rules_refused_total, STAT_COUNTER, "Rule versions of the store that were refused; the old ones stay in force.")
STAT(rules_cache_faults_total, STAT_COUNTER, "Times that the cache file of the rules could not be written.")
STAT(store_up, STAT_GAUGE, "1 while the store answers and is not behind the rules in force.")
STAT(store_epoch, STAT_GAUGE, "Epoch that the store told last.")
STAT(store_faults_total, STAT_COUNTER, "Times that the store went away or fell behind.")
STAT(reloads_total, STAT_COUNTER, "Configurations reloaded at SIGHUP.")
STAT(reloads_refused_total, STAT_COUNTER, "Configurations refused at SIGHUP; the old one stays.")
