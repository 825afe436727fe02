/* SPDX-License-Identifier: Apache-2.0
 *
 * A line of `ldcctl status` for each collection of global data: how its copies are, as the agents that write them say.
 * `ldcctl zonec status` asks the brokers themselves.
 */
#ifndef OPS_STATUS_COLLECTIONS_H
#define OPS_STATUS_COLLECTIONS_H

#include "ops/fleet.h"

void status_print_collections(const struct fleet *fleet);

#endif
