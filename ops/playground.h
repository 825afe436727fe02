/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole deployment on loopback, from its start to its end, and what dies meanwhile. Owned by `playground up`.
 *
 * Lifecycle: prepare (folders, token, rules) -> start (brokers, rules, the others; each ready) -> watch, until told
 * to stop -> stop.
 */
#ifndef OPS_PLAYGROUND_H
#define OPS_PLAYGROUND_H

#include <systemd/sd-event.h>

#include "ops/play_plan.h"

struct playground {
    struct play_plan plan;
    char *token;
    bool supervise; /* start again what dies, now */
    bool stays;     /* this process stays with them, and takes them along when it ends */
    bool quiet;     /* says nothing on standard output */
    bool told_to_stop;
    sd_event *loop;
};

/* Folders, token and rules; what is there from an earlier run is kept. PLAN's numbers and folders are filled in. */
int playground_prepare(struct playground *playground, struct error *err) MUST_CHECK;

/* Returns when everything is ready and the topology is written. On a fault what was started is ended. */
int playground_start(struct playground *playground, struct error *err) MUST_CHECK;

/* Until SIGINT, SIGTERM or SIGHUP. */
void playground_watch(struct playground *playground);

void playground_stop(struct playground *playground);
void playground_free(struct playground *playground);

#endif
