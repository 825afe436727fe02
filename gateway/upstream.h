/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection to a node. Whoever holds it, a request or the pool of idle ones, hears of it through its events.
 *
 * Lifecycle: upstream_open() connects; `connected` tells how that went. From then on the socket stays registered
 * readable until it is closed, so that requests cost no epoll_ctl and a node that closes an idle connection is
 * noticed at once. Bytes are read by the holder itself, straight to where it wants them. Closing frees the struct: a
 * holder returns from its event without touching it again.
 */
#ifndef GATEWAY_UPSTREAM_H
#define GATEWAY_UPSTREAM_H

#include <h2o.h>

#include "gateway/timers.h"
#include "gateway/view.h"

struct upstream;

struct upstream_events {
    void (*connected)(struct upstream *upstream, bool ok);
    void (*readable)(struct upstream *upstream); /* bytes, or the end */
    void (*expired)(struct upstream *upstream);  /* upstream_wait() was over */
};

struct upstream {
    h2o_socket_t *socket;
    struct node *node;
    struct timers *timers;
    h2o_timeout_entry_t timer;
    uint64_t unacknowledged;      /* of a large request; 0: small, or the node has it */
    uint64_t acknowledged_at_end; /* of a large request, in bytes of the connection; 0: small */
    const struct upstream_events *events;
    void *holder;
    struct upstream *newer, *older; /* while idle: the pool's */
    bool reused;
};

/* NULL where the connection fails before it begins; `connected` is not called then, and never from within. */
struct upstream *upstream_open(h2o_loop_t *loop, struct timers *timers, struct node *node, uint64_t connect_timeout_ms,
                               const struct upstream_events *events, void *holder);
void upstream_close(struct upstream **upstream);
/* Ends the struct and gives the socket away, with reading stopped. */
h2o_socket_t *upstream_give_socket(struct upstream **upstream);

/* `expired` comes in DELAY_MS, unless this is called again before or upstream_rest(). */
void upstream_wait(struct upstream *upstream, uint64_t delay_ms);
void upstream_rest(struct upstream *upstream);

/* Sends two PARTS, which stay where they are until they are sent. False: the connection is dead, and of these bytes it
 * has taken none. What fails later shows as the connection's end. */
bool upstream_send(struct upstream *upstream, const h2o_iovec_t parts[2]);
/* Whether the node has all of a request: while a large one is on its way, what follows it would queue behind it. */
bool upstream_sent(const struct upstream *upstream);
/* Whether, of a large request, the node has taken more since the last look: it is slow, not dead. */
bool upstream_progresses(struct upstream *upstream);

#define UPSTREAM_READ_NOTHING (-1) /* woken in vain */
#define UPSTREAM_READ_BROKEN  (-2)
/* Up to SIZE bytes to TO: how many, 0 at the end, or one of the above. One system call. */
ssize_t upstream_read(struct upstream *upstream, char *to, size_t size);

/* Back-pressure: `readable` does not come between the two. */
void upstream_pause(struct upstream *upstream);
void upstream_resume(struct upstream *upstream);

#endif
