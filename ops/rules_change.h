/* SPDX-License-Identifier: Apache-2.0
 *
 * A change of the rules in force, from the file to the last process that serves it: begin (the new rules, sound) ->
 * weigh (what it moves) -> put (compare-and-set) -> follow, and undo where not all do -> end.
 */
#ifndef OPS_RULES_CHANGE_H
#define OPS_RULES_CHANGE_H

#include "ops/converge.h"
#include "ops/deployment.h"
#include "ops/rulefile.h"
#include "ops/weigh.h"

/* Owns all that it holds; the caller lends the struct. */
struct rules_change {
    const struct ctl *ctl;
    struct deployment deployment;
    struct rulefile before, after;   /* before.table NULL: no rules are in force yet */
    uint64_t epoch, version;         /* in force before; 0: none */
    uint64_t new_epoch, new_version; /* after put; 0: not put */
    uint64_t undone_epoch;           /* that the undoing made; 0: it was not undone */
    struct weigh weigh;
    bool unfenced;        /* users are moved at once, in whatever order */
    unsigned moved_units; /* that users left in order, */
    double moved_held_ms; /* whose requests waited for so long */
    struct converge converge;
};

/* Finds the deployment, and reads PATH where it is not NULL. Tells what is wrong where it is not CTL_DONE. End it
 * either way. */
enum ctl_exit rules_change_begin(struct rules_change *change, const struct ctl *ctl, const char *path);
void rules_change_end(struct rules_change *change);

/* Asks for the rules in force and holds the new ones against them and the traffic. */
int rules_change_weigh(struct rules_change *change, struct error *err) MUST_CHECK;

/* Puts the new rules in force if epoch EXPECTED still is; without new rules those of VERSION (NULL: the one before).
 * NOTE may be NULL. Faults that a gateway found go to standard error. */
int rules_change_put(struct rules_change *change, uint64_t expected, const char *version, const char *note,
                     struct error *err) MUST_CHECK;

/* Waits until all serve what was put. Where they do not, and UNDO, puts the version before in force again, and waits
 * for those who had followed. */
enum ctl_exit rules_change_follow(struct rules_change *change, int64_t timeout_ms, bool undo);

#endif
