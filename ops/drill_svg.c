/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/drill_svg.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/measure.h"
#include "ops/ctl.h"
#include "ops/drill_figures.h"
#include "ops/html.h"

#define LANES       3 /* marks of a gateway that would cover each other stand in lanes */
#define LANE_HEIGHT 20
#define ROW_HEIGHT  (LANES * LANE_HEIGHT + 10)
#define MARK_RADIUS 8
#define LATE_MS     5000 /* what comes later would press the rest of the timeline together */

/* --- parts of all pictures ------------------------------------------------------------------------------------------
 */

/* 1, 2 or 5 times a power of ten: some eight of them fill SPAN. */
static double round_step(double span)
{
    double power = pow(10, floor(log10(span / 8)));
    double share = span / 8 / power;
    return power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
}

struct drill_axis drill_axis(double from, double to)
{
    if (!(to - from > 1e-3))
        to = from + 1;
    return (struct drill_axis){from, to, round_step(to - from)};
}

double drill_axis_x(const struct drill_axis *axis, double ms)
{
    double width = DRILL_SVG_WIDTH - DRILL_SVG_LEFT - DRILL_SVG_RIGHT;
    return DRILL_SVG_LEFT + width * (ms - axis->from) / (axis->to - axis->from);
}

void drill_axis_draw(const struct drill_axis *axis, int top, int bottom, struct buf *out)
{
    for (double at = ceil(axis->from / axis->step) * axis->step; at <= axis->to; at += axis->step) {
        double ms = fabs(at) < axis->step / 2 ? 0 : at, x = drill_axis_x(axis, ms);
        buf_printf(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, top, x, bottom);
        buf_printf(out, "<text class=\"figure\" x=\"%.1f\" y=\"%d\">%g</text>", x, bottom + 14, ms);
    }
    buf_printf(out, "<text class=\"unit\" x=\"%d\" y=\"%d\">ms after the fault</text>\n",
               DRILL_SVG_WIDTH - DRILL_SVG_RIGHT, bottom + 30);
}

void drill_svg_begin(struct buf *out, int height, const char *format, ...)
{
    char title[512];
    va_list args;
    va_start(args, format);
    vsnprintf(title, sizeof(title), format, args);
    va_end(args);
    buf_printf(out, "<div class=\"wide\"><svg viewBox=\"0 0 %d %d\" role=\"img\">", DRILL_SVG_WIDTH, height);
    html_element(out, "title", "%s", title);
    buf_printf(out, "\n");
}

void drill_svg_end(struct buf *out)
{
    buf_printf(out, "</svg></div>\n");
}

/* --- the timeline ---------------------------------------------------------------------------------------------------
 */

/* What an event's mark shows, in the order in which things should happen. */
static const struct mark {
    const char *kind, *letter, *says;
} marks[] = {
    {"suspect", "S", "suspects"},  {"vote", "V", "votes"},      {"decide", "P", "proposes"},
    {"record", "R", "new record"}, {"promoted", "L", "led by"}, {"first_success", "\u2713", "first success"},
};

static const struct mark *mark_of(const json_t *event)
{
    for (size_t i = 0; i < COUNT_OF(marks); i++)
        if (strcmp(marks[i].kind, ctl_text(event, "kind")) == 0)
            return &marks[i];
    return NULL;
}

static double event_ms(const json_t *event)
{
    return drill_number(event, "at_us") / 1000;
}

/* Of the round's chain; NAN where GATEWAY saw none. */
static double success_ms(const json_t *round, const char *gateway)
{
    const json_t *link;
    size_t i;
    json_array_foreach(json_object_get(round, "chain"), i, link) {
        if (strcmp(ctl_text(link, "gateway"), gateway) == 0)
            return drill_number(link, "first_success_ms");
    }
    return NAN;
}

