/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pulse port counts: STAT(name, kind, "help"). Its thread is the only writer.
 */
STAT(pulses_sent_total, STAT_COUNTER, "Pulses sent, one for each that was to hear it.")
STAT(pulses_unsent_total, STAT_COUNTER, "Pulses that the network did not take.")
STAT(pulses_heard_total, STAT_COUNTER, "Pulses that arrived, were authentic and fresh.")
STAT(pulses_foreign_total, STAT_COUNTER, "Datagrams that are no pulses, or pulses of another version.")
STAT(pulses_malformed_total, STAT_COUNTER, "Pulses cut short, or with fields that no pulse has.")
STAT(pulses_forged_total, STAT_COUNTER, "Pulses that were not made with the key, or were changed on their way.")
STAT(pulses_repeated_total, STAT_COUNTER, "Pulses that had arrived before, or were older than what is known.")
STAT(pulses_crowded_total, STAT_COUNTER, "Pulses of more senders than a port can tell apart.")
STAT(pulse_lag_us, STAT_GAUGE, "How late the thread of the pulses was at its last turn, in microseconds.")
STAT(pulse_lags_total, STAT_COUNTER, "Turns of that thread that were more than 10 ms late.")
STAT(pulse_cpu_us_total, STAT_COUNTER, "Processor time of that thread, in microseconds.")
