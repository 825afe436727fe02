/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl fault: what fault.h does to a playground, by hand or by a script.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/fault.h"

/* How the command line of "fault KIND TARGET" describes it. */
static int read_fault(const struct args *args, enum fault_kind kind, struct fault *fault, struct error *err)
{
    const char *way = args_value(args, "--way");
    int64_t percent = 0;
    *fault = (struct fault){.kind = kind,
                            .target = args_word(args, 0),
                            .peer = args_value(args, "--peer"),
                            .data = args_value(args, "--empty") ? FAULT_DATA_EMPTY
                                    : args_value(args, "--old") ? FAULT_DATA_OLD
                                                                : FAULT_DATA_KEPT};
    if (way != NULL && !fault_way_of(way, &fault->way))
        return error_set(err, ERROR_INPUT, "--way: must be both, in or out, not '%s'", way);
    if (args_number(args, "--percent", 1, 99, &percent, err) != 0)
        return -1;
    fault->percent = (unsigned)percent;
    return 0;
}

static struct fault_ground *open_ground(const struct ctl *ctl, struct error *err)
{
    char *dir = deployment_folder(&ctl->args);
    struct fault_ground *ground = fault_open(dir, err);
    free(dir);
    return ground;
}

static enum ctl_exit tell(const struct ctl *ctl, const struct fault *fault, uint64_t at_us)
{
    const char *name = fault_kind_name(fault->kind);
    if (ctl->json)
        ctl_print_json(json_pack("{s:s,s:s,s:I}", "fault", name, "target", fault->target, "at_us", (json_int_t)at_us));
    else
        printf("%s: %s\n", fault->target, name);
    return CTL_DONE;
}

static enum ctl_exit inject(const struct ctl *ctl, enum fault_kind kind)
{
    struct error err;
    struct fault fault;
    uint64_t at_us = 0;
    if (read_fault(&ctl->args, kind, &fault, &err) != 0)
        return ctl_misused(&err);
    struct fault_ground *ground = open_ground(ctl, &err);
    bool done = ground != NULL && fault_inject(ground, &fault, &at_us, &err) == 0;
    fault_close(&ground);
    return done ? tell(ctl, &fault, at_us) : ctl_fail(&err);
}

enum ctl_exit verb_fault_kill(const struct ctl *ctl)
{
    return inject(ctl, FAULT_KILL);
}

enum ctl_exit verb_fault_freeze(const struct ctl *ctl)
{
    return inject(ctl, FAULT_FREEZE);
}

enum ctl_exit verb_fault_restart(const struct ctl *ctl)
{
    return inject(ctl, FAULT_RESTART);
}

enum ctl_exit verb_fault_drop(const struct ctl *ctl)
{
    return inject(ctl, FAULT_DROP);
}

enum ctl_exit verb_fault_loss(const struct ctl *ctl)
{
    return inject(ctl, FAULT_LOSS);
}

enum ctl_exit verb_fault_keep(const struct ctl *ctl)
{
    struct error err;
    struct fault_ground *ground = open_ground(ctl, &err);
    bool done = ground != NULL && fault_keep_copy(ground, args_word(&ctl->args, 0), &err) == 0;
    fault_close(&ground);
    return done ? CTL_DONE : ctl_fail(&err);
}

enum ctl_exit verb_fault_heal(const struct ctl *ctl)
{
    struct error err;
    struct fault_ground *ground = open_ground(ctl, &err);
    bool done = ground != NULL && fault_heal_all(ground, &err) == 0;
    fault_close(&ground);
    return done ? CTL_DONE : ctl_fail(&err);
}
