/* SPDX-License-Identifier: Apache-2.0
 *
 * Proxied requests that wait while their unit is switched over by plan (`hold` in the broker record): they go on by the
 * next record that does not say so. Bounded by `failover.hold` and by their bodies. Each worker owns one.
 */
#ifndef GATEWAY_HOLD_H
#define GATEWAY_HOLD_H

#include "gateway/exchange.h"

struct holds;

struct holds *holds_create(struct worker *worker);
void holds_destroy(struct holds **holds);

/* Whether the unit of EXCHANGE is being switched: then GO_ON(EXCHANGE) is called later, or the exchange is answered
 * with a problem. Sets exchange->carrier and exchange->detach. */
bool hold_exchange(struct exchange *exchange, void (*go_on)(struct exchange *exchange));

/* The record of UNIT has changed. */
void holds_follow(struct holds *holds, const struct unit *unit);

#endif
