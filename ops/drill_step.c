/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "ops/drill_parts.h"

#define APP_TIMEOUT_MS 2000
#define POLL_US        100000
#define AGAIN_US       2000000
#define FOREVER        "1000000000" /* requests to fail, until it is healed */

static struct drill_round *struck(struct drill_run *run, uint64_t at_us)
{
    struct drill_round *round = run->round;
    if (round->fault_us == 0)
        round->fault_us = at_us;
    return round;
}

static bool is_listed(const json_t *names, const char *name)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        if (strcmp(json_string_value(json_array_get(names, i)), name) == 0)
            return true;
    return false;
}

/* --- applications ------------------------------------------------------------------------------------------------- */

static int tell_app(const json_t *app, const char *what, struct error *err)
{
    char url[80];
    struct buf whole = {0}, body = {0};
    drill_url(app, "http", url, sizeof(url));
    buf_printf(&whole, "%s/-/sample/%s", url, what);
    struct http_request request = {.method = "POST", .url = whole.base, .timeout_ms = APP_TIMEOUT_MS};
    long status = http_call(&request, &body, err);
    if (status > 0 && status != 204)
        error_set(err, ERROR_REFUSED, "%s answered %ld", whole.base, status);
    buf_free(&body);
    buf_free(&whole);
    return status == 204 ? 0 : -1;
}

static int strike_app(const struct drill_step *step, const json_t *app, uint64_t *at_us, struct error *err)
{
    char what[80];
    if (step->fault.value == DRILL_SLOW)
        snprintf(what, sizeof(what), "delay?ms=%lld", (long long)step->delay.value);
    else
        snprintf(what, sizeof(what), "fail?status=500&times=%s", FOREVER);
    *at_us = clock_monotonic_us();
    return tell_app(app, what, err);
}

