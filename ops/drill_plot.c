/* SPDX-License-Identifier: Apache-2.0
 *
 * Latency over time, on a scale of logarithms so that 2 and 2000 ms are both seen; below it what was accepted (bars
 * that stand) and what failed (hatched bars that hang), on one scale.
 */
#include <math.h>

#include "common/measure.h"
#include "ops/ctl.h"
#include "ops/drill_figures.h"
#include "ops/drill_svg.h"

#define PLOT_TOP    60
#define PLOT_HEIGHT 110
#define PLOT_BOTTOM (PLOT_TOP + PLOT_HEIGHT)
#define BAR_HEIGHT  26 /* of the tallest bar, either way */
#define BARS_AT     (PLOT_BOTTOM + 8 + BAR_HEIGHT)
#define BARS_BOTTOM (BARS_AT + BAR_HEIGHT + 2)
#define LOWEST_MS   0.5

/* The columns of a point of `samples`. */
enum column {
    AT_MS = 0,
    OK,
    FAILED,
    P50_MS,
    P99_MS,
    MAX_MS,
};

static double value(const json_t *point, enum column column)
{
    const json_t *number = json_array_get(point, column);
    return json_is_number(number) ? json_number_value(number) : NAN;
}

double drill_svg_highest(const json_t *round)
{
    const json_t *samples, *point;
    double highest = 10;
    size_t i, k;
    json_array_foreach(json_object_get(round, "samples"), i, samples) {
        json_array_foreach(json_object_get(samples, "points"), k, point) {
            highest = fmax(highest, value(point, MAX_MS));
        }
    }
    return highest;
}

static double latency_y(double ms, double max_ms)
{
    return PLOT_BOTTOM - PLOT_HEIGHT * log(fmax(ms, LOWEST_MS) / LOWEST_MS) / log(max_ms / LOWEST_MS);
}

static void draw_scale(double max_ms, struct buf *out)
{
    for (double ms = 1; ms <= max_ms; ms *= 10) {
        double y = latency_y(ms, max_ms);
        buf_printf(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", DRILL_SVG_LEFT, y,
                   DRILL_SVG_WIDTH - DRILL_SVG_RIGHT, y);
        buf_printf(out, "<text class=\"scale\" x=\"%d\" y=\"%.1f\">%g ms</text>", DRILL_SVG_LEFT - 6, y + 4, ms);
    }
    buf_printf(out,
               "<text class=\"scale\" x=\"%d\" y=\"%d\">accepted</text><text class=\"scale\" x=\"%d\" "
               "y=\"%d\">failed</text>\n",
               DRILL_SVG_LEFT - 6, BARS_AT - 8, DRILL_SVG_LEFT - 6, BARS_AT + 16);
}

/* One line; where nothing was accepted it is broken. */
static void draw_line(const json_t *points, enum column column, const char *class, const struct drill_axis *axis,
                      double max_ms, struct buf *out)
{
    const json_t *point;
    bool drawing = false;
    size_t i;
    buf_printf(out, "<path class=\"%s\" d=\"", class);
    json_array_foreach(points, i, point) {
        double ms = value(point, column);
        if (!isnan(ms))
            buf_printf(out, "%c%.1f %.1f%s", drawing ? 'L' : 'M', drill_axis_x(axis, value(point, AT_MS)),
                       latency_y(ms, max_ms), drawing ? "" : "h0"); /* a lone point is a dot */
        drawing = !isnan(ms);
    }
    buf_printf(out, "\"/>\n");
}

/* Bars of COLUMN from the middle line, up or down. */
static void draw_bars(const json_t *points, enum column column, const char *class, const struct drill_axis *axis,
                      double most, struct buf *out)
{
    int way = column == OK ? -1 : 1;
    double width = (DRILL_SVG_WIDTH - DRILL_SVG_LEFT - DRILL_SVG_RIGHT) / fmax(1, (double)json_array_size(points));
    const json_t *point;
    size_t i;
    buf_printf(out, "<path class=\"%s\" d=\"", class);
    json_array_foreach(points, i, point) {
        double count = value(point, column);
        if (count > 0)
            buf_printf(out, "M%.1f %dv%.1fh%.1fv%.1fz", drill_axis_x(axis, value(point, AT_MS)), BARS_AT + way,
                       way * fmax(2, BAR_HEIGHT * count / most), width, -way * fmax(2, BAR_HEIGHT * count / most));
    }
    buf_printf(out, "\"/>\n");
}

static double most_in_a_bin(const json_t *points)
{
    const json_t *point;
    double most = 1;
    size_t i;
    json_array_foreach(points, i, point) {
        most = fmax(most, fmax(value(point, OK), value(point, FAILED)));
    }
    return most;
}

/* A line for what was done to the deployment; names of several that come together stand below each other. */
static void draw_deed(const char *name, double x, size_t drawn, struct buf *out)
{
    const char *class = drawn == 0 ? "fault" : "deed";
    bool at_end = x > DRILL_SVG_WIDTH - DRILL_SVG_RIGHT - 60;
    int top = PLOT_TOP - 8 - 12 * (int)(drawn % 5);
    buf_printf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", class, x, top, x, BARS_BOTTOM);
    buf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%s</text>\n", class,
               at_end ? x - 3 : x + 3, top + 8, at_end ? "end" : "start", name);
}

static void draw_deeds(const json_t *round, const struct drill_axis *axis, struct buf *out)
{
    static const char *const deeds[][2] = {{"inject", "fault"},
                                           {"heal", "mended"},
                                           {"in_sync", "in sync"},
                                           {"operator", "operator"},
                                           {"abort", "aborted"}};
    const json_t *event;
    size_t i, drawn = 0;
    json_array_foreach(json_object_get(round, "events"), i, event) {
        double ms = drill_number(event, "at_us") / 1000;
        for (size_t k = 0; k < COUNT_OF(deeds); k++)
            if (ms <= axis->to && strcmp(deeds[k][0], ctl_text(event, "kind")) == 0)
                draw_deed(deeds[k][1], drill_axis_x(axis, ms), drawn++, out);
    }
}

/* From the first point to the end of the last one's bin. */
static struct drill_axis axis_of(const json_t *points)
{
    size_t count = json_array_size(points);
    double first = value(json_array_get(points, 0), AT_MS), last = value(json_array_get(points, count - 1), AT_MS);
    if (count < 2 || isnan(first) || isnan(last))
        return drill_axis(0, 1);
    return drill_axis(first, last + (last - first) / (double)(count - 1));
}

void drill_svg_latency(const json_t *round, const json_t *samples, double max_ms, struct buf *out)
{
    const json_t *points = json_object_get(samples, "points");
    struct drill_axis axis = axis_of(points);
    drill_svg_begin(out, BARS_BOTTOM + 36,
                    "Requests of users of %s in round %lld: latency, accepted and failed over time",
                    ctl_text(samples, "unit"), (long long)drill_count(round, "round"));
    draw_scale(max_ms, out);
    drill_axis_draw(&axis, PLOT_TOP, BARS_BOTTOM, out);
    draw_bars(points, OK, "accepted", &axis, most_in_a_bin(points), out);
    draw_bars(points, FAILED, "failed", &axis, most_in_a_bin(points), out);
    draw_line(points, P99_MS, "p99", &axis, max_ms, out);
    draw_line(points, P50_MS, "p50", &axis, max_ms, out);
    draw_deeds(round, &axis, out);
    drill_svg_end(out);
}
