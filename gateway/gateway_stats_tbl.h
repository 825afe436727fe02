/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's counters: STAT(name, kind, "help"). One list: struct, Prometheus text and docs/METRICS.md come from it.
 */
STAT(connections_accepted_total, STAT_COUNTER, "Client connections accepted.")
STAT(connections_open, STAT_GAUGE, "Client connections open now.")
STAT(connections_refused_total, STAT_COUNTER, "Client connections closed because of a limit.")
STAT(tls_handshake_failures_total, STAT_COUNTER, "TLS handshakes that failed.")
STAT(requests_total, STAT_COUNTER, "Requests whose head and body arrived.")
STAT(requests_in_flight, STAT_GAUGE, "Requests that wait for their answer now.")
STAT(requests_malformed_total, STAT_COUNTER, "Requests refused before routing: malformed, too large, too slow.")
STAT(request_body_bytes, STAT_GAUGE, "Bytes of request bodies held now.")
STAT(http2_guard_closes_total, STAT_COUNTER,
     "HTTP/2 connections closed for cancelling streams or sending frames in floods.")
STAT(queue_accepted_total, STAT_COUNTER, "Messages that a broker confirmed: each one a 202.")
STAT(queue_replayed_total, STAT_COUNTER, "Messages whose idempotency key was known: answered again, stored once.")
STAT(queue_commits_total, STAT_COUNTER, "Batches of messages that shared one wait for the replicas.")
STAT(queue_unknown_total, STAT_COUNTER, "Messages whose broker did not confirm in time.")
STAT(queue_refused_total, STAT_COUNTER, "Messages that were refused before or by the broker.")
STAT(failover_held_total, STAT_COUNTER,
     "Messages and requests that waited while their unit changed its broker or nodes.")
STAT(failover_replayed_total, STAT_COUNTER, "Messages that were sent again, with the same id, after such a wait.")
STAT(batches_total, STAT_COUNTER, "Batches whose items were published, each on its own.")
STAT(batch_items_total, STAT_COUNTER, "Items of batches.")
STAT(batch_items_refused_total, STAT_COUNTER, "Items of batches that were refused or that no broker confirmed.")
STAT(reply_waiting, STAT_GAUGE, "Requests that wait for the app's answer to their message now.")
STAT(reply_answers_total, STAT_COUNTER, "Answers of the app that reached who waited for them.")
STAT(reply_timeouts_total, STAT_COUNTER, "Requests that waited in vain for the app's answer: each one a 504.")
STAT(reply_strays_total, STAT_COUNTER, "Answers of the app that nobody waited for any more.")
STAT(collection_reads_total, STAT_COUNTER, "Reads of collections that were answered, also that there is no such key.")
STAT(collection_reads_stale_total, STAT_COUNTER, "Reads whose copy was further behind than it may be.")
STAT(collection_reads_waited_total, STAT_COUNTER, "Reads that waited for their copy to catch up.")
STAT(collection_reads_core_total, STAT_COUNTER, "Reads that the core unit was asked for.")
STAT(collection_values_bad_total, STAT_COUNTER, "Values of copies that were not what was written.")
STAT(collection_writes_total, STAT_COUNTER, "Changes of collections that the core unit confirmed.")
STAT(collection_replayed_total, STAT_COUNTER, "Changes of collections whose idempotency key was known: made once.")
STAT(collection_conflicts_total, STAT_COUNTER, "Writes to collections whose condition did not hold: each one a 412.")
STAT(collection_batches_total, STAT_COUNTER, "Batches of changes of collections.")
STAT(collection_unwritten_total, STAT_COUNTER,
     "Writes to collections that the core unit refused or did not confirm in time.")
STAT(watchers, STAT_GAUGE, "Clients that watch a collection now.")
STAT(watch_changes_total, STAT_COUNTER,
     "Changes read from the logs of collections that are watched, once for all clients of a thread.")
STAT(watch_events_total, STAT_COUNTER, "Changes sent to clients that watch a collection.")
STAT(watch_resets_total, STAT_COUNTER,
     "Times that a client was told to forget what it has, since a log was trimmed or a copy was made anew.")
STAT(watch_past_reads_total, STAT_COUNTER,
     "Times that a log was read for one client, who came back late or reads slowly.")
STAT(proxy_requests_total, STAT_COUNTER, "Requests forwarded to nodes.")
STAT(proxy_retries_total, STAT_COUNTER, "Safe requests sent again to another node of the same unit.")
STAT(proxy_connects_total, STAT_COUNTER, "Connections opened to nodes.")
STAT(proxy_reused_total, STAT_COUNTER, "Requests sent on an idle connection to a node.")
STAT(proxy_tunnels_open, STAT_GAUGE, "Upgraded connections (WebSocket) open now.")
STAT(access_log_dropped_total, STAT_COUNTER, "Access log lines that could not be written.")
