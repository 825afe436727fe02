/* SPDX-License-Identifier: Apache-2.0
 *
 * The headers of the POST that brings a message to the app: CloudEvents in HTTP binary mode, the LDC-* headers, and the
 * end-to-end headers that the client sent. Pure; owns its texts and is reused from message to message.
 */
#ifndef AGENT_POST_H
#define AGENT_POST_H

#include "unit-agent/message.h"

#define POST_MOST_HEADERS 320

struct post {
    struct buf text;
    size_t starts[POST_MOST_HEADERS];
    const char *headers[POST_MOST_HEADERS + 1]; /* "Name: value", NULL-terminated; for struct http_request */
    size_t count;
};

/* UNIT: the agent's own. TOPIC and NUMBER: the partition's. */
void post_compose(struct post *post, const struct message *message, struct str unit, struct str topic, unsigned number);
void post_free(struct post *post);

#endif
