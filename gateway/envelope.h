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

/* The lines that the items of a batch have in common, each with its line end: all but what speaks of the batch's body
 * and of the batch's own key, and without the trace context, which comes last. In the request's pool. */
struct str envelope_batch_headers(const struct exchange *exchange);

#endif
