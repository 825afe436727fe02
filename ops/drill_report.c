/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/drill_report.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "common/measure.h"
#include "ops/ctl.h"
#include "ops/drill_figures.h"
#include "ops/grid.h"

#define IDS_MOST 10 /* that a terminal is shown */

/* MS or what stands for none, in a cell. */
static void add_ms(struct grid *grid, double ms)
{
    if (isnan(ms))
        grid_add(grid, "-");
    else
        grid_add(grid, "%.1f", ms);
}

static void add_count(struct grid *grid, const json_t *object, const char *key)
{
    if (json_is_integer(json_object_get(object, key)))
        grid_add(grid, "%lld", (long long)drill_count(object, key));
    else
        grid_add(grid, "-");
}

static void append_verdict(const json_t *report, struct buf *out)
{
    const json_t *parameters = json_object_get(report, "parameters");
    for (const char *c = ctl_text(report, "outcome"); *c; c++)
        buf_printf(out, "%c", toupper((unsigned char)*c));
    buf_printf(out, "  %s: %s\n", ctl_text(report, "drill"), ctl_text(report, "title"));
    if (*ctl_text(report, "why"))
        buf_printf(out, "%s\n", ctl_text(report, "why"));
    buf_printf(out, "run %s, at %s, %lld s; unit %s, fault %s, store %s\n", ctl_text(report, "id"),
               ctl_text(report, "at"), (long long)drill_count(report, "seconds"), ctl_text(parameters, "unit"),
               ctl_text(parameters, "fault"), ctl_text(json_object_get(report, "deployment"), "store"));
}

/* What kept the drill from beginning, or would have. */
static void append_refusals(const json_t *report, struct buf *out)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(report, "rails"), i, item) {
        if (!json_is_true(json_object_get(item, "ok")))
            buf_printf(out, "guard rail %s: %s\n", ctl_text(item, "name"), ctl_text(item, "text"));
    }
    json_array_foreach(json_object_get(report, "steady_state"), i, item) {
        if (!json_is_true(json_object_get(item, "held")))
            buf_printf(out, "not steady: %s%s%s is %s, allowed is %s\n", ctl_text(item, "check"),
                       *ctl_text(item, "unit") ? " of " : "", ctl_text(item, "unit"), ctl_text(item, "value"),
                       ctl_text(item, "limit"));
    }
}

static void add_spread(struct grid *grid, struct drill_spread spread)
{
    if (spread.count == 0)
        grid_add(grid, "-");
    else
        grid_add(grid, "%.1f / %.1f", spread.p50, spread.max);
}

static void append_phases(const json_t *report, struct buf *out)
{
    const json_t *gateway;
    struct grid grid;
    size_t i, phase;
    double bound = drill_number(report, "bound_ms");
    buf_printf(out, "\nmilliseconds from the fault, p50 / max of %zu rounds",
               json_array_size(json_object_get(report, "rounds")));
    buf_printf(out, isnan(bound) ? "\n" : "; first success is wanted within %.0f\n", bound);
    grid_begin(&grid, "GATEWAY|DATACENTER|>DETECT|>DECIDE|>CONVERGE|>PROMOTED|>FIRST SUCCESS");
    json_array_foreach(json_object_get(json_object_get(report, "deployment"), "gateways"), i, gateway) {
        grid_add(&grid, "%s", ctl_text(gateway, "name"));
        grid_add(&grid, "%s", ctl_text(gateway, "datacenter"));
        for (phase = 0; phase < DRILL_PHASES; phase++)
            add_spread(&grid, drill_spread(report, drill_phases[phase].key, ctl_text(gateway, "name")));
    }
    grid_add(&grid, "all");
    grid_add(&grid, "%s", "");
    for (phase = 0; phase < DRILL_PHASES; phase++)
        add_spread(&grid, drill_spread(report, drill_phases[phase].key, NULL));
    grid_end(&grid, out);
}

/* How a round's rollback went, in a word. */
static const char *rolled_back(const json_t *round)
{
    const json_t *step;
    size_t i;
    json_array_foreach(json_object_get(round, "rollback"), i, step) {
        if (!json_is_true(json_object_get(step, "ok")))
            return ctl_text(step, "step");
    }
    return "whole";
}

