/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl color: how a unit's users share its colours, at once or step by step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/options.h"
#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/grid.h"
#include "ops/poll.h"

#define DWELL_MS        30000
#define MIN_REQUESTS    20
#define ABORT_ERRORS    "2" /* per cent */
#define ABORT_LATENCY   "0" /* off: who asks for it knows what the other colour takes */
#define WAIT_EACH_MS    1000
#define WAIT_PACE_MS    200
#define WAIT_LONGEST_MS ((int64_t)8 * 24 * 3600 * 1000)

/* --- what is shown ------------------------------------------------------------------------------------------------ */

static void add_weights(struct grid *grid, const json_t *weights)
{
    grid_add(grid, "%lld:%lld", (long long)json_integer_value(json_object_get(weights, "blue")),
             (long long)json_integer_value(json_object_get(weights, "green")));
}

static void add_ramp(struct grid *grid, const json_t *ramp)
{
    const json_t *steps = json_object_get(ramp, "steps");
    json_int_t step = json_integer_value(json_object_get(ramp, "step"));
    if (!json_is_object(ramp))
        grid_add(grid, "-");
    else
        grid_add(grid, "%s: %s %lld %%, step %lld of %zu", ctl_text(ramp, "state"), ctl_text(ramp, "to"),
                 (long long)json_integer_value(json_array_get(steps, (size_t)step)), (long long)step + 1,
                 json_array_size(steps));
}

/* Requests and failures of the last seconds, as the gateway that was asked saw them. */
static void add_seen(struct grid *grid, const json_t *colors, const char *color)
{
    const json_t *window = json_object_get(json_object_get(json_object_get(colors, "seen"), "window"), color);
    grid_add(grid, "%lld/%lld, %.1f ms", (long long)json_integer_value(json_object_get(window, "failed")),
             (long long)json_integer_value(json_object_get(window, "requests")),
             json_number_value(json_object_get(window, "p90_ms")));
}

static void print_units(const json_t *list)
{
    struct grid grid;
    grid_begin(&grid, "UNIT|BLUE:GREEN|RULES|RAMP|BLUE FAILED|GREEN FAILED|BY|WHY");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *colors = json_array_get(list, i);
        grid_add(&grid, "%s", ctl_text(colors, "unit"));
        add_weights(&grid, json_object_get(colors, "weights"));
        add_weights(&grid, json_object_get(colors, "rules"));
        add_ramp(&grid, json_object_get(colors, "ramp"));
        add_seen(&grid, colors, "blue");
        add_seen(&grid, colors, "green");
        grid_add(&grid, "%s", *ctl_text(colors, "by") ? ctl_text(colors, "by") : "-");
        grid_add(&grid, "%s", *ctl_text(colors, "why") ? ctl_text(colors, "why") : "-");
    }
    grid_print(&grid);
}

static json_t *item_of(const json_t *answer, const char *unit)
{
    return ctl_find(json_object_get(answer, "colors"), "unit", unit);
}

enum ctl_exit verb_color_show(const struct ctl *ctl)
{
    const char *unit = args_value(&ctl->args, "--unit");
    struct deployment deployment;
    struct error err = {0};
    json_t *answer = NULL, *list = NULL;
    if (deployment_find(&ctl->args, &deployment, &err) == 0)
        answer = deployment_get(&deployment, "/v1/colors", &err);
    if (answer != NULL && unit == NULL)
        list = json_incref(json_object_get(answer, "colors"));
    else if (answer != NULL && item_of(answer, unit) == NULL)
        error_set(&err, ERROR_REFUSED, "the rules in force name no unit %s; `ldcctl status` lists them", unit);
    else if (answer != NULL)
        list = json_pack("[O]", item_of(answer, unit));
    json_decref(answer);
    deployment_free(&deployment);
    if (list == NULL)
        return ctl_fail(&err);
    if (ctl->json)
        ctl_print_json(json_pack("{s:O}", "colors", list));
    else
        print_units(list);
    json_decref(list);
    return CTL_DONE;
}

/* --- what is changed ---------------------------------------------------------------------------------------------- */

