/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits until every gateway has seen a change of a unit through, and tells how that went, step by step.
 */
#ifndef OPS_UNIT_SWITCH_H
#define OPS_UNIT_SWITCH_H

#include "ops/ctl.h"
#include "ops/deployment.h"

struct unit_switch {
    const char *unit;
    uint64_t epoch, since_us; /* of the record that began it, and its wall time */
    size_t followed, gateways;
    json_t **last; /* [gateways]: the unit as each told it last; NULL: it said nothing */
    json_t *steps; /* [{"ms","event","text"}...] */
};

/* From the answer to what began it. False where not every gateway followed in time. */
bool unit_switch_wait(struct unit_switch *unit_switch, struct deployment *deployment, const char *unit,
                      const json_t *answer, int64_t timeout_ms);
void unit_switch_free(struct unit_switch *unit_switch);

/* The record that is in force, as the gateway that knows the newest tells it; borrowed. */
const json_t *unit_switch_record(const struct unit_switch *unit_switch);

/* {"requests","longest_ms"}: what waited, at all gateways; a new reference. */
json_t *unit_switch_held(const struct unit_switch *unit_switch);

void unit_switch_print(const struct unit_switch *unit_switch);

#endif