/* Up to the last first success, or where that came late, to the last of the events that lead there in time. */
static struct drill_axis axis_of(const json_t *round)
{
    const json_t *event, *link;
    double last = 1, success = 0;
    size_t i;
    json_array_foreach(json_object_get(round, "chain"), i, link) {
        success = fmax(success, drill_number(link, "first_success_ms"));
    }
    json_array_foreach(json_object_get(round, "events"), i, event) {
        if (mark_of(event) != NULL && event_ms(event) < LATE_MS)
            last = fmax(last, event_ms(event));
    }
    double to = (success > 0 && success < LATE_MS ? success : last) * 1.06;
    return drill_axis(-to / 40, to);
}

static void draw_mark(const struct mark *mark, const json_t *event, double x, double y, struct buf *out)
{
    buf_printf(out, "<g class=\"mark %s\"><title>", mark->kind);
    html_text(out, ctl_text(event, "gateway"));
    buf_printf(out, " at %.1f ms: %s", event_ms(event), mark->says);
    if (*ctl_text(event, "text"))
        buf_printf(out, ": ");
    html_text(out, ctl_text(event, "text"));
    buf_printf(out, "</title><circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"/><text x=\"%.1f\" y=\"%.1f\">%s</text></g>\n", x,
               y, MARK_RADIUS, x, y + 3.5, mark->letter);
}

/* How long the gateway accepted nothing. */
static void draw_wait(const json_t *round, const char *gateway, const struct drill_axis *axis, double y,
                      struct buf *out)
{
    double success = success_ms(round, gateway), end = drill_axis_x(axis, fmin(success, axis->to));
    buf_printf(out, "<line class=\"span\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", drill_axis_x(axis, 0),
               y, end, y);
    if (isnan(success))
        buf_printf(out, "<text class=\"late\" x=\"%.1f\" y=\"%.1f\">no success seen</text>\n", end, y + 20);
    else if (success > axis->to)
        buf_printf(out, "<text class=\"late\" x=\"%.1f\" y=\"%.1f\">first success after %.1f s</text>\n", end, y + 20,
                   success / 1000);
}

/* The marks of a gateway, each in the first lane where it covers no other. */
static void draw_marks(const json_t *round, const char *gateway, const struct drill_axis *axis, double top,
                       struct buf *out)
{
    double ends[LANES] = {0};
    const json_t *event;
    size_t i;
    json_array_foreach(json_object_get(round, "events"), i, event) {
        const struct mark *mark = mark_of(event);
        if (mark == NULL || event_ms(event) > axis->to || strcmp(ctl_text(event, "gateway"), gateway) != 0)
            continue;
        double x = drill_axis_x(axis, event_ms(event));
        int lane = 0;
        while (lane < LANES - 1 && x - MARK_RADIUS < ends[lane])
            lane++;
        ends[lane] = x + MARK_RADIUS + 1;
        draw_mark(mark, event, x, top + lane * LANE_HEIGHT + MARK_RADIUS + 2, out);
    }
}

static void draw_gateway(const json_t *report, const json_t *round, const char *name, const struct drill_axis *axis,
                         double top, struct buf *out)
{
    buf_printf(out, "<line class=\"row\" x1=\"0\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", top - 2, DRILL_SVG_WIDTH,
               top - 2);
    buf_printf(out, "<text class=\"name\" x=\"0\" y=\"%.1f\">", top + 15);
    html_text(out, name);
    buf_printf(out, "</text><text class=\"place\" x=\"0\" y=\"%.1f\">", top + 31);
    html_text(out, drill_datacenter(report, name));
    buf_printf(out, "</text>\n");
    draw_wait(round, name, axis, top + MARK_RADIUS + 2, out);
    draw_marks(round, name, axis, top, out);
}

