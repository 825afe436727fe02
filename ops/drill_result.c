/* SPDX-License-Identifier: Apache-2.0
 *
 * report.json, of what was seen: docs/DRILLS.md says what stands in it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/measure.h"
#include "ops/drill_parts.h"

#define SCHEMA 1

static json_t *text_of(struct str text)
{
    return json_stringn(text.base != NULL ? text.base : "", text.len);
}

/* --- a round ------------------------------------------------------------------------------------------------------ */

static uint64_t zero_of(const struct drill_round *round)
{
    return round->fault_us != 0 ? round->fault_us : round->began_us;
}

/* When GATEWAY told of the first KIND about UNIT, in an epoch newer than NEWER_THAN; 0: never. Events are in order. */
static uint64_t first_of(const struct drill_round *round, const char *kind, const char *gateway, struct str unit,
                         uint64_t newer_than)
{
    for (size_t i = 0; i < json_array_size(round->events); i++) {
        const json_t *event = json_array_get(round->events, i);
        if (strcmp(ctl_text(event, "kind"), kind) == 0 && strcmp(ctl_text(event, "gateway"), gateway) == 0 &&
            str_equal(str_of(ctl_text(event, "unit")), unit) && fleet_number(event, "epoch") >= newer_than)
            return fleet_number(event, "at_us");
    }
    return 0;
}

static json_t *ms_since(const struct drill_round *round, uint64_t at_us)
{
    return at_us != 0 ? json_real((double)(int64_t)(at_us - zero_of(round)) / 1000) : json_null();
}

/* Where the method waits for a new epoch, that is what a first success means. */
static bool awaits_epoch(const struct drill *drill)
{
    for (size_t i = 0; i < drill->method.count; i++)
        if (drill->method.items[i].wait.at.line > 0 && drill->method.items[i].wait.value == DRILL_FIRST_SUCCESS)
            return true;
    return false;
}

static json_t *link_of(struct drill_run *run, const struct drill_round *round, size_t gateway)
{
    const char *name = run->gateway_names[gateway];
    struct str unit = run->drill->parameters.unit.value;
    uint64_t next = round->epoch + 1;
    uint64_t success_us = drill_first_success(run, table_unit_index(run->rules.table, unit), gateway,
                                              awaits_epoch(run->drill) ? 0 : round->struck_us);
    return json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o}", "gateway", name, "unit", text_of(unit), "detect_ms",
                     ms_since(round, first_of(round, "suspect", name, unit, 0)), "decide_ms",
                     ms_since(round, first_of(round, "decide", name, unit, 0)), "converge_ms",
                     ms_since(round, first_of(round, "record", name, unit, next)), "promoted_ms",
                     ms_since(round, first_of(round, "promoted", name, unit, next)), "first_success_ms",
                     ms_since(round, success_us));
}

json_t *drill_chain(struct drill_run *run, const struct drill_round *round)
{
    json_t *chain = json_array();
    for (size_t i = 0; i < run->gateway_count; i++)
        if (drill_gateway_spared(run, i))
            json_array_append_new(chain, link_of(run, round, i));
    return chain;
}

static json_t *events_of(const struct drill_round *round)
{
    json_t *events = json_deep_copy(round->events);
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_t *event = json_array_get(events, i);
        int64_t at_us = (int64_t)(fleet_number(event, "at_us") - zero_of(round));
        json_object_set_new(event, "at_us", json_integer(at_us));
    }
    return events;
}

void drill_fail(struct drill_round *round, enum drill_end end, const char *why)
{
    if (round->end != DRILL_PASSED)
        return;
    round->end = end;
    snprintf(round->why, sizeof(round->why), "%s", why);
}

