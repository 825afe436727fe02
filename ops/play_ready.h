/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a process of a playground is ready: a broker answers and its replica follows it, the others say so by HTTP.
 */
#ifndef OPS_PLAY_READY_H
#define OPS_PLAY_READY_H

#include "ops/play_plan.h"

/* Asks once, with the playground's TOKEN; blocks for a moment at most. *WHY: what it still lacks, to be shown after too
 * long a wait. An agent is ready when every broker that the rules name for its unit is in sync. */
bool play_ready(const struct play_process *process, const char *token, char *why, size_t size);

#endif
