/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection on which the agent tells its unit's primary broker what no delivery waits for: answers and traces.
 * Owned by the agent.
 */
#ifndef AGENT_OUTBOX_H
#define AGENT_OUTBOX_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "unit-agent/config.h"

struct outbox;

/* OPTIONS and PASSWORD (NULL: none) are borrowed for life. */
struct outbox *outbox_create(sd_event *loop, const struct agent_config *options, const char *password);
/* Calls back what is under way, with NULL. */
void outbox_destroy(struct outbox **outbox);

/* PRIMARY: the broker's URL; empty: there is none. */
void outbox_adopt(struct outbox *outbox, struct str primary);

bool outbox_ready(const struct outbox *outbox);

/* The library's FUNCTION with one KEY. DONE as for broker_command(), which this is; false while it is not ready. */
bool outbox_call(struct outbox *outbox, const char *function, struct str key, const struct str *args, size_t count,
                 broker_reply_fn done, void *arg) MUST_CHECK;

#endif
