/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl rules apply and rollback: the verbs that change the rules in force.
 */
#include <math.h>
#include <stdio.h>

#include "ops/rules_change.h"

#define TIMEOUT_S 10
#define MAX_MOVE  10

/* What the command line says. */
struct bounds {
    int64_t timeout_s, max_move; /* seconds, per cent */
};

static int read_bounds(const struct ctl *ctl, struct bounds *bounds, struct error *err)
{
    *bounds = (struct bounds){TIMEOUT_S, MAX_MOVE};
    if (args_number(&ctl->args, "--timeout", 1, 3600, &bounds->timeout_s, err) != 0)
        return -1;
    return args_number(&ctl->args, "--max-move", 0, 100, &bounds->max_move, err);
}

static int hold_against(const struct rules_change *change, int64_t max_move, struct error *err)
{
    const struct rules_diff *diff = &change->weigh.diff;
    double share = weigh_share(&change->weigh) * 100;
    if (share <= (double)max_move)
        return 0;
    return error_set(err, ERROR_REFUSED,
                     "not applied: %.1f %% of the %s would move, and --max-move allows %lld %%; if that is what you "
                     "want, apply again with --max-move %.0f, or move less at a time",
                     share,
                     diff->request_share > diff->slot_share ? "live requests"
                     : diff->resharded                      ? "users"
                                                            : "slots",
                     (long long)max_move, ceil(share));
}

static json_t *or_null(uint64_t number)
{
    return number ? json_integer((json_int_t)number) : json_null();
}

/* The one JSON document of a change, whatever became of it. */
static enum ctl_exit conclude(struct rules_change *change, enum ctl_exit result, const struct error *err)
{
    bool weighed = change->weigh.before != NULL;
    if (!change->ctl->json)
        return result;
    ctl_print_json(json_pack("{s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:{s:i,s:f}}", "applied", result == CTL_DONE, "refused",
                             err->code ? json_string(err->text) : json_null(), "epoch", or_null(change->new_epoch),
                             "version", or_null(change->new_version), "diff",
                             weighed ? weigh_json(&change->weigh) : json_null(), "members",
                             converge_json(&change->converge), "undone_by_epoch", or_null(change->undone_epoch),
                             "moved", "units", (int)change->moved_units, "held_ms", change->moved_held_ms));
    return result;
}

static void tell_put(const struct rules_change *change)
{
    if (change->ctl->json)
        return;
    printf("version %llu is in force as epoch %llu; waiting for everybody\n", (unsigned long long)change->new_version,
           (unsigned long long)change->new_epoch);
    if (change->moved_units > 0)
        printf("users left %u unit%s in order; their requests waited %.0f ms\n", change->moved_units,
               change->moved_units == 1 ? "" : "s", change->moved_held_ms);
    fflush(stdout);
}

/* The very same text is in force already: there is nothing to put, and nothing to undo. */
static enum ctl_exit follow_what_is(struct rules_change *change, const struct bounds *bounds)
{
    change->new_epoch = change->epoch;
    change->new_version = change->version;
    tell_put(change);
    return rules_change_follow(change, bounds->timeout_s * 1000, false);
}

static enum ctl_exit apply(struct rules_change *change, const struct bounds *bounds, struct error *err)
{
    if (rules_change_weigh(change, err) != 0)
        return ctl_fail(err);
    if (!change->ctl->json && change->before.table != NULL)
        weigh_print(&change->weigh);
    if (str_equal(buf_str(&change->before.text), buf_str(&change->after.text)))
        return follow_what_is(change, bounds);
    if (hold_against(change, bounds->max_move, err) != 0 ||
        rules_change_put(change, change->epoch, NULL, args_value(&change->ctl->args, "--note"), err) != 0)
        return ctl_fail(err);
    tell_put(change);
    return rules_change_follow(change, bounds->timeout_s * 1000, true);
}

enum ctl_exit verb_rules_apply(const struct ctl *ctl)
{
    struct rules_change change;
    struct bounds bounds;
    struct error err = {0};
    if (read_bounds(ctl, &bounds, &err) != 0)
        return ctl_misused(&err);
    enum ctl_exit result = rules_change_begin(&change, ctl, args_word(&ctl->args, 0));
    change.unfenced = args_value(&ctl->args, "--unfenced") != NULL;
    if (result == CTL_DONE)
        result = conclude(&change, apply(&change, &bounds, &err), &err);
    rules_change_end(&change);
    return result;
}

/* The store's own epoch: that of a gateway is older where it refuses what the store holds, and then rolling back is
 * what mends it. */
static int ask_epoch(struct rules_change *change, struct error *err)
{
    json_t *status = deployment_get(&change->deployment, "/v1/status", err);
    if (status == NULL)
        return -1;
    change->epoch = (uint64_t)json_integer_value(json_object_get(json_object_get(status, "store"), "epoch"));
    json_decref(status);
    return 0;
}

static enum ctl_exit roll_back(struct rules_change *change, const struct bounds *bounds, struct error *err)
{
    const struct args *args = &change->ctl->args;
    if (ask_epoch(change, err) != 0 ||
        rules_change_put(change, change->epoch, args_value(args, "--to"), args_value(args, "--note"), err) != 0)
        return ctl_fail(err);
    tell_put(change);
    return rules_change_follow(change, bounds->timeout_s * 1000, false);
}

enum ctl_exit verb_rules_rollback(const struct ctl *ctl)
{
    struct rules_change change;
    struct bounds bounds;
    struct error err = {0};
    int64_t version;
    if (read_bounds(ctl, &bounds, &err) != 0 || args_number(&ctl->args, "--to", 1, INT64_MAX, &version, &err) != 0)
        return ctl_misused(&err);
    enum ctl_exit result = rules_change_begin(&change, ctl, NULL);
    change.unfenced = args_value(&ctl->args, "--unfenced") != NULL;
    if (result == CTL_DONE)
        result = conclude(&change, roll_back(&change, &bounds, &err), &err);
    rules_change_end(&change);
    return result;
}
