/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's admin listener. Owned by the agent.
 */
#ifndef AGENT_ADMIN_H
#define AGENT_ADMIN_H

#include "common/httpd.h"
#include "unit-agent/agent.h"

struct admin;

struct admin *admin_create(struct agent *agent, struct error *err) MUST_CHECK;
void admin_destroy(struct admin **admin);

unsigned admin_port(const struct admin *admin);
/* Where others reach it: "http://HOST:PORT", HOST standing for an address that means all of them. */
void admin_url(const struct admin *admin, const char *host, char *url, size_t size);

void admin_get_metrics(struct httpd_request *request, void *context);

/* The resources, and the metrics, as Markdown. */
void admin_document(struct buf *out);
void admin_document_metrics(struct buf *out);

#endif
