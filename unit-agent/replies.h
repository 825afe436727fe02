/* SPDX-License-Identifier: Apache-2.0
 *
 * The app's answers for clients that wait for them: each message whose envelope names a reply stream gets one there,
 * with its final outcome. What one turn of the loop brings leaves together. Owned by the agent.
 */
#ifndef AGENT_REPLIES_H
#define AGENT_REPLIES_H

#include "common/http_client.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/message.h"
#include "unit-agent/outbox.h"

struct replies;

struct replies_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    struct agent_stats *stats;
    struct outbox *outbox;
};

struct replies *replies_create(sd_event *loop, const struct replies_config *config);
void replies_destroy(struct replies **replies); /* after the outbox: what is under way points here */

/* MESSAGE has its final outcome, and RESPONSE led to it: both are borrowed for the call. */
void replies_settle(struct replies *replies, const struct message *message, const struct http_response *response);

/* Nothing waits and nothing is under way. */
bool replies_idle(const struct replies *replies);

#endif
