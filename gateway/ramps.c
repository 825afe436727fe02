/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/ramps.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "gateway/colors.h"
#include "gateway/control.h"
#include "gateway/ramp_peers.h"

#define TICK_US  100000
#define RETRY_US 300000

/* One unit's colours, seen from here. */
struct watch {
    uint64_t version;       /* of the record; UINT64_MAX: none was looked at yet */
    struct color_ramp ramp; /* as it was then */
    uint64_t since_us;      /* monotonic: when its step came into force here */
    uint64_t retry_at_us;   /* after a change that the store did not take */
    char fault[200];        /* why a colour is held back here; "" */
    struct color_window window;
};

struct ramps {
    struct control *control;
    struct ramp_peers *peers;
    sd_event_source *tick;
    struct watch **watches; /* by the unit's id */
    uint32_t count;
};

/* --- watching ----------------------------------------------------------------------------------------------------- */

/* A ramp that another gateway carries on is where it was. */
static bool same_step(const struct color_ramp *a, const struct color_ramp *b)
{
    return a->state == b->state && a->step == b->step && a->to_green == b->to_green && a->step_count == b->step_count &&
           memcmp(a->steps, b->steps, sizeof(a->steps)) == 0;
}

static struct watch *watch_of(struct ramps *ramps, struct unit *unit)
{
    if (unit->id >= ramps->count) {
        ramps->watches = mem_realloc(ramps->watches, (unit->id + 1) * sizeof(struct watch *));
        for (uint32_t id = ramps->count; id <= unit->id; id++)
            ramps->watches[id] = NULL;
        ramps->count = unit->id + 1;
    }
    if (ramps->watches[unit->id] == NULL) {
        ramps->watches[unit->id] = mem_calloc(1, sizeof(struct watch));
        ramps->watches[unit->id]->version = UINT64_MAX;
    }
    return ramps->watches[unit->id];
}

static struct watch *look(struct ramps *ramps, struct unit *unit, uint64_t now_us)
{
    struct watch *watch = watch_of(ramps, unit);
    const struct color_record *record = &unit->colors.record;
    bool first = watch->version == UINT64_MAX;
    if (watch->version != record->version) {
        bool same = !first && record->ramp.state == COLOR_RAMP_RUNNING && same_step(&watch->ramp, &record->ramp);
        watch->version = record->version;
        watch->ramp = record->ramp;
        watch->fault[0] = '\0';
        watch->retry_at_us = 0;
        if (!same) {
            watch->since_us = now_us;
            color_window_reset(&watch->window, unit, now_us);
        }
    }
    color_window_sample(&watch->window, unit, now_us);
    return watch;
}

json_t *ramps_seen(struct ramps *ramps, struct unit *unit)
{
    uint64_t now_us = clock_monotonic_us();
    const struct watch *watch = look(ramps, unit, now_us);
    json_t *answered = json_object(), *recent = json_object();
    for (int color = 0; color < COLOR_COUNT; color++) {
        struct color_totals totals = {0};
        const char *name = color_name((enum color)color);
        color_window_recent(&watch->window, unit, (enum color)color, &totals);
        json_object_set_new(recent, name, color_totals_to_json(&totals));
        json_object_set_new(answered, name,
                            json_integer((json_int_t)color_window_answered(&watch->window, unit, (enum color)color)));
    }
    return json_pack("{s:f,s:o,s:o}", "step_s", (double)(now_us - watch->since_us) / 1e6, "answered", answered,
                     "window", recent);
}

/* --- judging ------------------------------------------------------------------------------------------------------ */

/* What one gateway saw, or all that answered. */
struct evidence {
    struct color_totals of[COLOR_COUNT];
    uint64_t answered[COLOR_COUNT];
    unsigned gateways;
};

static void add_own(struct evidence *evidence, const struct watch *watch, const struct unit *unit)
{
    for (int color = 0; color < COLOR_COUNT; color++) {
        color_window_recent(&watch->window, unit, (enum color)color, &evidence->of[color]);
        evidence->answered[color] += color_window_answered(&watch->window, unit, (enum color)color) +
                                     color_window_delivered(&watch->window, unit, (enum color)color);
    }
    evidence->gateways++;
}

static void add_peer(const json_t *colors, void *arg)
{
    struct evidence *evidence = arg;
    const json_t *seen = json_object_get(colors, "seen");
    for (int color = 0; color < COLOR_COUNT; color++) {
        const char *name = color_name((enum color)color);
        json_int_t answered = json_integer_value(json_object_get(json_object_get(seen, "answered"), name));
        color_totals_add_json(&evidence->of[color], json_object_get(json_object_get(seen, "window"), name));
        evidence->answered[color] += answered > 0 ? (uint64_t)answered : 0;
    }
    evidence->gateways++;
}

