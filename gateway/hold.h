/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests that wait. Proxied ones, while their unit is switched over by plan (`hold` in the broker record): they go on
 * by the next record that does not say so. And those of users who leave their unit (`moving`), messages too: they are
 * routed again by the rules that say to where. Bounded by `failover.hold` and by their bodies. Each worker owns one.
 */
#ifndef GATEWAY_HOLD_H
#define GATEWAY_HOLD_H

#include "gateway/exchange.h"

struct holds;

struct holds *holds_create(struct worker *worker);
void holds_destroy(struct holds **holds);

/* Whether the unit of EXCHANGE is being switched, or its user leaves it: then GO_ON(EXCHANGE) is called later, or the
 * exchange is answered with a problem. Sets exchange->carrier and exchange->detach. */
bool hold_exchange(struct exchange *exchange, void (*go_on)(struct exchange *exchange));

/* The user of EXCHANGE leaves its unit: it is routed again by newer rules, or once the unit's record says that nobody
 * leaves any more. Sets exchange->carrier and exchange->detach. */
void hold_leaving(struct exchange *exchange);

/* A record, or the rules, have changed. */
void holds_follow(struct holds *holds);

#endif
