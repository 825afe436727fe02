/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "common/clock.h"
#include "common/measure.h"
#include "ops/drill_parts.h"

#define CALM_US  5000000 /* which a deployment may need after what was done before */
#define PIECE_US 100000
/* Of the steady state: connections are made and caches filled when a load begins. */
#define WINDOWS_MOST 4

static void pause_a_while(void)
{
    struct timespec time = {.tv_nsec = PIECE_US * 1000};
    nanosleep(&time, NULL);
}

/* --- rails -------------------------------------------------------------------------------------------------------- */

static void add_rail(struct drill_run *run, const char *name, bool ok, const char *text)
{
    json_array_append_new(run->rails, json_pack("{s:s,s:b,s:s}", "name", name, "ok", ok, "text", text));
}

static int check_state(struct drill_run *run, const char *name, enum drill_wait wait, struct error *err)
{
    uint64_t until_us = clock_monotonic_us() + CALM_US;
    struct buf why = {0};
    bool holds;
    while (!(holds = drill_holds(run, wait, NO_UNIT, 0, &why)) && clock_monotonic_us() < until_us &&
           !drill_told_to_stop()) {
        pause_a_while();
        why.len = 0;
    }
    add_rail(run, name, holds, holds ? "" : why.base);
    int result = holds ? 0 : error_set(err, ERROR_REFUSED, "no drill now: %s", why.base);
    buf_free(&why);
    return result;
}

int drill_guard(struct drill_run *run, struct error *err)
{
    if (check_state(run, "everybody is there, of one epoch, without suspicion or alarm", DRILL_CALM, err) != 0 ||
        check_state(run, "every broker is in sync", DRILL_IN_SYNC, err) != 0 ||
        check_state(run, "every unit is at home", DRILL_HOME, err) != 0)
        return -1;
    return 0;
}

/* --- headroom ----------------------------------------------------------------------------------------------------- */

static int ask_requests(struct drill_run *run, const struct table_unit *unit, const struct table_unit *standby,
                        uint64_t *requests, struct error *err)
{
    struct fleet fleet;
    if (fleet_ask(&fleet, &run->deployment, err) != 0)
        return -1;
    *requests = fleet_unit_requests(&fleet, unit->name.base) + fleet_unit_requests(&fleet, standby->name.base);
    fleet_free(&fleet);
    return 0;
}

/* Whether the standby could carry both: what came within the time since BEGAN_US. */
static int check_headroom(struct drill_run *run, const struct table_unit *standby, uint64_t requests, uint64_t began_us,
                          struct error *err)
{
    char text[160];
    double rps = (double)requests * 1000000 / (double)(clock_monotonic_us() - began_us);
    bool fits = standby->capacity_rps <= 0 || rps <= standby->capacity_rps;
    snprintf(text, sizeof(text), "%.*s would have %.0f requests a second; its capacity is %.0f", STR_ARG(standby->name),
             rps, standby->capacity_rps);
    add_rail(run, "the standby has room for the load", fits, text);
    return fits ? 0 : error_set(err, ERROR_REFUSED, "no drill now: %s", text);
}

/* --- steady state --------------------------------------------------------------------------------------------------
 */

struct checks {
    struct drill_run *run;
    struct buf faults;
};

