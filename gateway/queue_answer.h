/* SPDX-License-Identifier: Apache-2.0
 *
 * What the client of a published message hears.
 */
#ifndef GATEWAY_QUEUE_ANSWER_H
#define GATEWAY_QUEUE_ANSWER_H

#include "gateway/exchange.h"
#include "gateway/message.h"

/* 202, or the problem that RESULT says; the exchange's detach is cleared before. */
void queue_answer(struct exchange *exchange, const struct publish_result *result);

#endif
