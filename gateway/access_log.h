/* SPDX-License-Identifier: Apache-2.0
 *
 * The access log: one JSON object a request. Each worker owns one and writes it from its own thread; lines gather in
 * memory and leave whole, at the end of the loop turn. A log that cannot be written loses lines, counted, and never
 * holds up a request.
 *
 * Always: "time" (when the request was there), "peer", "protocol", "method", "path" (without its query, which may hold
 * what a log must not), "status", "bytes" (of the answer's body), "duration_us", "verdict", "trace". Where known:
 * "user", "unit", "color", "epoch", "message_id", "node", "attempts".
 */
#ifndef GATEWAY_ACCESS_LOG_H
#define GATEWAY_ACCESS_LOG_H

#include "gateway/exchange.h"

struct access_log;

/* NULL where log.access is empty; every function takes NULL. A file that cannot be opened is told to the program's log
 * and tried again by access_log_reopen(). */
struct access_log *access_log_create(struct worker *worker);
void access_log_destroy(struct access_log **log);

/* Called when the request is over, whatever became of it. */
void access_log_write(struct access_log *log, const struct exchange *exchange);
void access_log_flush(struct access_log *log);

/* After the file was moved away. */
void access_log_reopen(struct access_log *log);

#endif
