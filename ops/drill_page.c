/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/drill_page.h"

#include <math.h>

#include "common/measure.h"
#include "ops/ctl.h"
#include "ops/drill_figures.h"
#include "ops/drill_svg.h"
#include "ops/html.h"

#define EVENTS_MOST 300 /* of a round; the others stand in report.json */
#define VOTES_MOST  12

/* --- tables ---------------------------------------------------------------------------------------------------------
 */

/* HEADS with '|' between them; one that begins with '>' is a number's. */
static void begin_table(struct buf *out, const char *caption, const char *heads)
{
    struct str rest = str_of(heads), head;
    buf_printf(out, "<div class=\"wide\"><table>\n");
    html_element(out, "caption", "%s", caption);
    buf_printf(out, "<thead><tr>");
    while (str_next(&rest, '|', &head)) {
        bool number = str_starts(head, STR_LIT(">"));
        html_element(out, number ? "th scope=\"col\" class=\"number\"" : "th scope=\"col\"", "%.*s",
                     (int)head.len - number, head.base + number);
    }
    buf_printf(out, "</tr></thead>\n<tbody>\n");
}

static void end_table(struct buf *out)
{
    buf_printf(out, "</tbody></table></div>\n");
}

static void append_count(struct buf *out, const json_t *object, const char *key)
{
    if (json_is_integer(json_object_get(object, key)))
        html_element(out, "td class=\"number\"", "%lld", (long long)drill_count(object, key));
    else
        html_element(out, "td class=\"number\"", "\u2013");
}

static void append_ms(struct buf *out, double ms)
{
    html_element(out, "td class=\"number\"", isnan(ms) ? "\u2013" : "%.1f", ms);
}

/* A word with its mark, so that no one needs to see its colour. */
static void append_judgement(struct buf *out, bool good, const char *word)
{
    html_element(out, good ? "td class=\"good\"" : "td class=\"bad\"", "%s %s", good ? "\u2713" : "\u2717", word);
}

/* --- a round --------------------------------------------------------------------------------------------------------
 */

/* Who decided and why: what the records say that came into force. */
static void append_votes(const json_t *round, struct buf *out)
{
    const json_t *event;
    const char *last = "";
    size_t i, shown = 0;
    json_array_foreach(json_object_get(round, "events"), i, event) {
        const char *text = ctl_text(event, "text");
        if (strcmp(ctl_text(event, "kind"), "record") != 0 || *text == '\0' || strcmp(text, last) == 0 ||
            shown++ == VOTES_MOST)
            continue;
        html_element(out, "p class=\"why\"", "Epoch %lld of %s, after %.1f ms: %s",
                     (long long)drill_count(event, "epoch"), ctl_text(event, "unit"),
                     (double)drill_count(event, "at_us") / 1000, text);
        last = text;
    }
}

static void append_events(const json_t *round, struct buf *out)
{
    const json_t *event;
    size_t i;
    buf_printf(out, "<details>");
    html_element(out, "summary", "All events of round %lld", (long long)drill_count(round, "round"));
    begin_table(out, "", ">ms|event|gateway|unit|>epoch|what");
    json_array_foreach(json_object_get(round, "events"), i, event) {
        buf_printf(out, "<tr>");
        append_ms(out, drill_number(event, "at_us") / 1000);
        html_element(out, "td", "%s", ctl_text(event, "kind"));
        html_element(out, "td", "%s", ctl_text(event, "gateway"));
        html_element(out, "td", "%s", ctl_text(event, "unit"));
        append_count(out, event, "epoch");
        html_element(out, "td", "%s", ctl_text(event, "text"));
        buf_printf(out, "</tr>\n");
    }
    end_table(out);
    if (i == EVENTS_MOST)
        html_element(out, "p", "There are more: all %zu stand in report.json.",
                     json_array_size(json_object_get(round, "events")));
    buf_printf(out, "</details>\n");
}

