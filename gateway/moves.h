/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts rules in force. Where they move users from one unit to another, it does so in order: no request fails, and what
 * a user sent earlier is delivered earlier. docs/FAILOVER.md has the protocol; in short:
 *   arrivals (the new unit will wait for the old one) -> `moving` in the old unit's broker record (gateways hold what
 *   is of the users who leave) -> the record's stamp in the broker (who has not heard of it is refused) -> the rules.
 * Nobody has to finish what another began: rules that do not come are given up by any gateway (moves_follow), which
 * puts those in force once more, under a new epoch, past which nothing is held.
 *
 * Owned by the control thread, which alone calls it. One change at a time: the store's compare-and-set decides between
 * gateways, and a second one at this gateway is refused.
 */
#ifndef GATEWAY_MOVES_H
#define GATEWAY_MOVES_H

#include "gateway/control.h"

struct moves;

struct moves *moves_create(struct control *control);
/* Who waits for a change is told NULL. */
void moves_destroy(struct moves **moves);

struct moves_change {
    uint64_t expected_epoch, restores; /* as for store_put_rules() */
    struct str text;
    const char *by, *note;
    bool unfenced; /* at once, in whatever order */
};

enum moves_outcome {
    MOVES_PUT = 0,
    MOVES_CONFLICT, /* `now` is what is in force */
    MOVES_REFUSED,  /* users could not be moved in order; nothing was changed */
    MOVES_FAILED,   /* the store did not take it */
};

struct moves_result {
    enum moves_outcome outcome;
    struct store_record now;
    struct error err;
    unsigned fenced;  /* units that users left in order */
    uint64_t held_us; /* from the first unit that held to the rules; 0: none did */
};

typedef void (*moves_done_fn)(void *arg, const struct moves_result *result);

/* Puts CHANGE, whose rules are TABLE; both are copied or referenced. DONE runs once, perhaps at once. */
void moves_put(struct moves *moves, const struct moves_change *change, struct table *table, moves_done_fn done,
               void *arg);

/* Rules or records may have changed. */
void moves_follow(struct moves *moves);

#endif