/* One that was killed and started anew remembers no orders; one that does not run has none. */
static void heal_apps(const struct drill_run *run)
{
    const json_t *all = json_object_get(run->topology, "processes");
    struct error ignored;
    for (size_t i = 0; i < json_array_size(all); i++)
        if (strcmp(ctl_text(json_array_get(all, i), "role"), "app") == 0 &&
            tell_app(json_array_get(all, i), "delay?ms=0", &ignored) == 0 &&
            tell_app(json_array_get(all, i), "fail?times=0", &ignored) != 0)
            fprintf(stderr, "ldcctl: %s\n", ignored.text);
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

/* Networks are cut for hosts: once for all processes of one. */
static const char *name_of(const struct drill_step *step, const json_t *process)
{
    const char *host = ctl_text(process, "host");
    bool network = step->fault.value == DRILL_DROP || step->fault.value == DRILL_LOSS;
    return network && *host ? host : ctl_text(process, "name");
}

static int strike(struct drill_run *run, const struct drill_step *step, const json_t *process, const char *name,
                  uint64_t *at_us, struct error *err)
{
    static const enum fault_kind kinds[] = {[DRILL_KILL] = FAULT_KILL,
                                            [DRILL_FREEZE] = FAULT_FREEZE,
                                            [DRILL_RESTART] = FAULT_RESTART,
                                            [DRILL_DROP] = FAULT_DROP,
                                            [DRILL_LOSS] = FAULT_LOSS};
    if (step->fault.value == DRILL_SLOW || step->fault.value == DRILL_ERRORS)
        return strike_app(step, process, at_us, err);
    char *peer = step->peer.value.base != NULL ? str_dup(step->peer.value) : NULL;
    struct fault fault = {.kind = kinds[step->fault.value],
                          .target = name,
                          .peer = peer,
                          .way = (enum fault_way)step->way.value,
                          .percent = (unsigned)step->percent.value};
    int result = fault_inject(run->ground, &fault, at_us, err);
    free(peer);
    return result;
}

static int strike_all(struct drill_run *run, const struct drill_step *step, const json_t *const *processes, int count,
                      struct buf *names, struct error *err)
{
    json_t *done = json_array();
    int result = 0;
    for (int i = 0; i < count && result == 0; i++) {
        const char *name = name_of(step, processes[i]);
        uint64_t at_us = clock_monotonic_us();
        if (is_listed(done, name))
            continue;
        json_array_append_new(done, json_string(name));
        result = strike(run, step, processes[i], name, &at_us, err);
        if (result != 0)
            break;
        struct drill_round *round = struck(run, at_us);
        buf_printf(names, "%s%s", names->len > 0 ? ", " : "", name);
        if (!is_listed(round->targets, name))
            json_array_append_new(round->targets, json_string(name));
    }
    json_decref(done);
    return result;
}

/* As LDC-Epoch has it: the newer of the rules and the unit's record. */
static uint64_t epoch_of(const struct fleet *fleet, struct str unit)
{
    uint64_t of_rules = fleet_number(fleet->view, "epoch");
    uint64_t of_record = fleet_number(json_object_get(drill_unit_status(fleet, unit), "broker_record"), "version");
    return of_record > of_rules ? of_record : of_rules;
}

int drill_do_fault(struct drill_run *run, const struct drill_step *step, struct error *err)
{
    struct drill_round *round = run->round;
    struct str unit = drill_unit_of(run, step);
    const json_t *processes[DRILL_TARGETS_MOST];
    struct fleet fleet;
    struct buf names = {0}, what = {0};
    if (fleet_ask(&fleet, &run->deployment, err) != 0)
        return -1;
    if (round->fault_us == 0)
        round->epoch = epoch_of(&fleet, unit);
    int count = drill_targets(run, step, &fleet, processes, err);
    uint64_t before_us = clock_monotonic_us();
    int result = count > 0 ? strike_all(run, step, processes, count, &names, err) : -1;
    round->struck_us = clock_monotonic_us();
    drill_describe(step, &what);
    if (names.len > 0)
        drill_log(run,
                  &(struct drill_event){round->fault_us > before_us ? round->fault_us : before_us, "inject", "", "", 0},
                  "%s: %s", what.base, names.base);
    buf_free(&what);
    buf_free(&names);
    fleet_free(&fleet);
    return result;
}

int drill_do_heal(struct drill_run *run, struct error *err)
{
    int result = fault_heal_all(run->ground, err);
    heal_apps(run);
    return result;
}

/* --- operators ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *path, *query;
} calls[] = {
    [DRILL_FAILBACK] = {"/v1/units/failback", ""},
    [DRILL_FAIL] = {"/v1/units/fail", ""},
    [DRILL_DRAIN] = {"/v1/units/drain", ""},
    [DRILL_READY] = {"/v1/units/ready", ""},
    [DRILL_RAMP] = {"/v1/colors/ramp", "to=green&dwell_ms=60000&abort_errors=2&min_requests=20"},
    [DRILL_RESET_COLORS] = {"/v1/colors", "blue=0&green=0"},
};

static bool poll_until(struct drill_run *run, enum drill_wait wait, uint32_t unit, uint64_t until_us, struct buf *why)
{
    for (;;) {
        why->len = 0;
        if (drill_holds(run, wait, unit, 0, why))
            return true;
        if (clock_monotonic_us() >= until_us)
            return false;
        struct timespec pause = {.tv_nsec = POLL_US * 1000};
        nanosleep(&pause, NULL);
    }
}

/* An operator asks again when it is not yet possible: a broker that copies, an agent that has just begun. */
static int call(struct drill_run *run, const struct drill_step *step, struct str name, uint64_t until_us,
                struct error *err)
{
    struct buf target = {0};
    char *unit = str_dup(name), percent[16];
    int result;
    snprintf(percent, sizeof(percent), "%lld", (long long)step->percent.value);
    buf_printf(&target, "%s%s%s", calls[step->operator.value].path, *calls[step->operator.value].query ? "?" : "",
               calls[step->operator.value].query);
    deployment_add_query(&target, "unit", unit);
    deployment_add_query(&target, "by", "drill");
    if (step->operator.value == DRILL_RAMP)
        deployment_add_query(&target, "steps", percent);
    for (;;) {
        json_t *answer;
        result = deployment_ask(&run->deployment, "POST", target.base, STR_LIT(""), &answer, err);
        json_decref(answer);
        if (result == 0 || err->code != ERROR_CONFLICT || clock_monotonic_us() >= until_us)
            break;
        struct timespec pause = {.tv_nsec = POLL_US * 1000};
        nanosleep(&pause, NULL);
    }
    buf_free(&target);
    free(unit);
    return result;
}

/* Asked for at home too: it says that all is well, and the unit may be moved again by itself. A switch that is given
 * up, since the standby was not level in time, is asked for again. */
static int fail_back(struct drill_run *run, const struct drill_step *step, uint32_t unit, uint64_t until_us,
                     struct error *err)
{
    struct str name = run->rules.table->units[unit].name;
    struct buf why = {0};
    int result;
    bool home;
    do {
        uint64_t again_us = clock_monotonic_us() + AGAIN_US;
        result = call(run, step, name, until_us, err);
        home = result == 0 && poll_until(run, DRILL_HOME, unit, again_us < until_us ? again_us : until_us, &why);
    } while (!home && result == 0 && clock_monotonic_us() < until_us);
    if (!home && result == 0)
        result = error_set(err, ERROR_TIMEOUT, "%s", why.base);
    buf_free(&why);
    return result;
}

/* Goes on past what fails; *err is the last of these. */
static int fail_back_all(struct drill_run *run, const struct drill_step *step, uint64_t until_us, struct error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < run->rules.table->unit_count; i++)
        if (run->rules.table->units[i].broker_count > 1 && fail_back(run, step, i, until_us, err) != 0)
            result = -1;
    return result;
}

int drill_do_operator(struct drill_run *run, const struct drill_step *step, struct error *err)
{
    uint64_t until_us = clock_monotonic_us() + (uint64_t)step->within.value * 1000;
    if (step->operator.value != DRILL_FAILBACK)
        return call(run, step, drill_unit_of(run, step), until_us, err);
    if (step->unit.value.base == NULL)
        return fail_back_all(run, step, until_us, err);
    return fail_back(run, step, drill_unit_index(run, step), until_us, err);
}