static void add_check(struct checks *checks, const char *check, bool held, const char *limit, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
static void add_check(struct checks *checks, const char *check, bool held, const char *limit, const char *format, ...)
{
    char value[200];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    json_array_append_new(checks->run->steady, json_pack("{s:s,s:s,s:s,s:s,s:b}", "check", check, "unit", "", "limit",
                                                         limit, "value", value, "held", held));
    if (!held)
        drill_because(&checks->faults, "%s: %s (limit: %s)", check, value, limit);
}

static void check_load(struct checks *checks, uint64_t from_us)
{
    const struct drill *drill = checks->run->drill;
    struct drill_tally tally;
    char limit[40];
    drill_tally(checks->run, DRILL_EVERY, from_us, UINT64_MAX, &tally);
    size_t bad = tally.failed + tally.unknown, answered = tally.accepted + bad;
    snprintf(limit, sizeof(limit), "%lld %%", (long long)drill->steady.errors.value);
    add_check(checks, "errors", bad * 100 <= answered * (size_t)drill->steady.errors.value, limit, "%zu of %zu%s%s",
              bad, answered, bad > 0 ? ", the last one " : "", tally.reason);
    snprintf(limit, sizeof(limit), "%lld ms", (long long)drill->steady.p99.value);
    add_check(checks, "p99", tally.accepted > 0 && tally.p99_ms <= (double)drill->steady.p99.value, limit, "%.1f ms",
              tally.p99_ms);
}

static void check_deployment(struct checks *checks)
{
    static const struct {
        enum drill_wait wait;
        const char *check, *limit;
    } all[] = {{DRILL_CALM, "calm", "nobody lacks, lags, is suspected or alarmed"},
               {DRILL_IN_SYNC, "in_sync", "every broker"},
               {DRILL_HOME, "home", "every unit"},
               {DRILL_DRAINED, "backlog", "as the drill says"}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct buf why = {0};
        bool holds = drill_holds(checks->run, all[i].wait, NO_UNIT, 0, &why);
        add_check(checks, all[i].check, holds, all[i].limit, "%s", holds ? "it is so" : why.base);
        buf_free(&why);
    }
}

static void look_for(const struct drill_run *run)
{
    uint64_t until_us = clock_monotonic_us() + (uint64_t)run->drill->steady.lasts.value * 1000;
    while (clock_monotonic_us() < until_us && !drill_told_to_stop())
        pause_a_while();
}

static int look_once(struct drill_run *run, const struct table_unit *unit, const struct table_unit *standby,
                     struct error *err)
{
    uint64_t requests = 0, later = 0, began_us = clock_monotonic_us();
    struct checks checks = {.run = run};
    json_array_clear(run->steady);
    if (standby != NULL && ask_requests(run, unit, standby, &requests, err) != 0)
        return -1;
    look_for(run);
    if (standby != NULL && (ask_requests(run, unit, standby, &later, err) != 0 ||
                            check_headroom(run, standby, later - requests, began_us, err) != 0))
        return -1;
    check_load(&checks, began_us);
    check_deployment(&checks);
    int result = checks.faults.len == 0 ? 0 : error_set(err, ERROR_TIMEOUT, "not steady: %s", checks.faults.base);
    buf_free(&checks.faults);
    return result;
}

int drill_steady(struct drill_run *run, struct error *err)
{
    const struct table *table = run->rules.table;
    const struct table_unit *unit = &table->units[table_unit_index(table, run->drill->parameters.unit.value)];
    const struct table_unit *standby = unit->standby != NO_UNIT ? &table->units[unit->standby] : NULL;
    int result = -1;
    for (int i = 0; i < WINDOWS_MOST; i++) {
        size_t rails = json_array_size(run->rails);
        result = look_once(run, unit, standby, err);
        if (drill_told_to_stop())
            return error_set(err, ERROR_CONFLICT, "it was told to stop before anything was done");
        if (result == 0 || err->code != ERROR_TIMEOUT)
            break;
        err->code = ERROR_REFUSED;
        if (i + 1 == WINDOWS_MOST)
            break;
        drill_say(run, "  %s; looking again", err->text);
        while (json_array_size(run->rails) > rails)
            json_array_remove(run->rails, rails);
    }
    return result;
}

void drill_steady_after(struct drill_run *run)
{
    json_t *before = run->steady;
    struct checks checks = {.run = run};
    uint64_t began_us = clock_monotonic_us();
    run->steady = json_array();
    look_for(run);
    check_load(&checks, began_us);
    check_deployment(&checks);
    for (size_t i = 0; i < json_array_size(before); i++)
        json_object_set(json_array_get(before, i), "after", json_object_get(json_array_get(run->steady, i), "value"));
    json_decref(run->steady);
    run->steady = before;
    buf_free(&checks.faults);
}
