/* SPDX-License-Identifier: Apache-2.0
 *
 * The change feed of collections over HTTP: `GET /-/c/COLLECTION?watch`, as server-sent events. Each worker owns one
 * struct watches: its bells, and an audience for each collection and unit that somebody watches there.
 */
#ifndef GATEWAY_COLLECTION_WATCH_H
#define GATEWAY_COLLECTION_WATCH_H

#include "gateway/collections.h"

struct watches;

struct watches *watches_create(struct worker *worker);
/* No request is left. */
void watches_destroy(struct watches **watches);
/* Called at the end of each loop turn. */
void watches_flush(struct watches *watches);
/* The record of UNIT has changed. After queue_follow(). */
void watches_follow(struct watches *watches, const struct unit *unit);
/* The worker has a new view. */
void watches_adopt(struct watches *watches);
/* The gateway ends: who watches is to go elsewhere. */
void watches_drain(struct watches *watches);

struct watcher;

/* WATCHER could not begin where it was: has it wait at another copy, or the origin. False: there is none. */
bool collection_watch_elsewhere(struct watcher *watcher);

/* Answers with the changes of PATH's collection, for as long as the client stays. */
void collection_watch_serve(struct exchange *exchange, const struct collection_path *path);

#endif
