/* SPDX-License-Identifier: Apache-2.0
 *
 * Who watches one collection in one unit (gateway/collection_watcher.h), and the feed that they are told from. Owned by
 * the worker's struct watches; borrows the watchers.
 */
#ifndef GATEWAY_COLLECTION_AUDIENCE_H
#define GATEWAY_COLLECTION_AUDIENCE_H

#include "gateway/collection_feed.h"
#include "gateway/collection_watcher.h"

struct audience {
    struct bells *bells;
    struct feed *feed;
    h2o_linklist_t waiting, idle, due, busy, behind; /* of watchers */
    unsigned count;
    struct look_call *past; /* under way, for the first who is behind */
    struct watcher *past_for;
    h2o_timeout_entry_t turn, idling;
    struct audience **list, *next;
};

/* Joins LIST, and leaves it when it is destroyed, by itself when nobody has watched for a while. */
struct audience *audience_create(struct bells *bells, struct unit *unit, struct str collection, struct audience **list);
/* Nobody is in it any more. */
void audience_destroy(struct audience **audience);
bool audience_is(const struct audience *audience, const struct unit *unit, struct str collection);

/* Takes WATCHER in, who has exchange, prefix, resumes and seq. Sets the exchange's carrier and detach. */
void audience_join(struct audience *audience, struct watcher *watcher);
/* WATCHER is in none of the lists any more. */
void audience_left(struct audience *audience, const struct watcher *watcher);

/* Asks the log for the first who is behind, unless that is under way. */
void audience_ask_log(struct audience *audience);

/* The record of its unit has changed. */
void audience_follow(struct audience *audience);
/* New rules are in force: whose collection or route is gone ends. */
void audience_renew(struct audience *audience);
/* Ends all, each at the end of what is on its way to it. */
void audience_end(struct audience *audience);

#endif
