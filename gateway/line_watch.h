/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the broker of a line still leads, as this gateway sees it itself: asked now and then, and often while nobody
 * else says so. What the unit's agent does not say, since it is not there or not given the processor, is no reason to
 * move a unit whose broker answers; and what it says is no reason to stay with one that no gateway reaches. A gateway
 * calls nobody silent whom it did not ask: a worker that is not run does not see answers that came. Runs in the first
 * worker, while the line leads to the primary; owned by the line.
 */
#ifndef GATEWAY_LINE_WATCH_H
#define GATEWAY_LINE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/broker_event.h"

struct line;

struct line_watch {
    struct line *line;
    void *timer;       /* NULL: it does not run */
    bool asked;        /* an answer is to come */
    uint64_t asked_us; /* when the last question was asked, monotonic */
    uint64_t waits_us; /* since when it waits, for an answer or for a connection */
    unsigned turns;    /* of the loop, since then */
    uint64_t good_us;  /* since when there is no answer */
    uint64_t told_us;  /* when that was told last */
};

void line_watch_start(struct line_watch *watch, struct line *line);
void line_watch_stop(struct line_watch *watch);

#endif
