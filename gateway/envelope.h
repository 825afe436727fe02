/* SPDX-License-Identifier: Apache-2.0
 *
 * What the broker stores of a request: the envelope of docs/PROTOCOL.md.
 */
#ifndef GATEWAY_ENVELOPE_H
#define GATEWAY_ENVELOPE_H

#include "common/protocol.h"
#include "gateway/exchange.h"

/* Fills *ENVELOPE from EXCHANGE, which was routed and named. The texts are borrowed from its request or live in the
 * request's pool. */
void envelope_of_exchange(struct exchange *exchange, struct envelope *envelope);

#endif