static void append_rounds(const json_t *report, struct buf *out)
{
    const json_t *round;
    struct grid grid;
    size_t i;
    grid_begin(&grid, "ROUND|FAULT|>LONGEST REQUEST|OUTCOME|ROLLED BACK|WHY");
    json_array_foreach(json_object_get(report, "rounds"), i, round) {
        add_count(&grid, round, "round");
        grid_add(&grid, "%s", ctl_text(round, "fault"));
        add_ms(&grid, drill_number(round, "longest_ms"));
        grid_add(&grid, "%s", ctl_text(round, "outcome"));
        grid_add(&grid, "%s", rolled_back(round));
        grid_add(&grid, "%.90s", ctl_text(round, "why"));
    }
    buf_printf(out, "\n");
    grid_end(&grid, out);
}

static void append_blast(const json_t *report, struct buf *out)
{
    static const char *const counts[] = {"requests", "failed", "unknown", "users", "users_failed", "users_delayed"};
    static const char *const times[] = {"p99_before_ms", "p99_struck_ms", "p99_ms", "max_ms"};
    const json_t *unit;
    struct grid grid;
    size_t i;
    grid_begin(&grid,
               "UNIT||>REQUESTS|>FAILED|>UNKNOWN|>USERS|>WHO SAW ERRORS|>DELAYED|>P99 BEFORE|>P99 STRUCK|>P99|>MAX MS");
    json_array_foreach(json_object_get(json_object_get(report, "blast"), "units"), i, unit) {
        grid_add(&grid, "%s", ctl_text(unit, "unit"));
        grid_add(&grid, "%s", json_is_true(json_object_get(unit, "target")) ? "target" : "");
        for (size_t key = 0; key < COUNT_OF(counts); key++)
            add_count(&grid, unit, counts[key]);
        for (size_t key = 0; key < COUNT_OF(times); key++)
            add_ms(&grid, drill_number(unit, times[key]));
    }
    buf_printf(out, "\n");
    grid_end(&grid, out);
}

/* The first of LIST; COUNT of them there are. */
static void append_ids(const json_t *list, const char *what, int64_t count, struct buf *out)
{
    const json_t *item;
    size_t i;
    json_array_foreach(list, i, item) {
        if (i == IDS_MOST)
            break;
        if (json_is_string(item))
            buf_printf(out, "  %s: %s\n", what, json_string_value(item));
        else
            buf_printf(out, "  %s: %s, %lld times\n", what, ctl_text(item, "id"),
                       (long long)drill_count(item, "times"));
    }
    if (count > IDS_MOST)
        buf_printf(out, "  and %lld more: ldcctl drill report -o json\n", (long long)count - IDS_MOST);
}

static void append_proof(const json_t *report, struct buf *out)
{
    const json_t *proof = json_object_get(report, "proof");
    if (proof == NULL) {
        buf_printf(out, "\nproof: not recorded\n");
        return;
    }
    buf_printf(out,
               "\nproof by id: %lld accepted = %lld acknowledged + %lld pending + %lld parked + %lld dead + %lld "
               "unknown + %lld lost; %lld duplicated\n",
               (long long)drill_count(proof, "accepted"), (long long)drill_count(proof, "acknowledged"),
               (long long)drill_count(proof, "pending"), (long long)drill_count(proof, "parked"),
               (long long)drill_count(proof, "dead"), (long long)drill_count(proof, "unknown"),
               (long long)drill_count(proof, "lost_count"), (long long)drill_count(proof, "duplicated_count"));
    if (drill_count(proof, "unanswered") > 0)
        buf_printf(out, "%lld requests got no certain answer; %lld of them were stored\n",
                   (long long)drill_count(proof, "unanswered"), (long long)drill_count(proof, "unanswered_stored"));
    append_ids(json_object_get(proof, "lost"), "lost", drill_count(proof, "lost_count"), out);
    append_ids(json_object_get(proof, "duplicated"), "processed", drill_count(proof, "duplicated_count"), out);
}

void drill_report_table(const json_t *report, struct buf *out)
{
    append_verdict(report, out);
    append_refusals(report, out);
    append_phases(report, out);
    append_rounds(report, out);
    append_blast(report, out);
    append_proof(report, out);
}
