/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch carrier: many messages in one request, each with a user, a unit, a message id and a verdict of its own. It
 * answers when every item has its verdict. When the client goes away, the items that are at their brokers stay there,
 * and the others are dropped.
 */
#ifndef GATEWAY_BATCH_H
#define GATEWAY_BATCH_H

#include "gateway/exchange.h"

/* Whether the request is a batch: a POST of a batch's content type on a queue route. */
bool batch_wanted(const struct exchange *exchange);

/* Takes the exchange over, whose route is known, and nothing else. */
void batch_publish(struct exchange *exchange);

#endif