static void append_latencies(const json_t *report, const json_t *round, bool whole, struct buf *out)
{
    const char *target = ctl_text(json_object_get(report, "parameters"), "unit");
    const json_t *samples;
    size_t i;
    buf_printf(out,
               "<h3>Latency of the users' requests</h3>\n<p class=\"legend\">Solid: median; dashed: 99th percentile; "
               "the scale is logarithmic. Bars that stand: requests accepted; hatched bars that hang: failed.</p>\n");
    json_array_foreach(json_object_get(round, "samples"), i, samples) {
        bool is_target = strcmp(target, ctl_text(samples, "unit")) == 0;
        if (!whole && !is_target)
            continue;
        html_element(out, "h3", "%s%s", ctl_text(samples, "unit"), is_target ? ", the target" : "");
        drill_svg_latency(round, samples, drill_svg_highest(round), out);
    }
}

void drill_page_round(const json_t *report, const json_t *round, bool whole, struct buf *out)
{
    html_element(out, "h3", "Timeline");
    buf_printf(out,
               "<p class=\"legend\"><b>S</b> suspects, <b>V</b> votes, <b>P</b> proposes, <b>R</b> goes by the new "
               "record, <b>L</b> hears that the new primary leads, <b>\u2713</b> first success.</p>\n");
    drill_svg_timeline(report, round, out);
    append_votes(round, out);
    append_latencies(report, round, whole, out);
    append_events(round, out);
}

/* --- sections -------------------------------------------------------------------------------------------------------
 */

void drill_page_blast(const json_t *report, struct buf *out)
{
    static const char *const counts[] = {"requests", "failed", "unknown", "users", "users_failed", "users_delayed"};
    static const char *const times[] = {"p99_before_ms", "p99_struck_ms", "p99_ms", "max_ms"};
    const json_t *unit;
    size_t i;
    buf_printf(out, "<h2>Whom it touched</h2>\n");
    begin_table(
        out,
        "Requests and users by unit, over all rounds; latencies in milliseconds, of requests struck those that came "
        "between a fault and its rollback. Unknown: no certain answer came.",
        "unit|>requests|>failed|>unknown|>users|>who saw errors|>delayed|>p99 before|>p99 struck|>p99|>max");
    json_array_foreach(json_object_get(json_object_get(report, "blast"), "units"), i, unit) {
        buf_printf(out, "<tr>");
        html_element(out, "th scope=\"row\"", "%s%s", ctl_text(unit, "unit"),
                     json_is_true(json_object_get(unit, "target")) ? ", the target" : "");
        for (size_t key = 0; key < COUNT_OF(counts); key++)
            append_count(out, unit, counts[key]);
        for (size_t key = 0; key < COUNT_OF(times); key++)
            append_ms(out, drill_number(unit, times[key]));
        buf_printf(out, "</tr>\n");
    }
    end_table(out);
}

/* The ids of LIST, as long as it is; COUNT of them there are. */
static void append_ids(struct buf *out, const char *what, const json_t *list, int64_t count)
{
    const json_t *item;
    size_t i;
    if (count == 0 && json_array_size(list) == 0)
        return;
    html_element(out, "h3", "%s: %lld", what, (long long)count);
    buf_printf(out, "<ul class=\"id\">\n");
    json_array_foreach(list, i, item) {
        if (json_is_string(item))
            html_element(out, "li", "%s", json_string_value(item));
        else
            html_element(out, "li", "%s, %lld times", ctl_text(item, "id"), (long long)drill_count(item, "times"));
    }
    buf_printf(out, "</ul>\n");
    if ((int64_t)i < count)
        html_element(out, "p class=\"soft\"", "The first %zu; more stand in report.json.", i);
}