static enum color target_of(const struct color_ramp *ramp)
{
    return ramp->to_green ? COLOR_GREEN : COLOR_BLUE;
}

/* For people: WHY, of SIZE bytes. */
static void explain(enum ramp_reason reason, const struct ramp_policy *policy, const struct ramp_sight *sight,
                    char *why, size_t size)
{
    const struct ramp_figures *own = &sight->own, *other = &sight->other;
    if (reason == RAMP_NODES_AWAY)
        snprintf(why, size, "none of its nodes is well");
    else if (reason == RAMP_FAILURES)
        snprintf(why, size, "%llu of its last %llu requests failed, and %.1f %% of the other colour's; %g %% may",
                 (unsigned long long)own->failed, (unsigned long long)own->requests, ramp_failure_rate(other) * 100,
                 policy->abort_errors * 100);
    else if (reason == RAMP_LATENCY)
        snprintf(why, size,
                 "nine in ten of its requests took up to %.1f ms, the other colour's %.1f ms; %g times that is allowed",
                 (double)own->latency_us / 1000, (double)other->latency_us / 1000, policy->abort_latency);
    else
        snprintf(why, size, "step %u of %u held for %.1f s, with %llu requests", sight->step + 1, policy->step_count,
                 (double)sight->elapsed_us / 1e6, (unsigned long long)sight->answered);
}

static enum ramp_verdict judge(const struct unit *unit, const struct watch *watch, const struct evidence *evidence,
                               uint64_t now_us, char *why, size_t size)
{
    const struct color_ramp *ramp = &unit->colors.record.ramp;
    enum color to = target_of(ramp), from = ramp->to_green ? COLOR_BLUE : COLOR_GREEN;
    enum ramp_reason reason;
    struct ramp_policy policy = {.step_count = ramp->step_count,
                                 .dwell_us = ramp->dwell_ms * 1000,
                                 .min_requests = ramp->min_requests,
                                 .abort_errors = ramp->abort_errors / 100,
                                 .abort_latency = ramp->abort_latency};
    struct ramp_sight sight = {.step = ramp->step,
                               .elapsed_us = now_us - watch->since_us,
                               .answered = evidence->answered[to],
                               .own = color_totals_figures(&evidence->of[to]),
                               .other = color_totals_figures(&evidence->of[from]),
                               .away = unit->colors.health[to].away};
    enum ramp_verdict verdict = ramp_decide(&policy, &sight, &reason);
    explain(reason, &policy, &sight, why, size);
    return verdict;
}

/* --- acting ------------------------------------------------------------------------------------------------------- */

/* Who did not come first looks again when the store tells of it. */
static bool put(struct ramps *ramps, struct unit *unit, struct watch *watch, const struct color_record *record,
                uint64_t now_us)
{
    struct error err = {ERROR_NONE, ""};
    if (colors_put(unit, ramps->control->rollout.store, record, &err) == 0)
        return true;
    watch->retry_at_us = now_us + RETRY_US;
    if (err.code != ERROR_CONFLICT)
        log_warning("ramp.store", "%s: %s", unit->name, err.text);
    return false;
}

static bool roll_back(struct ramps *ramps, struct unit *unit, struct watch *watch, const char *why, uint64_t now_us)
{
    struct color_record record = unit->colors.record;
    enum color to = target_of(&record.ramp);
    char sentence[240];
    struct error ignored;
    snprintf(sentence, sizeof(sentence), "rolled back from %u %% %s: %s", record.ramp.steps[record.ramp.step],
             color_name(to), why);
    struct color_change change = {clock_wall_us(), ramps->control->gateway->name, sentence};
    if (color_record_roll_back(&record, &change, &ignored) != 0)
        return false;
    bool taken = put(ramps, unit, watch, &record, now_us);
    if (taken) {
        stat_add(&ramps->control->stats.ramp_rollbacks_total, 1);
        log_warning("ramp.rolled_back", "%s: %s", unit->name, sentence);
        return true;
    }
    snprintf(watch->fault, sizeof(watch->fault), "%s", why);
    bool held = unit->colors.held_back[to];
    unit->colors.held_back[to] = true; /* here at once, for the others as soon as the store takes it */
    return !held;
}

