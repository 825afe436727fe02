/* SPDX-License-Identifier: Apache-2.0
 *
 * One topic, as the rules say it: its partitions, who reads it, and what becomes of what is not taken. Part of the
 * compiled table, which owns all texts and arrays.
 */
#ifndef ROUTER_TOPIC_H
#define ROUTER_TOPIC_H

#include "common/str.h"

/* Who a topic's messages go to. Each subscription has cursors of its own. */
struct table_subscription {
    struct str name;
    bool broadcast;           /* every agent gets every message; else one agent of the unit */
    const struct str *filter; /* "name: value" lines, names in lower case; a message must have all of them */
    uint32_t filter_count;
    const struct str *nodes; /* base URLs; none: the unit's nodes of the message's colour */
    uint32_t node_count;
    uint32_t line;
};

/* What becomes of a message that the app does not take. */
struct table_retry {
    uint32_t attempts;             /* then it is a dead letter */
    const int64_t *ladder_ms;      /* the wait before the second attempt, the third ...; the last one goes on */
    uint32_t ladder_count;         /* at least 1 */
    const uint16_t *dead_statuses; /* answers that no retry can mend */
    uint32_t dead_status_count;
};

struct table_topic {
    struct str name;
    uint32_t partitions;
    int64_t retention_ms;                           /* how long acknowledged messages are kept */
    int64_t idempotency_window_ms;                  /* how long an Idempotency-Key is remembered */
    uint64_t max_backlog;                           /* messages that may wait in one partition; 0: no limit */
    const struct table_subscription *subscriptions; /* at least one */
    uint32_t subscription_count;
    struct table_retry retry;
    uint32_t line;
};

#endif