static void judge_success(struct drill_run *run, struct drill_round *round, const json_t *chain)
{
    int64_t bound_ms = run->drill->expect.first_success.value;
    char why[200];
    for (size_t i = 0; i < json_array_size(chain) && bound_ms > 0; i++) {
        const json_t *link = json_array_get(chain, i), *ms = json_object_get(link, "first_success_ms");
        if (json_is_real(ms) && json_real_value(ms) <= (double)bound_ms)
            continue;
        snprintf(why, sizeof(why), "the first success at %s came after %.1f ms; %lld ms are expected",
                 ctl_text(link, "gateway"), json_number_value(ms), (long long)bound_ms);
        drill_fail(round, DRILL_NOT_PASSED, json_is_real(ms) ? why : "there was no first success at some gateway");
    }
}

static void judge_failures(struct drill_run *run, struct drill_round *round, const struct drill_tally *own)
{
    struct drill_tally others;
    char why[200];
    drill_tally(run, DRILL_OTHERS, round->began_us, UINT64_MAX, &others);
    size_t bad = own->failed + own->unknown, other_bad = others.failed + others.unknown;
    snprintf(why, sizeof(why), "%zu requests of the unit failed; %lld are expected at most", bad,
             (long long)run->drill->expect.failed.value);
    if (bad > (size_t)run->drill->expect.failed.value)
        drill_fail(round, DRILL_NOT_PASSED, why);
    snprintf(why, sizeof(why), "%zu requests of other units failed; %lld are expected at most", other_bad,
             (long long)run->drill->expect.other_failed.value);
    if (other_bad > (size_t)run->drill->expect.other_failed.value)
        drill_fail(round, DRILL_NOT_PASSED, why);
}

const char *drill_end_name(enum drill_end end)
{
    static const char *const names[] = {"passed", "failed", "aborted", "interrupted"};
    return names[end];
}

json_t *drill_result_round(struct drill_run *run, struct drill_round *round)
{
    struct drill_tally own;
    json_t *chain = drill_chain(run, round);
    uint32_t unit = table_unit_index(run->rules.table, run->drill->parameters.unit.value);
    drill_tally(run, unit, round->began_us, UINT64_MAX, &own);
    if (round->end == DRILL_PASSED)
        judge_success(run, round, chain);
    judge_failures(run, round, &own);
    uint64_t wall_us = zero_of(round) + clock_wall_us() - clock_monotonic_us();
    return json_pack("{s:i,s:I,s:o,s:O,s:s,s:s,s:o,s:o,s:f,s:O,s:o}", "round", (int)round->number, "at_us",
                     (json_int_t)wall_us, "fault", text_of(run->drill->parameters.fault.value), "targets",
                     round->targets, "outcome", drill_end_name(round->end), "why", round->why, "events",
                     events_of(round), "chain", chain, "longest_ms", own.most_ms, "rollback", round->rollback,
                     "samples", drill_samples(run, round));
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Of each gateway in each round. */
static json_t *spread_of(const json_t *rounds, const char *key)
{
    size_t count = 0, room = json_array_size(rounds) * DRILL_GATEWAYS_MOST;
    double *values = mem_calloc(room + 1, sizeof(*values));
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        const json_t *chain = json_object_get(json_array_get(rounds, i), "chain");
        for (size_t j = 0; j < json_array_size(chain) && count < room; j++) {
            const json_t *value = json_object_get(json_array_get(chain, j), key);
            if (json_is_real(value))
                values[count++] = json_real_value(value);
        }
    }
    qsort(values, count, sizeof(*values), by_value);
    json_t *spread = count > 0 ? json_pack("{s:f,s:f}", "p50", values[(count - 1) / 2], "max", values[count - 1])
                               : json_pack("{s:n,s:n}", "p50", "max");
    free(values);
    return spread;
}

static json_t *summary_of(const json_t *rounds)
{
    static const char *const keys[] = {"detect_ms", "decide_ms", "converge_ms", "promoted_ms", "first_success_ms"};
    json_int_t passed = 0;
    for (size_t i = 0; i < json_array_size(rounds); i++)
        passed += strcmp(ctl_text(json_array_get(rounds, i), "outcome"), "passed") == 0;
    json_t *summary = json_pack("{s:I,s:I}", "rounds", (json_int_t)json_array_size(rounds), "passed", passed);
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        json_object_set_new(summary, keys[i], spread_of(rounds, keys[i]));
    return summary;
}