static void begin_target(const struct ctl *ctl, struct buf *target, const char *path)
{
    char host[48] = "", by[64];
    gethostname(host, sizeof(host) - 1);
    snprintf(by, sizeof(by), "ldcctl@%s", host);
    buf_printf(target, "%s", path);
    deployment_add_query(target, "unit", args_word(&ctl->args, 0));
    deployment_add_query(target, "by", by);
}

static void add_number(struct buf *target, const char *name, int64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%lld", (long long)number);
    deployment_add_query(target, name, text);
}

static void print_one(const struct ctl *ctl, json_t *colors)
{
    json_t *list = json_pack("[O]", colors);
    if (ctl->json)
        ctl_print_json(json_incref(colors));
    else
        print_units(list);
    json_decref(list);
}

static enum ctl_exit change(const struct ctl *ctl, struct deployment *deployment, const char *target)
{
    struct error err = {0};
    json_t *answer = NULL;
    int failed = deployment_ask(deployment, "POST", target, STR_LIT(""), &answer, &err);
    if (failed == 0)
        print_one(ctl, answer);
    json_decref(answer);
    return failed == 0 ? CTL_DONE : ctl_fail(&err);
}

static enum ctl_exit change_once(const struct ctl *ctl, struct buf *target)
{
    struct deployment deployment;
    struct error err = {0};
    enum ctl_exit result =
        deployment_find(&ctl->args, &deployment, &err) == 0 ? change(ctl, &deployment, target->base) : ctl_fail(&err);
    deployment_free(&deployment);
    buf_free(target);
    return result;
}

/* One number is a share in per cent, and the other colour has the rest; two are weights as in the rules. */
enum ctl_exit verb_color_set(const struct ctl *ctl)
{
    const struct args *args = &ctl->args;
    bool blue_given = args_value(args, "--blue") != NULL, green_given = args_value(args, "--green") != NULL;
    int64_t most = blue_given && green_given ? 10000 : 100, blue = 0, green = 0;
    struct buf target = {0};
    struct error err = {0};
    if (args_number(args, "--blue", 0, most, &blue, &err) != 0 ||
        args_number(args, "--green", 0, most, &green, &err) != 0)
        return ctl_misused(&err);
    if (!blue_given && !green_given) {
        error_set(&err, ERROR_INPUT, "--blue or --green must be given, or both");
        return ctl_misused(&err);
    }
    if (blue_given && green_given && blue + green == 0) {
        error_set(&err, ERROR_INPUT,
                  "with both weights 0 no user would have a colour; `color reset` gives the unit "
                  "back to the rules");
        return ctl_misused(&err);
    }
    begin_target(ctl, &target, "/v1/colors");
    add_number(&target, "blue", blue_given ? blue : 100 - green);
    add_number(&target, "green", green_given ? green : 100 - blue);
    deployment_add_query(&target, "salt", args_value(args, "--salt"));
    return change_once(ctl, &target);
}

enum ctl_exit verb_color_reset(const struct ctl *ctl)
{
    struct buf target = {0};
    begin_target(ctl, &target, "/v1/colors");
    add_number(&target, "blue", 0);
    add_number(&target, "green", 0);
    return change_once(ctl, &target);
}

enum ctl_exit verb_color_rollback(const struct ctl *ctl)
{
    struct buf target = {0};
    begin_target(ctl, &target, "/v1/colors/rollback");
    return change_once(ctl, &target);
}

/* --- ramps -------------------------------------------------------------------------------------------------------- */

/* What was GIVEN for FLAG, a number with or without UNIT behind it, to the query parameter NAME. */
static int add_limit(const char *given, const char *flag, char unit, const char *name, struct buf *target,
                     struct error *err)
{
    char text[32], *end;
    double value = strtod(given, &end);
    if (end == given || value < 0 || !(*end == '\0' || (*end == unit && end[1] == '\0')))
        return error_set(err, ERROR_INPUT, "%s wants a number such as 2%c, not '%s'", flag, unit, given);
    snprintf(text, sizeof(text), "%g", value);
    deployment_add_query(target, name, text);
    return 0;
}

