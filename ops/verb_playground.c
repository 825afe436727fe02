/* SPDX-License-Identifier: Apache-2.0
 *
 * ldcctl playground: up, down, status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/measure.h"
#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/grid.h"
#include "ops/hosts.h"
#include "ops/play_ports.h"
#include "ops/play_process.h"
#include "ops/play_state.h"
#include "ops/playground.h"
#include "ops/program.h"

#define GATEWAYS 2
#define UNITS    3

#define ANOTHER_FOLDER  "use another --dir, or remove that folder to begin anew"
#define HOSTS_PORT_BASE 10000 /* where all ports are free: the hosts are new */

/* --- up ----------------------------------------------------------------------------------------------------------- */

/* The folder as an absolute path without links, made where it is missing; for free(). */
static char *make_folder(const struct args *args, struct error *err)
{
    char *given = deployment_folder(args), *absolute = NULL;
    if (file_make_folder(given, 0700, err) == 0 && (absolute = realpath(given, NULL)) == NULL)
        error_set_errno(err, errno, "%s", given);
    free(given);
    return absolute;
}

static int check_programs(const char *folder, const struct play_plan *plan, struct error *err)
{
    static const char *const names[] = {"ldc-gateway", "ldc-agent", "ldc-sample-app"};
    if (plan->namespaces && hosts_check(err) != 0)
        return -1;
    if (!program_found("redis-server"))
        return error_set(err, ERROR_SYSTEM, "redis-server is missing: `make deps` installs it");
    if (plan->etcd && !program_found("etcd"))
        return error_set(err, ERROR_SYSTEM, "etcd is missing: `make deps` installs it");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char *path = play_path(folder, "%s", names[i]);
        bool there = access(path, X_OK) == 0;
        free(path);
        if (!there)
            return error_set(err, ERROR_SYSTEM, "%s is missing beside ldcctl, in %s: `make` builds it", names[i],
                             folder);
    }
    return 0;
}

static bool any_lives(const struct play_state *state)
{
    bool lives = play_process_lives(state->supervisor.pid, state->supervisor.start_ticks);
    for (size_t i = 0; i < state->count; i++)
        lives = lives || play_process_lives(state->processes[i].pid, state->processes[i].start_ticks);
    return lives;
}

/* What the folder's data cannot become. The numbers of gateways and agents may change: they have no data. */
static int refuse_other_shape(const struct args *args, const struct play_plan *plan, const struct play_state *state,
                              struct error *err)
{
    if (args_value(args, "--units") != NULL && plan->units != state->units)
        return error_set(err, ERROR_INPUT, "%s holds the data of a playground of %lld units; " ANOTHER_FOLDER,
                         plan->dir, (long long)state->units);
    if (args_value(args, "--core-brokers") != NULL && plan->core_brokers != state->core_brokers)
        return error_set(err, ERROR_INPUT, "%s holds the data of a core of %lld brokers; " ANOTHER_FOLDER, plan->dir,
                         (long long)state->core_brokers);
    if (args_value(args, "--store") != NULL && plan->etcd != state->etcd)
        return error_set(err, ERROR_INPUT, "%s holds a playground whose store is %s; " ANOTHER_FOLDER, plan->dir,
                         state->etcd ? "etcd" : "a folder");
    if (args_value(args, "--hosts") != NULL && plan->namespaces != state->namespaces)
        return error_set(err, ERROR_INPUT, "%s holds a playground whose hosts are %s; " ANOTHER_FOLDER, plan->dir,
                         state->namespaces ? "namespaces" : "this machine");
    if (args_value(args, "--port-base") != NULL && plan->port_base != state->port_base)
        return error_set(err, ERROR_INPUT, "%s holds rules with ports from %u on; " ANOTHER_FOLDER, plan->dir,
                         state->port_base);
    return 0;
}

/* A playground that stood in this folder comes back in its old shape: its data belongs to that. */
static int keep_shape(const struct args *args, struct play_plan *plan, struct error *err)
{
    struct play_state state;
    int result = 0;
    if (play_state_load(&state, plan->dir)) {
        result = any_lives(&state)
                     ? error_set(err, ERROR_CONFLICT,
                                 "a playground runs in %s already; end it by `ldcctl playground down --dir %s`",
                                 plan->dir, plan->dir)
                     : refuse_other_shape(args, plan, &state, err);
        if (args_value(args, "--gateways") == NULL)
            plan->gateways = state.gateways;
        if (args_value(args, "--agents") == NULL && state.agents != 0)
            plan->agents = state.agents;
        plan->units = state.units;
        plan->core_brokers = state.core_brokers;
        plan->etcd = state.etcd;
        plan->namespaces = state.namespaces;
        plan->port_base = state.port_base;
    }
    play_state_free(&state);
    return result;
}

