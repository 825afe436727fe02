/* SPDX-License-Identifier: Apache-2.0
 *
 * A source of user IDs, as text: "header:X-User-Id", "path:/users/{uid}".
 */
#ifndef RULES_SOURCE_H
#define RULES_SOURCE_H

#include "common/error.h"
#include "router/table.h"

/* Takes TEXT apart; *SOURCE borrows it, header names in the case that was written. -1 with the reason. */
int source_parse(struct str text, struct source *source, struct error *err) MUST_CHECK;

/* RFC 9110's token, which RFC 6265 uses for cookies too: what a header's name is made of. */
bool source_is_token(struct str name);

#endif
