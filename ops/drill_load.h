/* SPDX-License-Identifier: Apache-2.0
 *
 * The load of a drill: queued messages at a steady rate, from users of all units, through all gateways in turn,
 * whatever is answered (an open loop, so that a gateway that stands still does not hide what its clients would have
 * seen). Each request is kept with its times, its answer and its message id. Runs on a thread of its own.
 *
 * Lifecycle: start -> (read, at any time) -> stop, which waits for what is under way -> read -> destroy.
 */
#ifndef OPS_DRILL_LOAD_H
#define OPS_DRILL_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "common/str.h"

#define DRILL_GATEWAYS_MOST 64

enum drill_outcome {
    DRILL_UNDER_WAY = 0,
    DRILL_ACCEPTED, /* 2xx */
    DRILL_FAILED,   /* a definite no: nothing was stored */
    DRILL_UNKNOWN,  /* no answer, or one that leaves open whether it was stored */
};

struct drill_request {
    uint64_t asked_us, answered_us; /* monotonic */
    uint64_t epoch;                 /* LDC-Epoch of the answer: of the unit's record; 0: none */
    uint32_t user;                  /* index */
    uint16_t status;                /* 0: no answer */
    uint8_t gateway;                /* index: who answered, or was asked last */
    uint8_t outcome;                /* enum drill_outcome */
    char *id;                       /* of an accepted message; owned by the load */
    char reason[32];                /* of what was not accepted: the problem's type, or the client's fault */
};

struct drill_user {
    char name[16];
    uint32_t unit; /* index, as the caller counts them */
};

/* Borrowed until destroy. Users follow each other in the order of `users`: mix the units. The first OWN_COUNT of them
 * have OWN_PERCENT of the requests. */
struct drill_load_plan {
    const char *run;             /* stands in each body, as {"drill":RUN,"n":NUMBER,"payee":USER} */
    const char *const *gateways; /* base URLs of the ingresses */
    size_t gateway_count;
    const struct drill_user *users;
    size_t user_count, own_count;
    unsigned own_percent; /* 0: all users have as many */
    struct str path;
    unsigned rate; /* requests a second, of all */
};

struct drill_load;

/* Begins to send, on a thread of its own. */
struct drill_load *drill_load_start(const struct drill_load_plan *plan);

/* Sends no more, and returns when all is answered or timed out. */
void drill_load_stop(struct drill_load *load);
void drill_load_destroy(struct drill_load **load);

/* Calls FN with each request from number FROM on, in the order in which they were asked, with the load held still: be
 * short. Returns how many there are. */
typedef void (*drill_load_fn)(void *arg, const struct drill_request *request);
size_t drill_load_each(struct drill_load *load, size_t from, drill_load_fn fn, void *arg);

/* The number of the first request that was asked at SINCE_US or later. */
size_t drill_load_since(struct drill_load *load, uint64_t since_us);

#endif
