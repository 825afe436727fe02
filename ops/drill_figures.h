/* SPDX-License-Identifier: Apache-2.0
 *
 * Figures of a drill's report: what is read out of it, and what is summed up over its rounds. All JSON is borrowed; a
 * number that is missing or null is NAN.
 */
#ifndef OPS_DRILL_FIGURES_H
#define OPS_DRILL_FIGURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The way from the fault to the first success, as the keys of a round's `chain`. */
struct drill_phase {
    const char *key, *title, *meaning;
};
#define DRILL_PHASES 5
extern const struct drill_phase drill_phases[DRILL_PHASES];

/* Of one phase over rounds and gateways. NAN where COUNT is 0. */
struct drill_spread {
    size_t count;
    double p50, max;
};

double drill_number(const json_t *object, const char *key);
int64_t drill_count(const json_t *object, const char *key); /* rounded; 0 where there is none */

/* Of the phase KEY at GATEWAY, or at all where it is NULL. The median is the lower one of two (nearest rank). */
struct drill_spread drill_spread(const json_t *report, const char *key, const char *gateway);

/* Whether a run, a round or a step ended as it should. */
bool drill_passed(const json_t *object);

/* The index of the round whose first success came last; one that never saw it at some gateway comes before all others.
 */
size_t drill_worst_round(const json_t *report);

/* Requests that failed in units that were not the target. */
int64_t drill_failed_elsewhere(const json_t *report);

/* The datacentre of the gateway NAME, "" where it is not told. */
const char *drill_datacenter(const json_t *report, const char *name);

#endif
