/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/measure.h"
#include "ops/drill_parts.h"

#define WINDOW_US   1000000
#define FEW         20 /* requests from which on a share says something */
#define ALL_PERCENT 100

/* --- the end ------------------------------------------------------------------------------------------------------ */

static volatile sig_atomic_t told;

static void on_signal(int number)
{
    (void)number;
    told = 1;
}

void drill_catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

bool drill_told_to_stop(void)
{
    return told != 0;
}

/* --- reasons ------------------------------------------------------------------------------------------------------ */

void drill_because(struct buf *why, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buf_printf(why, "%s%s", why->len > 0 ? "; " : "", text);
}

/* --- aborts ------------------------------------------------------------------------------------------------------- */

static void check_errors(const struct drill_tally *tally, int64_t most_percent, const char *whose, struct buf *why)
{
    size_t bad = tally->failed + tally->unknown, answered = tally->accepted + bad;
    if (most_percent < ALL_PERCENT && answered >= FEW && bad * ALL_PERCENT > answered * (size_t)most_percent)
        drill_because(why, "%zu of %zu requests of %s failed within a second, the last one %s", bad, answered, whose,
                      tally->reason);
}

void drill_aborts(struct drill_run *run, struct buf *why)
{
    const struct drill *drill = run->drill;
    uint64_t now_us = clock_monotonic_us(), from_us = now_us - WINDOW_US;
    struct drill_tally own, others;
    uint32_t unit = table_unit_index(run->rules.table, drill->parameters.unit.value);
    drill_tally(run, unit, from_us, UINT64_MAX, &own);
    drill_tally(run, DRILL_OTHERS, from_us, UINT64_MAX, &others);
    check_errors(&own, drill->abort.errors.value, "the unit", why);
    check_errors(&others, drill->abort.other_errors.value, "other units", why);
    if (others.asked >= FEW && others.p99_ms > (double)drill->abort.other_p99.value)
        drill_because(why, "the 99th percentile of other units was %.0f ms", others.p99_ms);
    if (now_us - run->round->began_us > (uint64_t)drill->abort.after.value * 1000)
        drill_because(why, "the method took longer than %lld ms", (long long)drill->abort.after.value);
}

/* --- what the load tells ------------------------------------------------------------------------------------------ */

static bool serves(struct drill_run *run, uint32_t unit, uint64_t since_us, struct buf *why)
{
    bool all = true;
    for (size_t i = 0; i < run->gateway_count; i++) {
        if (!drill_gateway_spared(run, i) || drill_first_success(run, unit, i, since_us) != 0)
            continue;
        drill_because(why, "%s has had no message of the unit accepted", run->gateway_names[i]);
        all = false;
    }
    return all;
}

void drill_add_refusal(struct drill_run *run, uint32_t unit, struct buf *why)
{
    struct fleet fleet;
    struct error ignored;
    if (fleet_ask(&fleet, &run->deployment, &ignored) == 0) {
        const json_t *status = drill_unit_status(&fleet, run->rules.table->units[unit].name);
        drill_because(why, "not moved, for: %s", ctl_text(json_object_get(status, "failover"), "refusal"));
    }
    fleet_free(&fleet);
}

/* --- what the deployment tells ------------------------------------------------------------------------------------ */

static bool in_sync(const struct drill_run *run, const struct fleet *fleet, struct buf *why)
{
    size_t before = why->len;
    for (uint32_t i = 0; i < run->rules.table->unit_count; i++) {
        const struct table_unit *rules = &run->rules.table->units[i];
        const json_t *record = json_object_get(drill_unit_status(fleet, rules->name), "broker_record");
        size_t members = json_array_size(json_object_get(record, "in_sync"));
        if (members < rules->broker_count)
            drill_because(why, "%zu of %u brokers of %.*s are in sync", members, rules->broker_count,
                          STR_ARG(rules->name));
    }
    return why->len == before;
}

static bool is_home(const struct table_unit *rules, const json_t *record)
{
    struct str primary = str_of(ctl_text(record, "primary")), consumer = str_of(ctl_text(record, "consumer"));
    return rules->broker_count == 0 ||
           (str_equal(primary, rules->brokers[0]) && (consumer.len == 0 || str_equal(consumer, rules->name)));
}

/* ONLY: one unit; NO_UNIT: all. */
static bool home(const struct drill_run *run, const struct fleet *fleet, uint32_t only, struct buf *why)
{
    size_t before = why->len;
    for (uint32_t i = 0; i < run->rules.table->unit_count; i++) {
        if (only != NO_UNIT && i != only)
            continue;
        const struct table_unit *rules = &run->rules.table->units[i];
        const json_t *record = json_object_get(drill_unit_status(fleet, rules->name), "broker_record");
        if (!is_home(rules, record))
            drill_because(why, "%.*s is led by %s and served by %s: `ldcctl unit failback %.*s` brings it home",
                          STR_ARG(rules->name), ctl_text(record, "primary"),
                          *ctl_text(record, "consumer") ? ctl_text(record, "consumer") : "itself",
                          STR_ARG(rules->name));
    }
    return why->len == before;
}

