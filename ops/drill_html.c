/* SPDX-License-Identifier: Apache-2.0
 *
 * A drill's report as one HTML page: the verdict and the figures that it rests on, then the way from the fault to the
 * first success, whom it touched, the proof, and what was done. Nothing is loaded from anywhere and nothing runs in it.
 */
#include <math.h>

#include "common/measure.h"
#include "common/version.h"
#include "ops/ctl.h"
#include "ops/drill_figures.h"
#include "ops/drill_page.h"
#include "ops/drill_report.h"
#include "ops/drill_svg.h"
#include "ops/html.h"

__asm__(".section .rodata\n"
        "drill_style: .incbin \"ops/drill_report.css\"\n"
        "drill_style_end: .balign 8\n"
        "drill_style_size: .quad drill_style_end - drill_style\n"
        ".previous\n");
extern const char drill_style[] __attribute__((visibility("hidden")));
extern const size_t drill_style_size __attribute__((visibility("hidden")));

static void append_head(const json_t *report, struct buf *out)
{
    buf_printf(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                    "'unsafe-inline'\">\n");
    html_element(out, "title", "%s: %s (%s)", ctl_text(report, "title"), ctl_text(report, "outcome"),
                 ctl_text(report, "id"));
    buf_printf(out, "\n<style>\n");
    buf_append(out, drill_style, drill_style_size);
    buf_printf(out, "</style>\n</head>\n<body>\n<main>\n"
                    "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs><pattern "
                    "id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
                    "patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"5\"/>"
                    "</pattern></defs></svg>\n");
}

/* --- the verdict ----------------------------------------------------------------------------------------------------
 */

static void append_headline(const json_t *report, struct buf *out)
{
    const json_t *parameters = json_object_get(report, "parameters");
    bool passed = drill_passed(report);
    html_element(out, "h1", "%s", ctl_text(report, "title"));
    html_element(out, "p class=\"soft\"", "%s", ctl_text(report, "teaches"));
    html_element(out, passed ? "p class=\"verdict good\"" : "p class=\"verdict bad\"", "%s %s",
                 passed ? "\u2713" : "\u2717", ctl_text(report, "outcome"));
    buf_printf(out, "\n");
    if (*ctl_text(report, "why"))
        html_element(out, "p", "%s", ctl_text(report, "why"));
    html_element(
        out, "p class=\"soft\"",
        "Drill %s, run %s, at %s, %lld s. Unit %s, fault %s, %lld rounds; control store: %s; load: %lld requests "
        "a second.",
        ctl_text(report, "drill"), ctl_text(report, "id"), ctl_text(report, "at"),
        (long long)drill_count(report, "seconds"), ctl_text(parameters, "unit"), ctl_text(parameters, "fault"),
        (long long)json_array_size(json_object_get(report, "rounds")),
        ctl_text(json_object_get(report, "deployment"), "store"),
        (long long)drill_count(json_object_get(report, "load"), "rate"));
}

static void append_figure(struct buf *out, const char *name, int64_t count, bool good)
{
    html_element(out, "dt", "%s", name);
    html_element(out, good ? "dd" : "dd class=\"bad\"", "%lld%s", (long long)count, good ? "" : " \u2717");
}

static void append_success_figure(const json_t *report, struct buf *out)
{
    struct drill_spread spread = drill_spread(report, "first_success_ms", NULL);
    buf_printf(out, "<div>");
    html_element(out, "dt", "fault \u2192 first success, p50 / max");
    if (spread.count > 0)
        html_element(out, "dd", "%.0f / %.0f ms", spread.p50, spread.max);
    else
        html_element(out, "dd", "none");
    buf_printf(out, "</div>\n");
}

static void append_key_figures(const json_t *report, struct buf *out)
{
    const json_t *proof = json_object_get(report, "proof"), *load = json_object_get(report, "load");
    int64_t lost = drill_count(proof, "lost_count"), repeated = drill_count(proof, "duplicated_count");
    const struct {
        const char *name;
        int64_t count;
        bool good;
    } figures[] = {
        {"requests accepted", drill_count(load, "accepted"), true},
        {"accepted and lost", lost, lost == 0},
        {"processed twice", repeated, true},
        {"requests failed", drill_count(load, "failed"), true},
        {"of these in other units", drill_failed_elsewhere(report), drill_failed_elsewhere(report) == 0},
    };
    buf_printf(out, "<dl class=\"key-figures\">\n");
    append_success_figure(report, out);
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        buf_printf(out, "<div>");
        append_figure(out, figures[i].name, figures[i].count, figures[i].good);
        buf_printf(out, "</div>\n");
    }
    buf_printf(out, "</dl>\n");
}

