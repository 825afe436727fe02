/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's admin listener. Owned by the agent.
 */
#ifndef AGENT_ADMIN_H
#define AGENT_ADMIN_H

#include "common/httpd_admin.h"
#include "unit-agent/agent.h"

/* NULL with *err; the caller owns it, and ends it with httpd_destroy(). */
struct httpd *admin_create(struct agent *agent, struct error *err) MUST_CHECK;

void admin_get_metrics(struct httpd_request *request, void *context);

/* The resources, and the metrics, as Markdown. */
void admin_document(struct buf *out);
void admin_document_metrics(struct buf *out);

#endif
