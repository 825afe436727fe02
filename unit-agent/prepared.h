/* SPDX-License-Identifier: Apache-2.0
 *
 * Prepared messages as operators see them, and what they decide. Nothing is kept here: a request lives until the broker
 * has answered, and is answered too where the broker goes away.
 */
#ifndef AGENT_PREPARED_H
#define AGENT_PREPARED_H

#include "common/broker.h"
#include "common/httpd.h"

/* BROKER is that of UNIT; NULL: there is none. The query: `state` (parked or prepared; parked where absent), `limit`.
 */
void prepared_list(struct broker *broker, const char *unit, struct httpd_request *request);

/* EPOCH: the unit's, as this agent knows it. The query: `id`, and `verb` (commit or rollback). */
void prepared_end(struct broker *broker, const char *unit, uint64_t epoch, struct httpd_request *request);

#endif