static uint64_t pending_of(const struct fleet *fleet)
{
    uint64_t pending = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *guests = json_object_get(fleet->members[i].status, "guests");
        pending += fleet_is_gateway(&fleet->members[i]) ? 0 : fleet_pending(fleet->members[i].status);
        for (size_t j = 0; j < json_array_size(guests); j++)
            pending += fleet_pending(json_array_get(guests, j));
    }
    return pending;
}

static bool drained(const struct drill_run *run, const struct fleet *fleet, struct buf *why)
{
    uint64_t pending = pending_of(fleet), most = (uint64_t)run->drill->steady.backlog.value;
    if (pending > most)
        drill_because(why, "%llu messages wait to be delivered", (unsigned long long)pending);
    return pending <= most;
}

/* A standby that came into the set is trusted when it was well for a while; until then nothing is moved to it. */
static void add_distrust(const struct fleet_member *gateway, const json_t *unit, struct buf *why)
{
    const json_t *vote = json_object_get(json_object_get(unit, "failover"), "vote");
    const json_t *in_sync = json_object_get(json_object_get(unit, "broker_record"), "in_sync");
    if (json_array_size(in_sync) > 1 && json_is_false(json_object_get(vote, "standby_healthy")))
        drill_because(why, "%s does not trust the standby of %s yet", gateway->member.name, ctl_text(unit, "name"));
}

static void add_suspicions(const struct fleet *fleet, struct buf *why)
{
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *units = json_object_get(fleet->members[i].status, "units");
        for (size_t j = 0; j < json_array_size(units); j++) {
            const json_t *unit = json_array_get(units, j), *failover = json_object_get(unit, "failover");
            if (json_is_true(json_object_get(failover, "alarmed")))
                drill_because(why, "%s raises an alarm for %s: %s", fleet->members[i].member.name,
                              ctl_text(unit, "name"), ctl_text(failover, "refusal"));
            if (fleet_number(failover, "suspected_ms") > 0)
                drill_because(why, "%s suspects %s", fleet->members[i].member.name, ctl_text(unit, "name"));
            if (json_is_true(json_object_get(json_object_get(unit, "broker_record"), "hold")))
                drill_because(why, "%s is held", ctl_text(unit, "name"));
            add_distrust(&fleet->members[i], unit, why);
        }
    }
}

static void add_epochs(const struct fleet *fleet, struct buf *why)
{
    uint64_t epoch = fleet_number(fleet->view, "epoch");
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *status = fleet->members[i].status;
        if (status != NULL && fleet_is_gateway(&fleet->members[i]) && fleet_number(status, "epoch") != epoch)
            drill_because(why, "%s serves epoch %llu, others %llu", fleet->members[i].member.name,
                          (unsigned long long)fleet_number(status, "epoch"), (unsigned long long)epoch);
    }
}

static bool calm(const struct fleet *fleet, struct buf *why)
{
    struct buf faults = {0};
    struct str rest, line;
    size_t before = why->len;
    fleet_faults(fleet, &faults);
    rest = buf_str(&faults);
    while (str_next(&rest, '\n', &line))
        if (line.len > 0)
            drill_because(why, "%.*s", STR_ARG(line));
    buf_free(&faults);
    add_suspicions(fleet, why);
    add_epochs(fleet, why);
    return why->len == before;
}

static bool rolled_back(struct drill_run *run, uint32_t unit, struct buf *why)
{
    struct error err = {0};
    json_t *answer = deployment_get(&run->deployment, "/v1/colors", &err);
    const json_t *list = json_object_get(answer, "colors");
    bool ended = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *colors = json_array_get(list, i);
        if (str_equal(str_of(ctl_text(colors, "unit")), run->rules.table->units[unit].name))
            ended |= strcmp(ctl_text(json_object_get(colors, "ramp"), "state"), "rolled-back") == 0;
    }
    json_decref(answer);
    if (!ended)
        drill_because(why, "the ramp was not rolled back");
    return ended;
}

bool drill_holds(struct drill_run *run, enum drill_wait wait, uint32_t unit, uint64_t since_us, struct buf *why)
{
    if (wait == DRILL_FIRST_SUCCESS || wait == DRILL_SERVES)
        return serves(run, unit, wait == DRILL_FIRST_SUCCESS ? 0 : since_us, why);
    if (wait == DRILL_ROLLED_BACK)
        return rolled_back(run, unit, why);
    struct fleet fleet;
    struct error err = {0};
    bool holds = fleet_ask(&fleet, &run->deployment, &err) == 0;
    if (!holds)
        drill_because(why, "%s", err.text);
    else
        holds = wait == DRILL_IN_SYNC   ? in_sync(run, &fleet, why)
                : wait == DRILL_DRAINED ? drained(run, &fleet, why)
                : wait == DRILL_HOME    ? home(run, &fleet, unit, why)
                                        : calm(&fleet, why);
    fleet_free(&fleet);
    return holds;
}