static bool advance(struct ramps *ramps, struct unit *unit, struct watch *watch, const char *why, uint64_t now_us)
{
    struct color_record record = unit->colors.record;
    struct color_change change = {clock_wall_us(), ramps->control->gateway->name, why};
    color_record_advance(&record, &change);
    if (!put(ramps, unit, watch, &record, now_us))
        return false;
    stat_add(&ramps->control->stats.ramp_steps_total, 1);
    log_info(record.ramp.state == COLOR_RAMP_DONE ? "ramp.done" : "ramp.step", "%s: %u %% %s; %s", unit->name,
             record.ramp.steps[record.ramp.step], color_name(target_of(&record.ramp)), why);
    return true;
}

static bool take_over(struct ramps *ramps, struct unit *unit, struct watch *watch, uint64_t now_us)
{
    struct color_record record = unit->colors.record;
    char why[160];
    snprintf(why, sizeof(why), "goes on with the ramp: %s is gone", record.ramp.carrier);
    struct color_change change = {clock_wall_us(), ramps->control->gateway->name, why};
    color_record_carry(&record, &change);
    if (!put(ramps, unit, watch, &record, now_us))
        return false;
    log_info("ramp.taken_over", "%s: %s", unit->name, why);
    return true;
}

static bool carry(struct ramps *ramps, struct unit *unit, struct watch *watch, struct evidence *evidence,
                  uint64_t now_us)
{
    char why[200];
    ramp_peers_each(ramps->peers, unit->name, unit->colors.record.version, now_us, add_peer, evidence);
    switch (judge(unit, watch, evidence, now_us, why, sizeof(why))) {
    case RAMP_ABORT:
        return roll_back(ramps, unit, watch, why, now_us);
    case RAMP_ADVANCE:
    case RAMP_FINISH:
        return advance(ramps, unit, watch, why, now_us);
    case RAMP_WAIT:
        break;
    }
    return false;
}

/* True where the unit's split is another one now. */
static bool tend(struct ramps *ramps, struct unit *unit, uint64_t now_us)
{
    struct watch *watch = look(ramps, unit, now_us);
    const struct color_ramp *ramp = &unit->colors.record.ramp;
    struct evidence evidence = {.gateways = 0};
    char why[200];
    if (ramp->state != COLOR_RAMP_RUNNING || now_us < watch->retry_at_us)
        return false;
    if (watch->fault[0] != '\0') {
        snprintf(why, sizeof(why), "%s", watch->fault);
        return roll_back(ramps, unit, watch, why, now_us);
    }
    add_own(&evidence, watch, unit);
    if (judge(unit, watch, &evidence, now_us, why, sizeof(why)) == RAMP_ABORT)
        return roll_back(ramps, unit, watch, why, now_us);
    if (strcmp(ramp->carrier, ramps->control->gateway->name) == 0)
        return carry(ramps, unit, watch, &evidence, now_us);
    return ramp_peers_lost(ramps->peers, ramp->carrier, now_us) && take_over(ramps, unit, watch, now_us);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct ramps *ramps = arg;
    struct control *control = ramps->control;
    struct view *view = control->rollout.view;
    uint64_t now_us = clock_monotonic_us();
    bool changed = colors_check(view, now_us), running = false;
    for (uint32_t i = 0; view != NULL && i < view->table->unit_count; i++) {
        changed |= tend(ramps, view->units[i].unit, now_us);
        running |= view->units[i].unit->colors.record.ramp.state == COLOR_RAMP_RUNNING;
    }
    if (changed)
        control_recolor(control);
    if (running)
        ramp_peers_ask(ramps->peers, control->rollout.store, now_us);
    else
        ramp_peers_rest(ramps->peers);
    sd_event_source_set_time_relative(source, TICK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct ramps *ramps_create(struct control *control)
{
    struct ramps *ramps = mem_calloc(1, sizeof(*ramps));
    ramps->control = control;
    ramps->peers = ramp_peers_create(control->loop, control->gateway->name, control->admin_token);
    INVARIANT(sd_event_add_time_relative(control->loop, &ramps->tick, CLOCK_MONOTONIC, TICK_US, 0, on_tick, ramps) >=
              0);
    return ramps;
}

void ramps_destroy(struct ramps **ramps)
{
    if (*ramps == NULL)
        return;
    ramp_peers_destroy(&(*ramps)->peers);
    sd_event_source_disable_unref((*ramps)->tick);
    for (uint32_t id = 0; id < (*ramps)->count; id++)
        free((*ramps)->watches[id]);
    free((*ramps)->watches);
    free(*ramps);
    *ramps = NULL;
}
