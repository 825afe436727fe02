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
STAT(batches_total, STAT_COUNTER, "Batches whose items were published, each on its own.")
STAT(batch_items_total, STAT_COUNTER, "Items of batches.")
STAT(batch_items_refused_total, STAT_COUNTER, "Items of batches that were refused or that no broker confirmed.")
STAT(proxy_requests_total, STAT_COUNTER, "Requests forwarded to nodes.")
STAT(proxy_retries_total, STAT_COUNTER, "Safe requests sent again to another node of the same unit.")
STAT(proxy_connects_total, STAT_COUNTER, "Connections opened to nodes.")
STAT(proxy_reused_total, STAT_COUNTER, "Requests sent on an idle connection to a node.")
STAT(proxy_tunnels_open, STAT_GAUGE, "Upgraded connections (WebSocket) open now.")
STAT(access_log_dropped_total, STAT_COUNTER, "Access log lines that could not be written.")
