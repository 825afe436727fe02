/* SPDX-License-Identifier: Apache-2.0
 *
 * One run of a drill on a playground, from its guard rails to its report. What a run leaves stands in a folder of its
 * own, DIR/drills/ID: events.jsonl (a line an event, as it happens), requests.csv, report.json, report.html.
 */
#ifndef OPS_DRILL_RUN_H
#define OPS_DRILL_RUN_H

#include <jansson.h>
#include <stdio.h>

#include "ops/deployment.h"
#include "ops/drill_file.h"
#include "ops/drill_load.h"
#include "ops/fault.h"
#include "ops/rulefile.h"

enum drill_end {
    DRILL_PASSED = 0,
    DRILL_NOT_PASSED,
    DRILL_ABORTED,     /* by a condition of the drill */
    DRILL_INTERRUPTED, /* by whoever ran it */
};

/* What happens from one injection to the steady state after it. */
struct drill_round {
    unsigned number;       /* from 1 */
    uint64_t began_us;     /* monotonic, as all here */
    uint64_t fault_us;     /* right before the first fault was done; 0: none was yet */
    uint64_t struck_us;    /* when the last fault had been done */
    uint64_t healed_us;    /* when the rollback began; 0: it has not */
    uint64_t collected_us; /* up to when the gateways' transitions are among `events` */
    uint64_t epoch;        /* of the unit's record before */
    json_t *targets;       /* names of processes and hosts, once each */
    json_t *events;        /* of the report */
    json_t *rollback;
    enum drill_end end;
    char why[320]; /* of what did not pass */
};

struct drill_span {
    uint64_t from_us, to_us;
};

/* Owned by drill_run(); lent to all that does its parts. */
struct drill_run {
    const struct drill *drill;
    const char *dir; /* of the playground */
    struct deployment deployment;
    json_t *topology;
    struct rulefile rules; /* in force when it began */
    struct fault_ground *ground;
    char id[96];
    char *folder;
    FILE *events;
    bool quiet; /* says nothing on standard output */

    const char *gateway_urls[DRILL_GATEWAYS_MOST], *gateway_names[DRILL_GATEWAYS_MOST]; /* ingresses, in one order */
    size_t gateway_count;
    struct drill_user *users; /* first those of the drill's unit */
    size_t user_count, own_count;
    struct drill_load *load;
    json_t *records;              /* how far those of the applications reached before it */
    uint64_t began_us, steady_us; /* when the load had been steady for long enough */

    struct drill_round *round; /* that is under way */
    struct drill_span *struck; /* of each round with a fault, from that to where its rollback began */
    size_t struck_count;
    json_t *rails, *steady, *rounds, *report;
};

/* Runs DRILL on the playground that ARGS name; prints its course, unless QUIET. *REPORT: a new reference, NULL where
 * nothing was done to anybody: then -1 with *err. -1 beside a report: it could not be written. */
int drill_run(const struct drill *drill, const struct args *args, bool quiet, json_t **report,
              struct error *err) MUST_CHECK;

/* Ends the method of the run that is under way in DIR, in whatever process, and waits until it has rolled back. Where
 * that process is gone, heals what it did. *WHAT: what was done, in a sentence. */
int drill_abort(const char *dir, const char **what, struct error *err) MUST_CHECK;

#endif
