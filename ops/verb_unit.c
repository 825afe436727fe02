/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl unit: planned work on a unit, and failovers by an operator's word.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ops/unit_switch.h"

#define TIMEOUT_S 10

/* What is asked for, and what came of it. */
struct work {
    const struct ctl *ctl;
    const char *unit, *verb, *path;
    int64_t timeout_ms;
    struct deployment deployment;
    struct unit_switch switched;
};

static void print_json(const struct work *work, const json_t *answer, const json_t *record)
{
    ctl_print_json(json_pack("{s:s,s:s,s:O,s:O,s:O,s:o}", "unit", work->unit, "verb", work->verb, "changed",
                             json_object_get(answer, "changed"), "record", record, "steps", work->switched.steps,
                             "held", unit_switch_held(&work->switched)));
}

static void print_people(const struct work *work, const json_t *answer, const json_t *record)
{
    const char *consumer = ctl_text(record, "consumer");
    if (!json_is_true(json_object_get(answer, "changed"))) {
        printf("%s: nothing is to be done\n", work->unit);
        return;
    }
    unit_switch_print(&work->switched);
    printf("%s: %s leads, delivered by %s, epoch %lld\n", work->unit, ctl_text(record, "primary"),
           *consumer ? consumer : work->unit, (long long)json_integer_value(json_object_get(record, "version")));
}

/* A switch that was given up leaves the unit where it was. */
static enum ctl_exit judge(const struct work *work, const json_t *answer, const json_t *record, bool followed)
{
    const char *target = ctl_text(json_object_get(answer, "record"), "target");
    if (!followed) {
        fprintf(stderr, "ldcctl: %s: not every gateway has followed\n", work->unit);
        return CTL_NOT_CONVERGED;
    }
    if (*target == '\0' || strcmp(target, ctl_text(record, "primary")) == 0)
        return CTL_DONE;
    fprintf(stderr, "ldcctl: %s stays where it was: %s\n", work->unit, ctl_text(record, "why"));
    return CTL_FAILED;
}

static enum ctl_exit follow(struct work *work, const json_t *answer)
{
    bool followed = unit_switch_wait(&work->switched, &work->deployment, work->unit, answer, work->timeout_ms);
    const json_t *record = unit_switch_record(&work->switched);
    record = record != NULL ? record : json_object_get(answer, "record");
    if (work->ctl->json)
        print_json(work, answer, record);
    else
        print_people(work, answer, record);
    enum ctl_exit result = judge(work, answer, record, followed);
    unit_switch_free(&work->switched);
    return result;
}

static void make_target(const struct work *work, struct buf *target)
{
    char host[48] = "", by[64];
    gethostname(host, sizeof(host) - 1);
    snprintf(by, sizeof(by), "ldcctl@%s", host);
    buf_printf(target, "%s", work->path);
    deployment_add_query(target, "unit", work->unit);
    deployment_add_query(target, "by", by);
    deployment_add_query(target, "note", args_value(&work->ctl->args, "--note"));
}

static enum ctl_exit ask(struct work *work)
{
    struct buf target = {0};
    struct error err = {0};
    json_t *answer = NULL;
    enum ctl_exit result;
    make_target(work, &target);
    if (deployment_find(&work->ctl->args, &work->deployment, &err) != 0 ||
        deployment_ask(&work->deployment, "POST", target.base, STR_LIT(""), &answer, &err) != 0)
        result = ctl_fail(&err);
    else
        result = follow(work, answer);
    json_decref(answer);
    buf_free(&target);
    deployment_free(&work->deployment);
    return result;
}

static enum ctl_exit run(const struct ctl *ctl, const char *verb, const char *path)
{
    int64_t timeout_s = TIMEOUT_S;
    struct error err = {0};
    if (args_number(&ctl->args, "--timeout", 1, 3600, &timeout_s, &err) != 0)
        return ctl_misused(&err);
    struct work work = {
        .ctl = ctl, .unit = args_word(&ctl->args, 0), .verb = verb, .path = path, .timeout_ms = timeout_s * 1000};
    return ask(&work);
}

enum ctl_exit verb_unit_drain(const struct ctl *ctl)
{
    return run(ctl, "drain", "/v1/units/drain");
}

enum ctl_exit verb_unit_ready(const struct ctl *ctl)
{
    return run(ctl, "ready", "/v1/units/ready");
}

enum ctl_exit verb_unit_failback(const struct ctl *ctl)
{
    return run(ctl, "failback", "/v1/units/failback");
}

enum ctl_exit verb_unit_fail(const struct ctl *ctl)
{
    return run(ctl, "fail", "/v1/units/fail");
}