/* --- from the fault to the first success ----------------------------------------------------------------------------
 */

static void append_phase_row(const json_t *report, const char *gateway, struct buf *out)
{
    buf_printf(out, gateway ? "<tr>" : "<tr class=\"sum\">");
    html_element(out, "th scope=\"row\"", "%s", gateway ? gateway : "all");
    html_element(out, "td", "%s", gateway ? drill_datacenter(report, gateway) : "");
    for (size_t i = 0; i < DRILL_PHASES; i++) {
        struct drill_spread spread = drill_spread(report, drill_phases[i].key, gateway);
        if (spread.count > 0)
            html_element(out, "td class=\"number\"", "%.1f / %.1f", spread.p50, spread.max);
        else
            html_element(out, "td class=\"number\"", "\u2013");
    }
    buf_printf(out, "</tr>\n");
}

static void append_phases(const json_t *report, struct buf *out)
{
    const json_t *gateway;
    size_t i;
    buf_printf(out, "<h2>From the fault to the first success</h2>\n<div class=\"wide\"><table>\n");
    html_element(out, "caption",
                 "Milliseconds after the fault: median / greatest of all rounds. A phase that a gateway "
                 "had no part in has a dash: only one of them proposes.");
    buf_printf(out, "<thead><tr><th scope=\"col\">gateway</th><th scope=\"col\">datacentre</th>");
    for (i = 0; i < DRILL_PHASES; i++)
        html_element(out, "th scope=\"col\" class=\"number\"", "%s", drill_phases[i].title);
    buf_printf(out, "</tr></thead>\n<tbody>\n");
    json_array_foreach(json_object_get(json_object_get(report, "deployment"), "gateways"), i, gateway) {
        append_phase_row(report, ctl_text(gateway, "name"), out);
    }
    append_phase_row(report, NULL, out);
    buf_printf(out, "</tbody></table></div>\n<p class=\"legend\">");
    for (i = 0; i < DRILL_PHASES; i++) {
        html_element(out, "b", "%s", drill_phases[i].title);
        buf_printf(out, ": %s%s", drill_phases[i].meaning, i + 1 < DRILL_PHASES ? "; " : ".</p>\n");
    }
}

static void append_pictures(const json_t *report, struct buf *out)
{
    const json_t *rounds = json_object_get(report, "rounds");
    size_t worst = drill_worst_round(report);
    if (json_array_size(rounds) == 0) {
        html_element(out, "p", "No round was run.");
        return;
    }
    if (json_array_size(rounds) > 1) {
        buf_printf(out, "<h2>Every round</h2>\n");
        drill_svg_rounds(report, out);
    }
    const json_t *round = json_array_get(rounds, worst);
    html_element(out, "h2", "The slowest round: %lld", (long long)drill_count(round, "round"));
    drill_page_round(report, round, true, out);
}

static void append_other_rounds(const json_t *report, struct buf *out)
{
    const json_t *rounds = json_object_get(report, "rounds"), *round;
    size_t i, worst = drill_worst_round(report);
    if (json_array_size(rounds) < 2)
        return;
    buf_printf(out, "<h2>The other rounds</h2>\n");
    json_array_foreach(rounds, i, round) {
        if (i == worst)
            continue;
        buf_printf(out, "<details>");
        html_element(out, "summary", "Round %lld: %s", (long long)drill_count(round, "round"),
                     ctl_text(round, "outcome"));
        drill_page_round(report, round, false, out);
        buf_printf(out, "</details>\n");
    }
}

void drill_report_html(const json_t *report, struct buf *out)
{
    append_head(report, out);
    append_headline(report, out);
    append_key_figures(report, out);
    append_phases(report, out);
    append_pictures(report, out);
    drill_page_blast(report, out);
    drill_page_proof(report, out);
    drill_page_rounds(report, out);
    drill_page_before(report, out);
    append_other_rounds(report, out);
    buf_printf(out,
               "<footer>ldcctl " LDCGATE_VERSION ". The same figures stand in report.json beside this page.</footer>\n"
               "</main>\n</body>\n</html>\n");
}