static int ramp_target(const struct ctl *ctl, struct buf *target, struct error *err)
{
    const struct args *args = &ctl->args;
    const char *dwell = args_value(args, "--dwell");
    int64_t dwell_ms = DWELL_MS, min_requests = MIN_REQUESTS;
    if (dwell != NULL && (!option_parse_duration(str_of(dwell), &dwell_ms) || dwell_ms < 0))
        return error_set(err, ERROR_INPUT, "--dwell wants a time such as 30s, not '%s'", dwell);
    if (args_number(args, "--min-requests", 0, 1000000000, &min_requests, err) != 0)
        return -1;
    begin_target(ctl, target, "/v1/colors/ramp");
    deployment_add_query(target, "to", args_value(args, "--to"));
    deployment_add_query(target, "steps", args_value(args, "--steps"));
    add_number(target, "dwell_ms", dwell_ms);
    add_number(target, "min_requests", min_requests);
    const char *errors = args_value(args, "--abort-errors"), *latency = args_value(args, "--abort-latency");
    if (add_limit(errors ? errors : ABORT_ERRORS, "--abort-errors", '%', "abort_errors", target, err) != 0)
        return -1;
    return add_limit(latency ? latency : ABORT_LATENCY, "--abort-latency", 'x', "abort_latency", target, err);
}

/* The ramp that is waited for. */
struct waiting {
    const char *unit;
    json_t *last; /* the unit as it was told last; NULL: nobody said anything yet */
    uint64_t version;
};

static const char *state_of(const json_t *colors)
{
    return ctl_text(json_object_get(colors, "ramp"), "state");
}

/* A gateway that is behind the others tells of the past: the newest version counts. */
static enum poll_next on_colors(void *arg, const struct poll_answer *answer)
{
    struct waiting *waiting = arg;
    json_t *colors = item_of(answer->json, waiting->unit);
    uint64_t version = (uint64_t)json_integer_value(json_object_get(colors, "version"));
    if (colors == NULL || version < waiting->version)
        return POLL_AGAIN;
    waiting->version = version;
    json_decref(waiting->last);
    waiting->last = json_incref(colors);
    return strcmp(state_of(colors), "running") == 0 ? POLL_AGAIN : POLL_STOP;
}

static enum ctl_exit wait_for_end(const struct ctl *ctl, const struct deployment *deployment, uint64_t version)
{
    struct waiting waiting = {.unit = args_word(&ctl->args, 0), .version = version};
    struct poll_question question = {.urls = (const char *const *)deployment->urls,
                                     .url_count = deployment->url_count,
                                     .path = "/v1/colors",
                                     .token = deployment->token,
                                     .each_ms = WAIT_EACH_MS,
                                     .interval_ms = WAIT_PACE_MS,
                                     .deadline_ms = WAIT_LONGEST_MS};
    poll_all(&question, on_colors, &waiting);
    if (waiting.last == NULL || strcmp(state_of(waiting.last), "running") == 0) {
        json_decref(waiting.last);
        return CTL_NOT_CONVERGED;
    }
    print_one(ctl, waiting.last);
    bool done = strcmp(state_of(waiting.last), "done") == 0;
    if (!done)
        fprintf(stderr, "ldcctl: the ramp is %s: %s\n", state_of(waiting.last), ctl_text(waiting.last, "why"));
    json_decref(waiting.last);
    return done ? CTL_DONE : CTL_FAILED;
}

static enum ctl_exit ramp(const struct ctl *ctl, struct deployment *deployment, const char *target)
{
    struct error err = {0};
    json_t *answer = NULL;
    if (args_value(&ctl->args, "--wait") == NULL)
        return change(ctl, deployment, target);
    int failed = deployment_ask(deployment, "POST", target, STR_LIT(""), &answer, &err);
    uint64_t version = (uint64_t)json_integer_value(json_object_get(answer, "version"));
    json_decref(answer);
    return failed == 0 ? wait_for_end(ctl, deployment, version) : ctl_fail(&err);
}

enum ctl_exit verb_color_ramp(const struct ctl *ctl)
{
    struct deployment deployment = {0};
    struct buf target = {0};
    struct error err = {0};
    enum ctl_exit result;
    if (ramp_target(ctl, &target, &err) != 0)
        result = ctl_misused(&err);
    else if (deployment_find(&ctl->args, &deployment, &err) != 0)
        result = ctl_fail(&err);
    else
        result = ramp(ctl, &deployment, target.base);
    deployment_free(&deployment);
    buf_free(&target);
    return result;
}
