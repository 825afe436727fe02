/* SPDX-License-Identifier: Apache-2.0
 *
 * One look at a collection's log in one unit, a copy's or the origin's: how far it is, whether it may be read, and what
 * has changed behind an entry. What it shows of the origin is held by the in-sync replicas.
 */
#ifndef GATEWAY_COLLECTION_LOOK_H
#define GATEWAY_COLLECTION_LOOK_H

#include "gateway/collection_page.h"
#include "gateway/view.h"
#include "gateway/worker.h"

#define LOOK_MOST PAGE_EVENTS /* entries */

enum look_standing {
    LOOK_UNMADE = 0, /* there is no copy, or it is being made */
    LOOK_CLOSED,     /* whole, but it may lack what was read in this unit before */
    LOOK_OPEN,
};

/* Lives until `done` returns. */
struct look {
    enum look_standing standing;
    uint64_t seq;          /* the last change that is there */
    struct stream_id last; /* the entry that was looked at last */
    struct str made_from;  /* where the making of the copy began: another one, and it was made anew */
    uint64_t beat_us;      /* of a copy: all of the origin until then is there; 0: nobody knows */
    unsigned count;
    struct change changes[LOOK_MOST];
};

struct look_call;

/* LOOK NULL: no answer. Runs once, on the worker's thread, never from within the call. */
typedef void (*look_done_fn)(void *arg, const struct look *look);

/* Looks at MOST entries at most behind BEHIND. NULL: nobody can be asked now, and `done` will not run. */
struct look_call *look_start(struct worker *worker, struct unit *unit, struct str collection, struct stream_id behind,
                             unsigned most, look_done_fn done, void *arg) MUST_CHECK;

/* `done` will not run any more. */
void look_forget(struct look_call *call);

#endif
