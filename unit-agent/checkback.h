/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks the senders of prepared messages what is to become of them, where they have been silent: GET of the
 * LDC-Check-Url with `message=ID` in its query. {"state": "commit"} and {"state": "rollback"} end the transaction as
 * the sender itself would; every other answer, and none, leaves it as it is. When to ask, and when to give up and park,
 * is the broker's: common/functions/transactions.lua. Owned by the clockwork.
 */
#ifndef AGENT_CHECKBACK_H
#define AGENT_CHECKBACK_H

#include <systemd/sd-event.h>

#include "common/broker.h"
#include "common/broker_record.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"
#include "unit-agent/primary.h"

struct checkback;

struct checkback_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    struct agent_stats *stats;
    const struct primary *primary;
    const char *key;                                  /* what the unit's keys begin with */
    const struct broker_record *(*record)(void *arg); /* in force */
    void *arg;
};

struct checkback *checkback_create(sd_event *loop, const struct checkback_config *config);
void checkback_destroy(struct checkback **checkback); /* after its primary was closed, whose answers it waits for */

/* To be called often while the broker is ready: asks it what is due, unless it was asked a moment ago. */
void checkback_look(struct checkback *checkback);

/* What TEXT, the body of a 2xx, says: "commit", "rollback", or NULL. */
const char *checkback_read_answer(struct str text);

/* URL with `message=ID` behind what its query holds, without its fragment; the caller frees it. */
char *checkback_url(struct str url, struct str id);

#endif
