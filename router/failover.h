/* SPDX-License-Identifier: Apache-2.0
 *
 * When units may be moved without an operator's word: the rules' `failover`. A plain value, part of the table.
 */
#ifndef ROUTER_FAILOVER_H
#define ROUTER_FAILOVER_H

#include <stdbool.h>
#include <stdint.h>

struct table_failover {
    bool automatic;
    int64_t gap_ms;      /* a primary that nobody has heard of for so long is suspected */
    int64_t cooldown_ms; /* between two automatic failovers of one unit */
    int64_t window_ms;   /* in which the limits below count */
    int64_t clean_ms;    /* a broker that was sick is trusted again after so long without a complaint */
    uint32_t max_units;  /* moved within the window, */
    uint32_t max_share;  /* or that many of 100 units where this is more */
};

#endif
