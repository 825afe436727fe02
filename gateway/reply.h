/* SPDX-License-Identifier: Apache-2.0
 *
 * Request-reply over the queue: exchanges whose clients wait for the app's answer (`Prefer: wait=N`), and the streams
 * that the answers come by. Each worker owns one, which has a stream of its own at every unit's broker, named for this
 * life of the gateway; where somebody waits, a connection follows it.
 *
 * Lifecycle of a wait: reply_expect() before the message is published, for its answer may be faster than the broker's
 * confirmation; then reply_wait() once it is stored, which answers the exchange sooner or later; or reply_forget().
 */
#ifndef GATEWAY_REPLY_H
#define GATEWAY_REPLY_H

#include "gateway/exchange.h"

struct replies;
struct reply_wait;

struct replies *replies_create(struct worker *worker);
/* Exchanges that still wait are answered that the gateway ends. */
void replies_destroy(struct replies **replies);
/* The record of UNIT has changed: its answers may come by another broker. After queue_follow(). */
void replies_follow(struct replies *replies, const struct unit *unit);
/* Called at the end of each loop turn. */
void replies_flush(struct replies *replies);

/* EXCHANGE, whose message has its name, is to wait WAIT_MS. Sets exchange->wait, and returns the stream that the answer
 * is to go to; empty where this gateway lets nobody wait. */
struct str reply_expect(struct exchange *exchange, uint64_t wait_ms);

/* The message is stored, as durably as DURABILITY says: the answer follows, or the problem that there was none in time.
 * Takes over exchange->detach. */
void reply_wait(struct exchange *exchange, enum durability durability);

/* Nobody waits any more. Clears exchange->wait; nothing where it is NULL. */
void reply_forget(struct exchange *exchange);

#endif
