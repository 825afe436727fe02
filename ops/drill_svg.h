/* SPDX-License-Identifier: Apache-2.0
 *
 * The pictures of a drill's report, as SVG elements within its page: drill_svg.c has the timeline and the rounds,
 * drill_plot.c the latencies. Each has a title for who cannot see it; what tells two things apart is a letter, a shape
 * or a place, and never a colour alone. Colours and fonts come from the page's style.
 */
#ifndef OPS_DRILL_SVG_H
#define OPS_DRILL_SVG_H

#include <jansson.h>

#include "common/str.h"

#define DRILL_SVG_WIDTH 960
#define DRILL_SVG_LEFT  110 /* where the time axis begins, behind the names */
#define DRILL_SVG_RIGHT 24

/* A stretch of time, in milliseconds after the fault, over the width of a picture. */
struct drill_axis {
    double from, to, step; /* STEP: between two marks */
};
struct drill_axis drill_axis(double from, double to);
double drill_axis_x(const struct drill_axis *axis, double ms);
/* Appends the marks and their figures: lines from TOP to BOTTOM, figures below. */
void drill_axis_draw(const struct drill_axis *axis, int top, int bottom, struct buf *out);

/* Begins a picture that is called as FORMAT says. */
void drill_svg_begin(struct buf *out, int height, const char *format, ...) __attribute__((format(printf, 3, 4)));

void drill_svg_end(struct buf *out);

/* What each gateway did in ROUND from the fault to its first success. */
void drill_svg_timeline(const json_t *report, const json_t *round, struct buf *out);
/* The first successes of all rounds against the bound. */
void drill_svg_rounds(const json_t *report, struct buf *out);
/* Latency and outcome of the requests to UNIT in ROUND, over time; MAX_MS is the top of its scale. */
void drill_svg_latency(const json_t *round, const json_t *samples, double max_ms, struct buf *out);
/* The highest latency of any unit in ROUND, at least 10. */
double drill_svg_highest(const json_t *round);

#endif
