/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of `ldcctl status` that tells who guards what, who suspects whom, and why a unit was moved or was not.
 */
#ifndef OPS_STATUS_FAILOVER_H
#define OPS_STATUS_FAILOVER_H

#include "ops/fleet.h"

void status_print_failover(const struct fleet *fleet);

/* {UNIT: {"epoch", "suspicion", "vote", "refusal", "votes", ...}...} as the gateway of that STATUS sees it; the caller
 * owns it. */
json_t *status_failover_json(const json_t *status);

#endif
