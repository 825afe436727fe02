/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells an app of the changes of a collection, by POST to the `push` URL of the rules: in their order, each at least
 * once, from the log of the unit's own broker, one request under way. How far the app was told stands in the broker
 * beside the log (`pushed`), so that any agent goes on where another one ended. An app that is slow or away holds up
 * nothing but itself; once the log no longer has what it was to hear, it is told to read anew (`reset`). Owned by who
 * made it.
 *
 * UNKNOWN (how far it was told) -> LOOKS (what the log has behind that; at the origin also whether a failover could
 * take it back) -> TELLS -> RESTS until more may be there, or, after a failure, for longer each time.
 */
#ifndef AGENT_COPY_PUSH_H
#define AGENT_COPY_PUSH_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/broker_record.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

struct copy_push;

struct copy_push_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    struct agent_stats *stats;
    const char *at; /* "ldc:{UNIT}:c/COLLECTION/" */
    struct str collection;
    const struct str *url; /* zero-terminated; empty: there is nobody to tell. Looked at again all the time */
    struct broker *(*broker)(void *arg); /* READY; NULL: it is another agent's turn, or the collection is not whole */
    /* In an origin the unit's record, in force: only what every in-sync broker has is told. NULL: all is. */
    const struct broker_record *(*record)(void *arg);
    void *arg;
};

struct copy_push *copy_push_create(sd_event *loop, const struct copy_push_config *config);
/* When nothing that it asked the broker is under way any more. */
void copy_push_destroy(struct copy_push **push);

/* There may be something to tell, or somebody. */
void copy_push_wake(struct copy_push *push);

/* Changes that the app was not told of yet, as of the last look. */
uint64_t copy_push_pending(const struct copy_push *push);

#endif