static int read_shape(const struct args *args, struct play_plan *plan, struct error *err)
{
    int64_t port_base = 0;
    const char *store = args_value(args, "--store"), *hosts = args_value(args, "--hosts");
    plan->gateways = GATEWAYS;
    plan->agents = 1;
    plan->core_brokers = PLAY_BROKERS;
    plan->units = UNITS;
    plan->etcd = store != NULL && strcmp(store, "etcd") == 0;
    if (store != NULL && strcmp(store, "file") != 0 && !plan->etcd)
        return error_set(err, ERROR_INPUT, "--store: must be file or etcd, not '%s'", store);
    plan->namespaces = hosts != NULL && strcmp(hosts, "namespaces") == 0;
    if (hosts != NULL && strcmp(hosts, "machine") != 0 && !plan->namespaces)
        return error_set(err, ERROR_INPUT, "--hosts: must be machine or namespaces, not '%s'", hosts);
    if (args_number(args, "--gateways", 1, PLAY_GATEWAYS_MOST, &plan->gateways, err) != 0 ||
        args_number(args, "--agents", 1, PLAY_AGENTS_MOST, &plan->agents, err) != 0 ||
        args_number(args, "--units", 1, PLAY_UNITS_MOST, &plan->units, err) != 0 ||
        args_number(args, "--core-brokers", PLAY_BROKERS, PLAY_BROKERS_MOST, &plan->core_brokers, err) != 0 ||
        args_number(args, "--port-base", 1024, 65000, &port_base, err) != 0)
        return -1;
    plan->port_base = (unsigned)port_base;
    return 0;
}

static int find_ports(struct play_plan *plan, struct error *err)
{
    if (plan->namespaces) {
        plan->port_base = plan->port_base != 0 ? plan->port_base : HOSTS_PORT_BASE;
        return 0;
    }
    if (plan->port_base != 0)
        return play_ports_check(plan->port_base, play_plan_ports(plan), err);
    plan->port_base = play_ports_find(play_plan_ports(plan), err);
    return plan->port_base != 0 ? 0 : -1;
}

static void welcome(const struct playground *playground, uint64_t started_us, bool detached)
{
    const struct play_plan *plan = &playground->plan;
    const struct play_process *gateway = &plan->processes[plan->count - (size_t)plan->gateways]; /* the first */
    printf("playground in %s is ready after %.1f s\n\n", plan->dir,
           (double)(clock_monotonic_us() - started_us) / 1000000);
    const char *address = gateway->address;
    for (size_t i = 0; i < (size_t)plan->gateways; i++)
        printf("  %s  ingress http://%s:%u   admin http://%s:%u\n", gateway[i].name, gateway[i].address,
               gateway[i].ports[0].number, gateway[i].address, gateway[i].ports[1].number);
    printf("  logs       %s/logs\n  rules      %s/rules.yaml\n  processed  %s/apps/*.jsonl\n\n", plan->dir, plan->dir,
           plan->dir);
    printf("  curl -i -H 'X-User-Id: 1001' http://%s:%u/echo/hello\n"
           "  curl -i -H 'X-User-Id: 1001' -d '{\"payee\": \"1002\"}' http://%s:%u/pay/42\n"
           "  ldcctl status --dir %s\n\n",
           address, plan->port_base, address, plan->port_base, plan->dir);
    if (detached)
        printf("It ends with `ldcctl playground down --dir %s`.\n", plan->dir);
    else
        puts("It ends with Ctrl-C.");
    fflush(stdout);
}

/* Whatever it was that did not come up in time: nobody was unreachable, it failed. */
static enum ctl_exit fail(const struct error *err)
{
    ctl_fail(err);
    return CTL_FAILED;
}

/* Lets go of what the starting process gave, so that nobody waits for the end of our output, and tells it to go on. */
static void leave_terminal(const struct playground *playground, int ready)
{
    char done = CTL_DONE, *path = play_path(playground->plan.dir, "logs/supervisor.log");
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644), null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    free(path);
    if (write(ready, &done, 1) != 1)
        fputs("ldcctl: nobody waits to hear that the playground is ready\n", stderr);
    close(ready);
}

/* Comes up, in this process. READY (may be -1) is told the exit code once it is known. */
static enum ctl_exit run(const struct ctl *ctl, struct playground *playground, int ready)
{
    struct error err;
    uint64_t started_us = clock_monotonic_us();
    bool detached = args_value(&ctl->args, "--detach") != NULL;
    if (playground_prepare(playground, &err) != 0 || playground_start(playground, &err) != 0)
        return fail(&err);
    if (ctl->json)
        ctl_print_json(play_state_topology(&playground->plan));
    else
        welcome(playground, started_us, detached);
    fflush(stdout);
    if (!playground->stays)
        return CTL_DONE;
    if (ready >= 0)
        leave_terminal(playground, ready);
    playground_watch(playground);
    playground_stop(playground);
    return CTL_DONE;
}

