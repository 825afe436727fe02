/* SPDX-License-Identifier: Apache-2.0
 *
 * Removes what all subscriptions of a partition have passed and is old enough from its stream.
 */
#ifndef AGENT_TRIM_H
#define AGENT_TRIM_H

#include "unit-agent/command.h"
#include "unit-agent/partition.h"
#include "unit-agent/survey.h"

/* Composes the call of the broker's function `trim`. False where there is nothing to remove. */
bool trim_compose(struct command *command, struct str unit, const struct partition *partition,
                  const struct survey *survey, uint64_t now_ms);

#endif
