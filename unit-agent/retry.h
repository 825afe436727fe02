/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of messages that the app does not take: how often they are tried, how long each wait is, and which
 * answers make them dead letters at once. A copy of what the rules say of a topic, owned by a partition.
 */
#ifndef AGENT_RETRY_H
#define AGENT_RETRY_H

#include "router/topic.h"

struct retry {
    uint32_t attempts;
    int64_t *ladder_ms;
    uint32_t ladder_count;
    uint16_t *dead_statuses;
    uint32_t dead_status_count;
};

/* For topics that the rules do not name: nothing dies. */
void retry_preset(struct retry *retry);
void retry_adopt(struct retry *retry, const struct table_retry *rules);
void retry_free(struct retry *retry);

/* No retry can mend an answer of STATUS. */
bool retry_is_dead(const struct retry *retry, long status);

/* The wait after ATTEMPTS that failed (from 1), give or take a fifth by RANDOM. */
int64_t retry_wait_ms(const struct retry *retry, uint32_t attempts, uint64_t random);

/* WAIT_MS give or take a fifth. */
int64_t retry_spread_ms(int64_t wait_ms, uint64_t random);

#endif
