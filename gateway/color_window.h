/* SPDX-License-Identifier: Apache-2.0
 *
 * What a unit's colours did lately, by the tallies that the workers keep: of the last seconds, and since a ramp's step
 * came into force. Owned by the control thread.
 */
#ifndef GATEWAY_COLOR_WINDOW_H
#define GATEWAY_COLOR_WINDOW_H

#include <jansson.h>

#include "gateway/view.h"
#include "router/ramp.h"

#define COLOR_WINDOW_PANES   10 /* that are whole; the one being filled comes on top */
#define COLOR_WINDOW_PANE_US 1000000

struct color_totals {
    uint64_t failed, delivered, undelivered;
    uint64_t buckets[STAT_BUCKETS]; /* of latency, as in struct stat_histogram */
};

struct color_window {
    struct color_totals begin[COLOR_COUNT]; /* at the reset */
    struct color_totals panes[COLOR_WINDOW_PANES + 1][COLOR_COUNT];
    unsigned newest, count;
    uint64_t sampled_us;
};

/* Forgets what was before NOW_US (monotonic). */
void color_window_reset(struct color_window *window, const struct unit *unit, uint64_t now_us);

/* Begins a new pane where the last one is over. */
void color_window_sample(struct color_window *window, const struct unit *unit, uint64_t now_us);

/* Adds what UNIT's COLOR did in the window to TOTALS. */
void color_window_recent(const struct color_window *window, const struct unit *unit, enum color color,
                         struct color_totals *totals);

/* How many requests the colour has answered since the reset; and how many deliveries were tried. */
uint64_t color_window_answered(const struct color_window *window, const struct unit *unit, enum color color);
uint64_t color_window_delivered(const struct color_window *window, const struct unit *unit, enum color color);

/* The same in the words of router/ramp.h: deliveries count as requests, and have no latency. */
struct ramp_figures color_totals_figures(const struct color_totals *totals);

/* {"requests", "failed", "p90_ms", "deliveries", "deliveries_failed", "buckets": [[index, count]...]}: a new reference.
 * And back, added to TOTALS: without the deliveries, which every gateway hears of from the agents. */
json_t *color_totals_to_json(const struct color_totals *totals);
void color_totals_add_json(struct color_totals *totals, const json_t *json);

#endif
