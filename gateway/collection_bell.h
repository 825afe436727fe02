/* SPDX-License-Identifier: Apache-2.0
 *
 * Says when the logs of a unit's collections have grown: one connection to the unit's primary, which waits in XREAD for
 * all of them at once. What they say is asked elsewhere (gateway/collection_look.h), so that nothing hangs on a bell
 * but how soon. Each worker has one for each unit whose collections are watched there; the feeds own it together.
 */
#ifndef GATEWAY_COLLECTION_BELL_H
#define GATEWAY_COLLECTION_BELL_H

#include "common/stream_id.h"
#include "gateway/broker_h2o.h"
#include "gateway/view.h"
#include "gateway/worker.h"

/* All bells of one worker. */
struct bells {
    struct worker *worker;
    struct broker_h2o brokers;
    struct broker_loop loop;
    struct bell *first;
};

/* Who listens to one log. In the listener's own struct; fill `collection`, `rung` and `behind` before it joins. */
struct bell_listener {
    struct str collection;                    /* borrowed */
    void (*rung)(struct bell_listener *self); /* the log has something behind `behind`, or a while is over */
    struct stream_id behind;
    unsigned audience; /* how many are told: the more, the longer changes gather before the next ring */
    bool ready;        /* it wants to hear of more */
    bool busy;         /* rung, and has not said yet that it is ready, or not */
    bool included;     /* in what the bell waits for now */
    struct bell *bell;
    h2o_linklist_t link;
};

void bells_init(struct bells *bells, struct worker *worker);
void bells_flush(struct bells *bells);
/* Nobody listens any more. */
void bells_dispose(struct bells *bells);
/* The record of UNIT has changed. */
void bells_follow(struct bells *bells, const struct unit *unit);

void bell_join(struct bells *bells, struct unit *unit, struct bell_listener *listener);
void bell_leave(struct bell_listener *listener);
/* LISTENER has looked, and is READY to hear of what comes behind what it says; or it is not. Whoever was rung says so.
 * False: it will not be heard for a while, and had better look again soon. */
bool bell_answer(struct bell_listener *listener, bool ready);

#endif
