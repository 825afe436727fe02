/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/drill_figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/str.h"
#include "ops/ctl.h"

const struct drill_phase drill_phases[DRILL_PHASES] = {
    {"detect_ms", "detect", "the gateway suspects the unit"},
    {"decide_ms", "decide", "it proposes what shall be, with a majority's votes"},
    {"converge_ms", "converge", "it goes by the new record"},
    {"promoted_ms", "promoted", "it hears that the new primary serves"},
    {"first_success_ms", "first success", "it accepts a request for the unit again"},
};

double drill_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

int64_t drill_count(const json_t *object, const char *key)
{
    double number = drill_number(object, key);
    return isnan(number) ? 0 : llround(number);
}

bool drill_passed(const json_t *object)
{
    return strcmp(ctl_text(object, "outcome"), "passed") == 0;
}

static int compare_numbers(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/* Appends the phase's times of one round to TIMES. */
static size_t take_times(const json_t *round, const char *key, const char *gateway, double *times)
{
    const json_t *chain = json_object_get(round, "chain"), *link;
    size_t i, count = 0;
    json_array_foreach(chain, i, link) {
        double ms = drill_number(link, key);
        if (!isnan(ms) && (gateway == NULL || strcmp(ctl_text(link, "gateway"), gateway) == 0))
            times[count++] = ms;
    }
    return count;
}

struct drill_spread drill_spread(const json_t *report, const char *key, const char *gateway)
{
    const json_t *rounds = json_object_get(report, "rounds"), *round;
    struct drill_spread spread = {0, NAN, NAN};
    size_t i, room = 0;
    json_array_foreach(rounds, i, round) {
        room += json_array_size(json_object_get(round, "chain"));
    }
    double *times = mem_alloc((room + 1) * sizeof(*times));
    json_array_foreach(rounds, i, round) {
        spread.count += take_times(round, key, gateway, times + spread.count);
    }
    if (spread.count > 0) {
        qsort(times, spread.count, sizeof(*times), compare_numbers);
        spread.p50 = times[(spread.count - 1) / 2];
        spread.max = times[spread.count - 1];
    }
    free(times);
    return spread;
}

static double latest_success(const json_t *round)
{
    const json_t *chain = json_object_get(round, "chain"), *link;
    double latest = 0;
    size_t i;
    json_array_foreach(chain, i, link) {
        double ms = drill_number(link, "first_success_ms");
        latest = isnan(ms) ? INFINITY : fmax(latest, ms);
    }
    return latest;
}

size_t drill_worst_round(const json_t *report)
{
    const json_t *rounds = json_object_get(report, "rounds"), *round;
    double latest = -1;
    size_t i, worst = 0;
    json_array_foreach(rounds, i, round) {
        if (latest_success(round) > latest) {
            latest = latest_success(round);
            worst = i;
        }
    }
    return worst;
}

int64_t drill_failed_elsewhere(const json_t *report)
{
    const json_t *units = json_object_get(json_object_get(report, "blast"), "units"), *unit;
    int64_t failed = 0;
    size_t i;
    json_array_foreach(units, i, unit) {
        failed += json_is_true(json_object_get(unit, "target")) ? 0 : drill_count(unit, "failed");
    }
    return failed;
}

const char *drill_datacenter(const json_t *report, const char *name)
{
    const json_t *gateways = json_object_get(json_object_get(report, "deployment"), "gateways"), *gateway;
    size_t i;
    json_array_foreach(gateways, i, gateway) {
        if (strcmp(ctl_text(gateway, "name"), name) == 0)
            return ctl_text(gateway, "datacenter");
    }
    return "";
}
