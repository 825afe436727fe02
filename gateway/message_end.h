/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a message that is put aside: POST /-/messages/ID/commit, rollback and cancel, DELETE /-/messages/ID. The
 * answer names the state that the message is in then, and is as durable as the answer to the message itself.
 */
#ifndef GATEWAY_MESSAGE_END_H
#define GATEWAY_MESSAGE_END_H

#include "gateway/exchange.h"

/* Answers EXCHANGE, which has no route. VERB: commit, rollback or cancel; anything else is not found. */
void message_end(struct exchange *exchange, struct str id, struct str verb);

#endif
