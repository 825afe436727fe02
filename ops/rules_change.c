/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/rules_change.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UNDO_TIMEOUT_MS 5000

enum ctl_exit rules_change_begin(struct rules_change *change, const struct ctl *ctl, const char *path)
{
    struct error err = {0};
    *change = (struct rules_change){.ctl = ctl};
    enum ctl_exit result = path != NULL ? rulefile_need(ctl, &change->after, path) : CTL_DONE;
    if (result == CTL_DONE && deployment_find(&ctl->args, &change->deployment, &err) != 0)
        result = ctl_fail(&err);
    return result;
}

void rules_change_end(struct rules_change *change)
{
    weigh_free(&change->weigh);
    rulefile_free(&change->before);
    rulefile_free(&change->after);
    deployment_free(&change->deployment);
    free(change->converge.members);
}

static uint64_t number_at(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* The rules in force, into `before`. That there are none yet is no fault. */
static int ask_before(struct rules_change *change, struct error *err)
{
    json_t *answer;
    int result = deployment_ask(&change->deployment, "GET", "/v1/rules", STR_LIT(""), &answer, err);
    if (result != 0 && number_at(answer, "status") == 404)
        result = 0;
    else if (result == 0) {
        const json_t *record = json_object_get(answer, "record"), *rules = json_object_get(answer, "rules");
        change->epoch = number_at(record, "rules_epoch");
        change->version = number_at(record, "version");
        rulefile_compile(&change->before, "the rules in force",
                         (struct str){json_string_value(rules), json_string_length(rules)}, change->epoch);
        if (change->before.table == NULL)
            result = error_set(err, ERROR_REFUSED,
                               "this ldcctl does not understand the rules in force (`ldcctl rules show`); is it older "
                               "than the gateways?");
    }
    json_decref(answer);
    return result;
}

int rules_change_weigh(struct rules_change *change, struct error *err)
{
    if (ask_before(change, err) != 0)
        return -1;
    const struct table *before = change->before.table ? change->before.table : change->after.table;
    weigh_rules(&change->weigh, before, change->after.table, &change->deployment);
    return 0;
}

static void tell_diagnostics(const json_t *problem, const char *file)
{
    const json_t *list = json_object_get(problem, "diagnostics");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *diag = json_array_get(list, i);
        const char *hint = ctl_text(diag, "hint");
        fprintf(stderr, "%s:%lld:%lld: %s%s%s%s\n", file, (long long)number_at(diag, "line"),
                (long long)number_at(diag, "column"), ctl_text(diag, "message"), *hint ? " (" : "", hint,
                *hint ? ")" : "");
    }
}

static void add_author(struct buf *target)
{
    char host[48] = "", by[64];
    gethostname(host, sizeof(host) - 1);
    snprintf(by, sizeof(by), "ldcctl@%s", host);
    deployment_add_query(target, "by", by);
}

int rules_change_put(struct rules_change *change, uint64_t expected, const char *version, const char *note,
                     struct error *err)
{
    bool new_rules = change->after.table != NULL;
    struct buf target = {0};
    json_t *answer;
    buf_printf(&target, "%s?expected_epoch=%llu", new_rules ? "/v1/rules" : "/v1/rules/rollback",
               (unsigned long long)expected);
    add_author(&target);
    deployment_add_query(&target, "version", version);
    deployment_add_query(&target, "note", note);
    deployment_add_query(&target, "unfenced", change->unfenced ? "1" : NULL);
    int result = deployment_ask(&change->deployment, "POST", target.base, buf_str(&change->after.text), &answer, err);
    if (result == 0) {
        change->new_epoch = number_at(answer, "epoch");
        change->new_version = number_at(answer, "version");
        const json_t *moved = json_object_get(answer, "moved");
        change->moved_units = (unsigned)number_at(moved, "units");
        change->moved_held_ms = json_number_value(json_object_get(moved, "held_ms"));
    } else {
        tell_diagnostics(answer, new_rules ? change->after.name : "rules");
    }
    json_decref(answer);
    buf_free(&target);
    return result;
}

/* Those who had not followed are not waited for: they were never there. */
static void forget_stragglers(struct converge *converge)
{
    size_t kept = 0;
    for (size_t i = 0; i < converge->count; i++)
        if (converge->members[i].followed)
            converge->members[kept++] = converge->members[i];
    converge->count = kept;
}

static enum ctl_exit undo(struct rules_change *change)
{
    struct error err = {0};
    struct rules_change back = {.ctl = change->ctl, .deployment = change->deployment, .converge = change->converge};
    char version[24];
    snprintf(version, sizeof(version), "%llu", (unsigned long long)change->version);
    if (change->version == 0) {
        fputs("there were no rules before these: nothing to go back to\n", stderr);
        return CTL_NOT_CONVERGED;
    }
    if (rules_change_put(&back, change->new_epoch, version, "undone: not everybody followed", &err) != 0) {
        fprintf(stderr, "ldcctl: and the change could not be undone: %s\n", err.text);
        return CTL_NOT_CONVERGED;
    }
    change->undone_epoch = back.new_epoch;
    fprintf(stderr, "undone: version %s is in force again, as epoch %llu\n", version,
            (unsigned long long)back.new_epoch);
    back.converge.members = mem_calloc(change->converge.count + 1, sizeof(*back.converge.members));
    memcpy(back.converge.members, change->converge.members, change->converge.count * sizeof(*back.converge.members));
    forget_stragglers(&back.converge);
    if (!converge_wait(&back.converge, &back.deployment, back.new_epoch, UNDO_TIMEOUT_MS, !change->ctl->json))
        converge_blame(&back.converge);
    free(back.converge.members);
    return CTL_NOT_CONVERGED;
}

enum ctl_exit rules_change_follow(struct rules_change *change, int64_t timeout_ms, bool may_undo)
{
    struct error err = {0};
    if (converge_enlist(&change->converge, &change->deployment, &err) != 0)
        return ctl_fail(&err);
    bool all = converge_wait(&change->converge, &change->deployment, change->new_epoch, timeout_ms, !change->ctl->json);
    converge_blame(&change->converge);
    if (all)
        return CTL_DONE;
    return may_undo ? undo(change) : CTL_NOT_CONVERGED;
}
