/* SPDX-License-Identifier: Apache-2.0
 *
 * Carries ramps from step to step, and rolls back those whose colour fails: what ramp_decide() says, put into the store
 * by compare-and-set. Every gateway judges by what it saw itself, and gives back at once what is bad. One of them, the
 * carrier that the record names, judges by what all saw, and alone goes on to the next step; when it is gone another
 * takes its place. Owned by the control thread.
 */
#ifndef GATEWAY_RAMPS_H
#define GATEWAY_RAMPS_H

#include <jansson.h>

#include "gateway/color_window.h"
#include "gateway/view.h"

struct control;
struct ramps;

/* CONTROL is borrowed for its life. */
struct ramps *ramps_create(struct control *control);
void ramps_destroy(struct ramps **ramps);

/* What this gateway saw of the unit's colours, for its peers and for people: a new reference to
 * {"step_s", "answered": {COLOR: N}, "window": {COLOR: as color_totals_to_json()}}. */
json_t *ramps_seen(struct ramps *ramps, struct unit *unit);

#endif