/* The line of the fault, at 0. */
static void draw_fault(const struct drill_axis *axis, int top, int bottom, struct buf *out)
{
    double x = drill_axis_x(axis, 0);
    buf_printf(out, "<line class=\"fault\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, top, x, bottom);
    buf_printf(out, "<text class=\"fault\" x=\"%.1f\" y=\"%d\">fault</text>\n", x, top - 4);
}

/* The line of what is wanted, where it lies within the picture. */
static void draw_bound(const json_t *report, const struct drill_axis *axis, int top, int bottom, struct buf *out)
{
    double bound = drill_number(report, "bound_ms");
    if (!(bound <= axis->to))
        return;
    double x = drill_axis_x(axis, bound);
    buf_printf(out, "<line class=\"bound\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", x, top, x, bottom);
    buf_printf(out, "<text class=\"bound\" x=\"%.1f\" y=\"%d\">wanted: %g ms</text>\n", x, top - 4, bound);
}

void drill_svg_timeline(const json_t *report, const json_t *round, struct buf *out)
{
    const json_t *gateways = json_object_get(json_object_get(report, "deployment"), "gateways"), *gateway;
    struct drill_axis axis = axis_of(round);
    int top = 22, bottom = top + (int)json_array_size(gateways) * ROW_HEIGHT;
    size_t i;
    drill_svg_begin(out, bottom + 36,
                    "Timeline of round %lld: what each gateway did from the fault to its first success",
                    (long long)drill_count(round, "round"));
    drill_axis_draw(&axis, top, bottom, out);
    json_array_foreach(gateways, i, gateway) {
        draw_gateway(report, round, ctl_text(gateway, "name"), &axis, top + (double)i * ROW_HEIGHT + 4, out);
    }
    draw_fault(&axis, top, bottom, out);
    draw_bound(report, &axis, top, bottom, out);
    drill_svg_end(out);
}

/* --- the rounds -----------------------------------------------------------------------------------------------------
 */

/* A dot for each gateway's first success, joined by a line. */
static void draw_round(const json_t *round, const struct drill_axis *axis, int y, struct buf *out)
{
    const json_t *link;
    double first = INFINITY, last = 0;
    size_t i, silent = 0;
    buf_printf(out, "<text class=\"name\" x=\"0\" y=\"%d\">round %lld</text>", y + 4,
               (long long)drill_count(round, "round"));
    json_array_foreach(json_object_get(round, "chain"), i, link) {
        double ms = drill_number(link, "first_success_ms");
        if (isnan(ms)) {
            silent++;
            continue;
        }
        first = fmin(first, ms);
        last = fmax(last, ms);
        buf_printf(out, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%d\" r=\"4\"><title>", drill_axis_x(axis, ms), y);
        html_text(out, ctl_text(link, "gateway"));
        buf_printf(out, ": %.1f ms</title></circle>", ms);
    }
    if (first <= last)
        buf_printf(out, "<line class=\"span\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>", drill_axis_x(axis, first),
                   y, drill_axis_x(axis, last), y);
    if (silent > 0)
        buf_printf(out, "<text class=\"never\" x=\"%.1f\" y=\"%d\">%zu of %zu saw no success</text>",
                   drill_axis_x(axis, last) + 8, y + 4, silent, i);
    buf_printf(out, "\n");
}

void drill_svg_rounds(const json_t *report, struct buf *out)
{
    const json_t *rounds = json_object_get(report, "rounds"), *round;
    struct drill_spread spread = drill_spread(report, "first_success_ms", NULL);
    double bound = drill_number(report, "bound_ms"), most = spread.count > 0 ? spread.max : 1;
    struct drill_axis axis = drill_axis(0, 1.06 * fmax(most, isnan(bound) ? 0 : bound));
    int top = 22, bottom = top + (int)json_array_size(rounds) * 18 + 6;
    size_t i;
    drill_svg_begin(out, bottom + 36, "First success after the fault in each round, a dot for each gateway");
    drill_axis_draw(&axis, top, bottom, out);
    json_array_foreach(rounds, i, round) {
        draw_round(round, &axis, top + 12 + (int)i * 18, out);
    }
    draw_bound(report, &axis, top, bottom, out);
    drill_svg_end(out);
}
