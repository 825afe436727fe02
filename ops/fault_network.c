/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/fault_network.h"

#include <string.h>

#include "common/clock.h"
#include "ops/hosts.h"
#include "ops/program.h"

static int find_address(const struct play_plan *plan, const char *name, const char **address, struct error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        const struct play_process *process = &plan->processes[i];
        *address = process->address;
        if (strcmp(process->name, name) == 0 || strcmp(process->host, name) == 0)
            return 0;
    }
    return error_set(err, ERROR_INPUT, "the playground has no process or host '%s'", name);
}

/* One line of iptables-restore: COMMAND ("-A", "-C", "-D") for messages from FROM to TO; NULL: any. */
static void append_rule(struct buf *out, const char *command, const struct fault *fault, const char *from,
                        const char *to)
{
    buf_printf(out, "%s FORWARD", command);
    if (from != NULL)
        buf_printf(out, " -s %s/32", from);
    if (to != NULL)
        buf_printf(out, " -d %s/32", to);
    if (fault->kind == FAULT_LOSS)
        buf_printf(out, " -m statistic --mode random --probability 0.%02u", fault->percent);
    buf_printf(out, " -j DROP\n");
}

/* *AT_US: when the rules were about to be in force, all but one transaction of the kernel. */
static int run_rules(const struct play_plan *plan, const char *command, const struct fault *fault, uint64_t *at_us,
                     struct error *err)
{
    char router[PLAY_NAMESPACE];
    const char *target, *peer = NULL;
    if (find_address(plan, fault->target, &target, err) != 0 ||
        (fault->peer != NULL && find_address(plan, fault->peer, &peer, err) != 0))
        return -1;
    struct buf text = {0};
    buf_printf(&text, "*filter\n");
    if (fault->way != FAULT_OUT)
        append_rule(&text, command, fault, peer, target);
    if (fault->way != FAULT_IN)
        append_rule(&text, command, fault, target, peer);
    hosts_router(plan->dir, router);
    int result = program_run_at(router, (const char *const[]){"iptables-restore", "-n", "-w", NULL}, buf_str(&text),
                                STR_LIT("COMMIT\n"), at_us, err);
    buf_free(&text);
    return result;
}

static int check(const struct play_plan *plan, const struct fault *fault, struct error *err)
{
    if (!plan->namespaces)
        return error_set(err, ERROR_INPUT,
                         "networks are cut between hosts: start the playground with --hosts namespaces");
    if (fault->kind == FAULT_LOSS && (fault->percent < 1 || fault->percent > 99))
        return error_set(err, ERROR_INPUT, "a loss is 1 to 99 percent");
    return hosts_check(err);
}

int fault_network_cut(const struct play_plan *plan, const struct fault *fault, uint64_t *at_us, struct error *err)
{
    if (check(plan, fault, err) != 0)
        return -1;
    bool is_done = run_rules(plan, "-C", fault, at_us, NULL) == 0;
    return is_done ? 0 : run_rules(plan, "-A", fault, at_us, err);
}

int fault_network_mend_all(const struct play_plan *plan, struct error *err)
{
    char router[PLAY_NAMESPACE];
    if (!plan->namespaces)
        return 0;
    hosts_router(plan->dir, router);
    return program_run(router, (const char *const[]){"iptables", "-w", "-F", "FORWARD", NULL}, STR_LIT(""), err);
}
