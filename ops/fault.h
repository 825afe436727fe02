/* SPDX-License-Identifier: Apache-2.0
 *
 * Faults that are done to a playground, one at a time, and undone again: processes that end, stand still or come back
 * with other data; messages between hosts that get lost. Drills, the fault matrix and `ldcctl fault` stand on it.
 *
 * A target is a process by its name in topology.json ("RZ01-broker"), or a host ("RZ01"), which means all of its
 * processes. Networks are cut between hosts (a process stands for its host), and only where the playground was started
 * with --hosts namespaces; else such a fault is refused with a hint.
 *
 * What was started here is nobody's child that ends with its parent: `playground down` ends it, and so does the
 * playground that stays in the foreground. Nothing here looks whether a process is ready. A playground whose
 * supervisor starts again what dies is refused what kills. Changes of who runs are serialized by a lock in the folder,
 * and read anew each time, so that several processes may do faults to one playground.
 */
#ifndef OPS_FAULT_H
#define OPS_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct fault_ground; /* owned by who opened it; borrowed by every call */

enum fault_kind {
    FAULT_KILL = 0, /* SIGKILL; returns once all have ended */
    FAULT_FREEZE,   /* SIGSTOP */
    FAULT_RESTART,  /* SIGKILL, and started again at once, with DATA */
    FAULT_DROP,     /* messages between hosts get lost, all of them, without a word */
    FAULT_LOSS,     /* the same, PERCENT of them */
    FAULT_KINDS,
};

enum fault_way { /* as the target sees it */
                 FAULT_BOTH = 0,
                 FAULT_IN,
                 FAULT_OUT,
                 FAULT_WAYS,
};

enum fault_data { /* with which a broker or a member of the store comes back */
                  FAULT_DATA_KEPT = 0,
                  FAULT_DATA_EMPTY,
                  FAULT_DATA_OLD, /* the copy that fault_keep_copy() took */
};

struct fault {
    enum fault_kind kind;
    const char *target;
    const char *peer; /* DROP, LOSS: only between these two hosts; NULL: between TARGET and all, ldcctl's own too */
    enum fault_way way;
    unsigned percent; /* LOSS: 1 to 99 */
    enum fault_data data;
};

/* The playground in DIR, which must run; NULL with *err. */
struct fault_ground *fault_open(const char *dir, struct error *err) MUST_CHECK;
void fault_close(struct fault_ground **ground);

/* *AT_US (may be NULL): CLOCK_MONOTONIC in us right before the fault was done; a cut network is in force a few ms
 * later, when this returns. */
int fault_inject(struct fault_ground *ground, const struct fault *fault, uint64_t *at_us, struct error *err) MUST_CHECK;

/* Undoes all, whoever did it: every network whole, nobody frozen, everybody there. Goes on past what fails; *err is
 * the first of these. */
int fault_heal_all(struct fault_ground *ground, struct error *err) MUST_CHECK;

/* Keeps a copy of the data that TARGET (a broker or a member of the store) has now, in place of an older copy. */
int fault_keep_copy(struct fault_ground *ground, const char *target, struct error *err) MUST_CHECK;

/* "kill", "freeze", "restart", "drop", "loss"; "both", "in", "out". False: there is none of that name. */
bool fault_way_of(const char *name, enum fault_way *way);
const char *fault_kind_name(enum fault_kind kind);

#endif
