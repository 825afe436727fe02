/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue carrier: messages on their way to the brokers of the units. Each worker owns one, with its connections.
 */
#ifndef GATEWAY_QUEUE_H
#define GATEWAY_QUEUE_H

#include "gateway/exchange.h"
#include "gateway/message.h"

struct queue;

struct queue *queue_create(struct worker *worker);
void queue_destroy(struct queue **queue);

/* The worker has a new view: connections to brokers that it no longer names finish and go. */
void queue_adopt(struct queue *queue, struct view *view);

/* The record of UNIT has changed. Not from a broker's callback. */
void queue_follow(struct queue *queue, const struct unit *unit);

/* Called at the end of each loop turn: what the turn has published leaves in one write a broker. */
void queue_flush(struct queue *queue);

/* From any thread: whether this worker's connection to the broker of UNIT takes messages; if not, why not, as a
 * sentence in FAULT of SIZE bytes. */
bool queue_broker_ready(struct queue *queue, const struct unit *unit, char *fault, size_t size);

/* Publishes one message to the broker of UNIT. NULL and *REFUSAL where it is not even sent: then PUBLICATION->done will
 * not run. Else `done` runs once, later; whoever goes away before calls message_forget(). Both kinds are counted. */
struct message *queue_send(struct queue *queue, struct unit *unit, const struct publication *publication,
                           struct publish_result *refusal) MUST_CHECK;

/* A new message id for TARGET, in POOL. */
struct str queue_name_message(struct worker *worker, h2o_mem_pool_t *pool, const struct queue_target *target,
                              uint64_t received_us);

/* Answers GET /-/messages/ID (message_status.c). */
void queue_message_status(struct exchange *exchange, struct str id);

/* The same look-up for who wanted to change what is in its stream already: 409 with the state, or 404. */
void queue_message_conflict(struct exchange *exchange, struct str id);

/* The connection to the primary of UNIT, or NULL where there is none, and its URL, which lives until the next view. */
struct broker *queue_broker(struct queue *queue, const struct unit *unit);
struct str queue_primary(struct queue *queue, const struct unit *unit);

/* The same where it leads to the very run of a broker that the unit's record tells of, and the record's *EPOCH: for
 * that a copy must be open to be read. NULL: nothing may be read there. */
struct broker *queue_copy(struct queue *queue, const struct unit *unit, uint64_t *epoch);

#endif
