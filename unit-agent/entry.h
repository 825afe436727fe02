/* SPDX-License-Identifier: Apache-2.0
 *
 * An entry of a stream as the broker's answers hold it: its id, and the envelope that its fields make.
 */
#ifndef AGENT_ENTRY_H
#define AGENT_ENTRY_H

#include "common/broker.h"
#include "common/protocol.h"
#include "common/stream_id.h"

/* False where REPLY is no entry. */
bool entry_id(const redisReply *reply, struct stream_id *id);

/* ENVELOPE borrows from REPLY. False where REPLY is no entry, or one that cannot be delivered. */
bool entry_read(const redisReply *reply, struct stream_id *id, struct envelope *envelope);

#endif