void drill_page_proof(const json_t *report, struct buf *out)
{
    static const char *const places[] = {"acknowledged", "pending", "parked", "dead", "unknown"};
    const json_t *proof = json_object_get(report, "proof");
    int64_t lost = drill_count(proof, "lost_count");
    buf_printf(out, "<h2>The proof</h2>\n");
    if (proof == NULL) {
        html_element(out, "p", "Not recorded.");
        return;
    }
    buf_printf(out, "<p>Each id that was answered with 202 was looked for when all was over.</p>\n");
    begin_table(out, "Where the accepted requests are.",
                ">accepted|>= acknowledged|>+ pending|>+ parked|>+ dead|>+ "
                "unknown|>+ lost");
    buf_printf(out, "<tr>");
    append_count(out, proof, "accepted");
    for (size_t i = 0; i < COUNT_OF(places); i++)
        append_count(out, proof, places[i]);
    html_element(out, lost ? "td class=\"number bad\"" : "td class=\"number\"", "%lld%s", (long long)lost,
                 lost ? " \u2717" : "");
    buf_printf(out, "</tr>\n");
    end_table(out);
    html_element(out, "p", "%lld requests got no certain answer; %lld of them were stored all the same.",
                 (long long)drill_count(proof, "unanswered"), (long long)drill_count(proof, "unanswered_stored"));
    append_ids(out, "Accepted and lost", json_object_get(proof, "lost"), lost);
    append_ids(out, "Processed more than once", json_object_get(proof, "duplicated"),
               drill_count(proof, "duplicated_count"));
}

static void append_rollback(const json_t *round, struct buf *out)
{
    const json_t *step;
    size_t i;
    buf_printf(out, "<td>");
    json_array_foreach(json_object_get(round, "rollback"), i, step) {
        bool good = json_is_true(json_object_get(step, "ok"));
        html_element(out, good ? "div" : "div class=\"bad\"", "%s %s, %lld ms%s%s", good ? "\u2713" : "\u2717",
                     ctl_text(step, "step"), (long long)drill_count(step, "ms"), *ctl_text(step, "text") ? ": " : "",
                     ctl_text(step, "text"));
    }
    buf_printf(out, "</td>");
}

void drill_page_rounds(const json_t *report, struct buf *out)
{
    const json_t *round;
    size_t i;
    buf_printf(out, "<h2>What was done, and undone</h2>\n");
    begin_table(out, "The longest request of a user of the target, in milliseconds.",
                "round|fault|to|>longest|outcome|rolled back");
    json_array_foreach(json_object_get(report, "rounds"), i, round) {
        const json_t *target;
        size_t k;
        buf_printf(out, "<tr>");
        html_element(out, "th scope=\"row\"", "%lld", (long long)drill_count(round, "round"));
        html_element(out, "td", "%s", ctl_text(round, "fault"));
        buf_printf(out, "<td>");
        json_array_foreach(json_object_get(round, "targets"), k, target) {
            html_element(out, "div", "%s", json_string_value(target) ? json_string_value(target) : "");
        }
        buf_printf(out, "</td>");
        append_ms(out, drill_number(round, "longest_ms"));
        append_judgement(out, drill_passed(round),
                         *ctl_text(round, "why") ? ctl_text(round, "why") : ctl_text(round, "outcome"));
        append_rollback(round, out);
        buf_printf(out, "</tr>\n");
    }
    end_table(out);
}

void drill_page_before(const json_t *report, struct buf *out)
{
    const json_t *item;
    size_t i;
    buf_printf(out, "<h2>What was checked before</h2>\n");
    begin_table(out, "Guard rails, and the steady state that the drill wants before it begins.",
                "check|unit|allowed|before|after|");
    json_array_foreach(json_object_get(report, "rails"), i, item) {
        buf_printf(out, "<tr>");
        html_element(out, "th scope=\"row\"", "%s", ctl_text(item, "name"));
        html_element(out, "td colspan=\"4\"", "%s", ctl_text(item, "text"));
        append_judgement(out, json_is_true(json_object_get(item, "ok")), "");
        buf_printf(out, "</tr>\n");
    }
    json_array_foreach(json_object_get(report, "steady_state"), i, item) {
        buf_printf(out, "<tr>");
        html_element(out, "th scope=\"row\"", "%s", ctl_text(item, "check"));
        html_element(out, "td", "%s", *ctl_text(item, "unit") ? ctl_text(item, "unit") : "all");
        html_element(out, "td", "%s", ctl_text(item, "limit"));
        html_element(out, "td", "%s", ctl_text(item, "value"));
        html_element(out, "td", "%s", ctl_text(item, "after"));
        append_judgement(out, json_is_true(json_object_get(item, "held")), "");
        buf_printf(out, "</tr>\n");
    }
    end_table(out);
}
