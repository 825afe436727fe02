/* SPDX-License-Identifier: Apache-2.0
 *
 * A dead letter as operators see it: the envelope, and why it is dead.
 */
#ifndef AGENT_DEAD_LETTER_H
#define AGENT_DEAD_LETTER_H

#include <jansson.h>

#include "common/broker.h"

/* Adds to ITEM what ENTRY of a dead-letter stream says. With ID only that message is taken, and whole: with its
 * headers, and its body as `body`, or as `body_base64` where it is no UTF-8 text. False where ENTRY is none, or another
 * one. */
bool dead_letter_to_json(const redisReply *entry, struct str id, json_t *item);

#endif