static json_t *gateways_of(const struct drill_run *run)
{
    const json_t *all = json_object_get(run->topology, "processes");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(ctl_text(json_array_get(all, i), "role"), "gateway") == 0)
            json_array_append_new(list, json_pack("{s:s,s:s}", "name", ctl_text(json_array_get(all, i), "name"),
                                                  "datacenter", ctl_text(json_array_get(all, i), "datacenter")));
    return list;
}

static json_t *units_of(const struct table *table)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < table->unit_count; i++) {
        const struct table_unit *unit = &table->units[i];
        struct str standby = unit->standby != NO_UNIT ? table->units[unit->standby].name : STR_LIT("");
        json_array_append_new(list,
                              json_pack("{s:o,s:s,s:o,s:o}", "name", text_of(unit->name), "kind", zone_name(unit->kind),
                                        "datacenter", text_of(unit->datacenter), "standby", text_of(standby)));
    }
    return list;
}

static json_t *deployment_of(const struct drill_run *run)
{
    bool etcd = strncmp(ctl_text(run->topology, "store"), "etcd:", 5) == 0;
    return json_pack("{s:s,s:s,s:o,s:o}", "dir", run->dir, "store", etcd ? "etcd" : "file", "gateways",
                     gateways_of(run), "units", units_of(run->rules.table));
}

static json_t *load_of(struct drill_run *run)
{
    struct drill_tally tally;
    drill_tally(run, DRILL_EVERY, 0, UINT64_MAX, &tally);
    return json_pack("{s:I,s:o,s:I,s:I,s:I,s:I,s:f,s:f,s:f}", "rate", (json_int_t)run->drill->load.rate.value, "path",
                     text_of(run->drill->load.path.value), "requests", (json_int_t)tally.asked, "accepted",
                     (json_int_t)tally.accepted, "failed", (json_int_t)tally.failed, "unknown",
                     (json_int_t)tally.unknown, "p50_ms", tally.p50_ms, "p99_ms", tally.p99_ms, "max_ms",
                     tally.most_ms);
}

static json_t *bound_of(const struct drill *drill)
{
    return drill->expect.first_success.value > 0 ? json_real((double)drill->expect.first_success.value) : json_null();
}

json_t *drill_result(struct drill_run *run, enum drill_end end, const char *why)
{
    const struct drill *drill = run->drill;
    uint64_t now_us = clock_monotonic_us(), at_us = clock_wall_us() - (now_us - run->began_us);
    char at[CLOCK_UTC_SIZE];
    clock_format_utc(at_us, at);
    return json_pack("{s:i,s:s,s:o,s:o,s:o,s:s,s:I,s:f,s:o,s:{s:o,s:o,s:I},s:o,s:o,s:s,s:s,s:O,s:O,s:O,s:o,s:o}",
                     "schema", SCHEMA, "id", run->id, "drill", text_of(drill->name.value), "title",
                     text_of(drill->title.value), "teaches", text_of(drill->teaches.value), "at", at, "at_us",
                     (json_int_t)at_us, "seconds", (double)(now_us - run->began_us) / 1000000, "deployment",
                     deployment_of(run), "parameters", "unit", text_of(drill->parameters.unit.value), "fault",
                     text_of(drill->parameters.fault.value), "rounds", (json_int_t)drill->parameters.rounds.value,
                     "load", load_of(run), "bound_ms", bound_of(drill), "outcome", drill_end_name(end), "why", why,
                     "rails", run->rails, "steady_state", run->steady, "rounds", run->rounds, "summary",
                     summary_of(run->rounds), "blast", drill_blast(run));
}
