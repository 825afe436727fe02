/* SPDX-License-Identifier: Apache-2.0
 *
 * What the core decided, in words for records, logs and operators. Apart from the core, since it allocates.
 */
#ifndef ROUTER_CORE_TEXT_H
#define ROUTER_CORE_TEXT_H

#include "common/str.h"
#include "router/core_words.h"

/* The name behind an id; it lives as long as ARG does. */
typedef const char *core_name_fn(void *arg, uint64_t id);

/* One sentence: "planned switch: the standby was level after 8.1 ms", "primary silent: gw1 silent, gw2 refused, gw3
 * abstains; 2 of 3 votes, 2 needed". */
void core_explain(const struct core_proposal *proposal, core_name_fn *name, void *arg, struct buf *out);

#endif