/* The supervisor goes on in a session of its own; this process waits until everything is ready. */
static enum ctl_exit run_detached(const struct ctl *ctl, struct playground *playground)
{
    int ends[2];
    struct error err;
    char result = CTL_FAILED;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        error_set_errno(&err, errno, "cannot make a pipe");
        return ctl_fail(&err);
    }
    fflush(NULL);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        setsid();
        close(ends[0]);
        return run(ctl, playground, ends[1]);
    }
    close(ends[1]);
    if (supervisor < 0 || read(ends[0], &result, 1) != 1)
        result = CTL_FAILED;
    close(ends[0]);
    return (enum ctl_exit)result;
}

enum ctl_exit verb_playground_up(const struct ctl *ctl)
{
    struct playground playground = {.quiet = ctl->json};
    struct play_plan *plan = &playground.plan;
    struct error err;
    bool detach = args_value(&ctl->args, "--detach") != NULL;
    if (read_shape(&ctl->args, plan, &err) != 0)
        return ctl_misused(&err);
    char *programs = program_folder(), *dir = make_folder(&ctl->args, &err);
    enum ctl_exit result;
    plan->programs = programs;
    plan->dir = dir;
    playground.supervise = args_value(&ctl->args, "--supervise") != NULL;
    playground.stays = !detach || playground.supervise;
    if (dir == NULL || keep_shape(&ctl->args, plan, &err) != 0 || check_programs(programs, plan, &err) != 0 ||
        find_ports(plan, &err) != 0)
        result = ctl_fail(&err);
    else
        result = detach && playground.supervise ? run_detached(ctl, &playground) : run(ctl, &playground, -1);
    playground_free(&playground);
    free(dir);
    free(programs);
    return result;
}

/* --- down, status ------------------------------------------------------------------------------------------------- */

static enum ctl_exit none_there(const char *dir)
{
    struct error err;
    error_set(&err, ERROR_UNREACHABLE, "there is no playground in %s", dir);
    return ctl_fail(&err);
}

static enum ctl_exit end_all(const struct ctl *ctl, struct play_state *state, const char *dir)
{
    struct error err;
    /* The supervisor first, so that it starts nothing again; it ends its own, and what it leaves is ended here. */
    size_t ended = play_process_end(&state->supervisor, 1);
    size_t left = play_process_end(state->processes, state->count);
    if (play_state_retire(state, dir, &err) != 0 || hosts_remove(dir, &err) != 0)
        return ctl_fail(&err);
    if (ctl->json)
        ctl_print_json(json_pack("{s:s,s:b}", "dir", dir, "was_running", ended + left > 0));
    else
        puts(ended + left > 0 ? "the playground has ended; its data stays" : "nothing was running");
    return CTL_DONE;
}

static enum ctl_exit with_state(const struct ctl *ctl,
                                enum ctl_exit (*fn)(const struct ctl *ctl, struct play_state *state, const char *dir))
{
    struct play_state state;
    char *given = deployment_folder(&ctl->args), *absolute = realpath(given, NULL);
    const char *dir = absolute != NULL ? absolute : given;
    enum ctl_exit result = play_state_load(&state, dir) ? fn(ctl, &state, dir) : none_there(dir);
    play_state_free(&state);
    free(absolute);
    free(given);
    return result;
}

enum ctl_exit verb_playground_down(const struct ctl *ctl)
{
    return with_state(ctl, end_all);
}

static enum ctl_exit show_all(const struct ctl *ctl, struct play_state *state, const char *dir)
{
    json_t *list = json_array();
    size_t living = 0;
    struct grid grid;
    grid_begin(&grid, "NAME|ROLE|UNIT|>PID|STATE|LOG");
    for (size_t i = 0; i < state->count; i++) {
        const struct play_process *process = &state->processes[i];
        bool lives = play_process_lives(process->pid, process->start_ticks);
        living += lives;
        grid_add(&grid, "%s", process->name);
        grid_add(&grid, "%s", play_role_name(process->role));
        grid_add(&grid, "%s", *process->unit ? process->unit : "-");
        grid_add(&grid, "%d", (int)process->pid);
        grid_add(&grid, "%s", lives ? "runs" : "ended");
        grid_add(&grid, "%s", process->log);
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:i,s:b,s:s}", "name", process->name, "role",
                                              play_role_name(process->role), "unit", process->unit, "pid",
                                              (int)process->pid, "alive", lives, "log", process->log));
    }
    bool supervised = play_process_lives(state->supervisor.pid, state->supervisor.start_ticks);
    struct buf table = {0};
    grid_end(&grid, &table);
    if (ctl->json)
        ctl_print_json(json_pack("{s:s,s:b,s:O}", "dir", dir, "supervised", supervised, "processes", list));
    else
        printf("%s%zu of %zu processes run in %s\n", table.base, living, state->count, dir);
    buf_free(&table);
    json_decref(list);
    return state->count > 0 && living == state->count ? CTL_DONE : CTL_FAILED;
}

enum ctl_exit verb_playground_status(const struct ctl *ctl)
{
    return with_state(ctl, show_all);
}
