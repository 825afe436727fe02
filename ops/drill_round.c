/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "common/clock.h"
#include "ops/drill_parts.h"

#define LOOK_US  10000  /* at what the load has seen */
#define ASK_US   200000 /* everybody for their status */
#define PIECE_US 50000
#define TELL_US  2000000 /* what is waited for */

static void pause_for(uint64_t us)
{
    struct timespec time = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

/* The rollback is gone through to its end, whatever happens meanwhile. */
static bool must_end(struct drill_run *run)
{
    struct drill_round *round = run->round;
    struct buf why = {0};
    if (round->healed_us != 0)
        return false;
    if (drill_told_to_stop())
        drill_fail(round, DRILL_INTERRUPTED, "it was told to stop");
    drill_aborts(run, &why);
    if (why.len > 0 && round->end == DRILL_PASSED) {
        drill_fail(round, DRILL_ABORTED, why.base);
        drill_note(run, "abort", "%s", why.base);
    }
    buf_free(&why);
    return round->end != DRILL_PASSED;
}

static bool look_on(struct drill_run *run, uint64_t until_us)
{
    for (uint64_t now_us; (now_us = clock_monotonic_us()) < until_us;) {
        if (must_end(run))
            return false;
        pause_for(until_us - now_us < PIECE_US ? until_us - now_us : PIECE_US);
    }
    return true;
}

static int wait_for(struct drill_run *run, const struct drill_step *step, struct error *err)
{
    enum drill_wait wait = (enum drill_wait)step->wait.value;
    bool by_load = wait == DRILL_FIRST_SUCCESS || wait == DRILL_SERVES;
    uint32_t unit = by_load || wait == DRILL_ROLLED_BACK ? drill_unit_index(run, step) : NO_UNIT;
    uint64_t began_us = clock_monotonic_us(), tell_us = began_us + TELL_US;
    uint64_t until_us = began_us + (uint64_t)step->within.value * 1000;
    struct buf why = {0};
    int result = -1;
    for (;;) {
        why.len = 0;
        if (drill_holds(run, wait, unit, began_us, &why)) {
            result = 0;
            break;
        }
        if (clock_monotonic_us() > tell_us) {
            drill_say(run, "%27s%s: %s", "waiting for ", drill_wait_name(wait), why.len > 0 ? why.base : "");
            tell_us += TELL_US;
        }
        if (must_end(run)) {
            error_set(err, ERROR_CONFLICT, "%s", run->round->why);
            break;
        }
        if (clock_monotonic_us() > until_us) {
            if (by_load)
                drill_add_refusal(run, unit, &why);
            error_set(err, ERROR_TIMEOUT, "%s is not there after %lld ms: %s", drill_wait_name(wait),
                      (long long)step->within.value, why.len > 0 ? why.base : "");
            break;
        }
        pause_for(by_load ? LOOK_US : ASK_US);
    }
    buf_free(&why);
    return result;
}

/* The kind of event that the end of STEP is. */
static const char *kind_of(const struct drill_step *step)
{
    bool synced = step->wait.at.line > 0 && step->wait.value == DRILL_IN_SYNC;
    return step->heal.at.line > 0 ? "heal" : step->operator.at.line> 0 ? "operator" : synced ? "in_sync" : "note";
}

static int act(struct drill_run *run, const struct drill_step *step, struct error *err)
{
    if (step->fault.at.line > 0)
        return drill_do_fault(run, step, err);
    if (step->heal.at.line > 0)
        return drill_do_heal(run, err);
    if (step->wait.at.line > 0)
        return wait_for(run, step, err);
    if (step->operator.at.line> 0)
        return drill_do_operator(run, step, err);
    look_on(run, clock_monotonic_us() + (uint64_t)step->pause.value * 1000);
    return 0;
}

/* *MS: how long it took. */
static int perform(struct drill_run *run, const struct drill_step *step, double *ms, struct error *err)
{
    struct buf what = {0};
    uint64_t began_us = clock_monotonic_us();
    int result = act(run, step, err);
    *ms = (double)(clock_monotonic_us() - began_us) / 1000;
    drill_describe(step, &what);
    if (result != 0)
        drill_note(run, "abort", "%s: %s", what.base, err->text);
    else if (step->fault.at.line == 0 && step->pause.at.line == 0)
        drill_note(run, kind_of(step), "%s: %.0f ms", what.base, *ms);
    buf_free(&what);
    return result;
}

static void go_through_method(struct drill_run *run)
{
    const struct drill_steps *steps = &run->drill->method;
    struct drill_round *round = run->round;
    struct error err = {0};
    double ms;
    for (size_t i = 0; i < steps->count && !must_end(run); i++) {
        const struct drill_step *step = &steps->items[i];
        if (look_on(run, round->began_us + (uint64_t)step->at.value * 1000) && perform(run, step, &ms, &err) != 0)
            drill_fail(round, DRILL_NOT_PASSED, err.text);
    }
}

static void roll_back(struct drill_run *run)
{
    const struct drill_steps *steps = &run->drill->rollback;
    struct drill_round *round = run->round;
    round->healed_us = clock_monotonic_us();
    if (round->fault_us != 0)
        run->struck[run->struck_count++] = (struct drill_span){round->fault_us, round->healed_us};
    for (size_t i = 0; i < steps->count; i++) {
        const struct drill_step *step = &steps->items[i];
        struct error err = {0};
        struct buf what = {0};
        double ms;
        bool ok = perform(run, step, &ms, &err) == 0;
        drill_describe(step, &what);
        json_array_append_new(round->rollback,
                              json_pack("{s:s,s:f,s:b,s:s}", "step", what.base, "ms", ms, "ok", ok, "text", err.text));
        if (!ok)
            drill_fail(round, DRILL_NOT_PASSED, err.text);
        buf_free(&what);
    }
}

/* "-" where it did not happen there. */
static void add_ms(struct grid *grid, const json_t *link, const char *key)
{
    const json_t *ms = json_object_get(link, key);
    if (json_is_real(ms))
        grid_add(grid, "%.1f", json_real_value(ms));
    else
        grid_add(grid, "-");
}

static void note_successes(struct drill_run *run, const json_t *chain)
{
    const struct drill_round *round = run->round;
    for (size_t i = 0; i < json_array_size(chain); i++) {
        const json_t *link = json_array_get(chain, i), *ms = json_object_get(link, "first_success_ms");
        if (json_is_real(ms))
            drill_log(run,
                      &(struct drill_event){round->fault_us + (uint64_t)(json_real_value(ms) * 1000), "first_success",
                                            ctl_text(link, "gateway"), ctl_text(link, "unit"), 0},
                      "a message of %s was accepted", ctl_text(link, "unit"));
    }
}

static void show_chain(struct drill_run *run)
{
    struct grid grid;
    struct buf table = {0};
    json_t *chain = drill_chain(run, run->round);
    note_successes(run, chain);
    grid_begin(&grid, "GATEWAY, MS AFTER THE FAULT|>DETECTED|>DECIDED|>CONVERGED|>PROMOTED|>FIRST SUCCESS");
    for (size_t i = 0; i < json_array_size(chain); i++) {
        const json_t *link = json_array_get(chain, i);
        grid_add(&grid, "%s", ctl_text(link, "gateway"));
        add_ms(&grid, link, "detect_ms");
        add_ms(&grid, link, "decide_ms");
        add_ms(&grid, link, "converge_ms");
        add_ms(&grid, link, "promoted_ms");
        add_ms(&grid, link, "first_success_ms");
    }
    grid_end(&grid, &table);
    drill_say(run, "%s", table.base);
    buf_free(&table);
    json_decref(chain);
}

bool drill_go_round(struct drill_run *run, unsigned number)
{
    struct drill_round round = {.number = number,
                                .began_us = clock_monotonic_us(),
                                .targets = json_array(),
                                .events = json_array(),
                                .rollback = json_array()};
    run->round = &round;
    drill_say(run, "round %u", number);
    go_through_method(run);
    drill_log_collect(run);
    if (round.fault_us != 0)
        show_chain(run);
    roll_back(run);
    drill_log_collect(run);
    json_array_append_new(run->rounds, drill_result_round(run, &round));
    drill_say(run, "round %u: %s%s%s", number, drill_end_name(round.end), *round.why ? ": " : "", round.why);
    json_decref(round.targets);
    json_decref(round.events);
    json_decref(round.rollback);
    run->round = NULL;
    return round.end == DRILL_PASSED && !drill_told_to_stop();
}
