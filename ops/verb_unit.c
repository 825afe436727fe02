/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl unit: planned work on a unit, and failovers by an operator's word.
 */
#include <stdio.h>
#include <unistd.h>

#include "ops/unit_copies.h"
#include "ops/unit_switch.h"

#define TIMEOUT_S 10

/* What is asked for, and what came of it. */
struct work {
    const struct ctl *ctl;
    const char *unit, *verb, *path;
    int64_t timeout_ms;
    const char *broker, *run_id; /* whose copy is to lead, whatever it lacks; NULL: none is named */
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
    deployment_add_query(target, "broker", work->broker);
    deployment_add_query(target, "run_id", work->run_id);
}

static enum ctl_exit ask(struct work *work)
{
    struct buf target = {0};
    struct error err = {0};
    json_t *answer = NULL;
    enum ctl_exit result;
    make_target(work, &target);
    if (deployment_ask(&work->deployment, "POST", target.base, STR_LIT(""), &answer, &err) != 0)
        result = ctl_fail(&err);
    else
        result = follow(work, answer);
    json_decref(answer);
    buf_free(&target);
    return result;
}

static enum ctl_exit run(const struct ctl *ctl, const char *verb, const char *path, enum ctl_exit (*act)(struct work *))
{
    int64_t timeout_s = TIMEOUT_S;
    struct error err = {0};
    if (args_number(&ctl->args, "--timeout", 1, 3600, &timeout_s, &err) != 0)
        return ctl_misused(&err);
    struct work work = {
        .ctl = ctl, .unit = args_word(&ctl->args, 0), .verb = verb, .path = path, .timeout_ms = timeout_s * 1000};
    enum ctl_exit result = deployment_find(&ctl->args, &work.deployment, &err) == 0 ? act(&work) : ctl_fail(&err);
    deployment_free(&work.deployment);
    return result;
}

enum ctl_exit verb_unit_drain(const struct ctl *ctl)
{
    return run(ctl, "drain", "/v1/units/drain", ask);
}

enum ctl_exit verb_unit_ready(const struct ctl *ctl)
{
    return run(ctl, "ready", "/v1/units/ready", ask);
}

enum ctl_exit verb_unit_failback(const struct ctl *ctl)
{
    return run(ctl, "failback", "/v1/units/failback", ask);
}

/* --- with a loss -------------------------------------------------------------------------------------------------- */

static int check_copy(const struct work *work, const json_t *best, struct error *err)
{
    if (best == NULL)
        return error_set(err, ERROR_REFUSED,
                         "no broker of %s answers that holds its data, or none at all: start one, even an empty one",
                         work->unit);
    if (json_is_true(json_object_get(best, "in_sync")) && strcmp(ctl_text(best, "role"), "primary") == 0)
        return error_set(err, ERROR_REFUSED, "%s serves, and is in sync", ctl_text(best, "broker"));
    if (json_is_true(json_object_get(best, "in_sync")) && strcmp(ctl_text(best, "role"), "replica") == 0)
        return error_set(err, ERROR_REFUSED, "%s is in sync: `ldcctl unit fail %s` loses nothing",
                         ctl_text(best, "broker"), work->unit);
    return 0;
}

static enum ctl_exit take_best(struct work *work, const json_t *copies)
{
    struct error err = {0};
    const json_t *best = unit_copies_best(copies);
    if (!work->ctl->json)
        unit_copies_print(copies);
    if (check_copy(work, best, &err) != 0)
        return ctl_fail(&err);
    unsigned long long loss = unit_copies_loss(copies, best);
    fprintf(stderr,
            "ldcctl: %s is the best copy that answers; it lacks %llu writes at least, and whatever came behind "
            "the last look at the others\n",
            ctl_text(best, "broker"), loss);
    if (args_value(&work->ctl->args, "--yes") == NULL) {
        error_set(&err, ERROR_REFUSED, "nothing was changed; --yes accepts the loss");
        return ctl_fail(&err);
    }
    work->broker = ctl_text(best, "broker");
    work->run_id = ctl_text(best, "run_id");
    return ask(work);
}

static enum ctl_exit accept_loss(struct work *work)
{
    struct fleet fleet = {0};
    struct error err = {0};
    if (fleet_ask(&fleet, &work->deployment, &err) != 0)
        return ctl_fail(&err);
    json_t *copies = unit_copies(&fleet, work->unit);
    enum ctl_exit result = take_best(work, copies);
    json_decref(copies);
    fleet_free(&fleet);
    return result;
}

enum ctl_exit verb_unit_fail(const struct ctl *ctl)
{
    bool loses = args_value(&ctl->args, "--accept-loss") != NULL;
    return run(ctl, "fail", "/v1/units/fail", loses ? accept_loss : ask);
}
