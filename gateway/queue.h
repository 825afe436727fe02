/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue carrier: messages on their way to the brokers of the units. Each worker owns one, with its connections.
 */
#ifndef GATEWAY_QUEUE_H
#define GATEWAY_QUEUE_H

#include "gateway/exchange.h"

struct queue;

struct queue *queue_create(struct worker *worker);
void queue_destroy(struct queue **queue);

/* The worker has a new view: connections to brokers that it no longer names finish and go. */
void queue_adopt(struct queue *queue, struct view *view);

/* Called at the end of each loop turn: what the turn has published leaves in one write a broker. */
void queue_flush(struct queue *queue);

/* Answers GET /-/messages/ID. */
void queue_message_status(struct exchange *exchange, struct str id);

#endif
