/* SPDX-License-Identifier: Apache-2.0
 *
 * Where one message is and what happened to it, asked of its unit's broker: timers and transactions, the partition's
 * stream and traces, and the state of each subscription. Everything is bounded, so that a question costs the broker
 * little however much it holds; what lies beyond the bounds is said to be incomplete. On any event loop.
 */
#ifndef COMMON_LOOKUP_H
#define COMMON_LOOKUP_H

#include <jansson.h>

#include "common/broker.h"

struct lookup_subscription {
    struct str name;
    bool broadcast;
};

enum lookup_verdict {
    LOOKUP_FOUND = 0,
    LOOKUP_NOTHING, /* the broker knows of no such message */
    LOOKUP_AWAY,    /* it did not answer */
};

/* DOCUMENT is borrowed for the call; NULL but for LOOKUP_FOUND. Its keys: docs/PROTOCOL.md. */
typedef void (*lookup_done_fn)(void *arg, enum lookup_verdict verdict, const json_t *document);

struct lookup;

/* ID is one that protocol_id_parse takes; it and the SUBSCRIPTIONS of its topic are copied. DONE runs once, on a later
 * turn, unless lookup_forget() comes first. NULL where BROKER is not ready. */
struct lookup *lookup_start(struct broker *broker, struct str id, const struct lookup_subscription *subscriptions,
                            size_t count, lookup_done_fn done, void *arg) MUST_CHECK;
void lookup_forget(struct lookup *lookup);

#endif
