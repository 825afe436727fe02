/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/playground.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/invariant.h"
#include "common/measure.h"
#include "common/store.h"
#include "ops/hosts.h"
#include "ops/play_process.h"
#include "ops/play_ready.h"
#include "ops/play_state.h"

#define READY_TIMEOUT_US  60000000
#define READY_INTERVAL_US 20000
#define RESTART_AFTER_US  1000000
#define TOKEN_BYTES       16
#define STORE_TIMEOUT_MS  2000 /* members that have just begun, all of them on one machine */

/* --- what dies ---------------------------------------------------------------------------------------------------- */

static void schedule_restart(struct playground *playground, struct play_process *process);

static void restart(struct playground *playground, struct play_process *process)
{
    struct error err;
    process->restart_us = 0;
    if (play_process_start(process, playground->stays, &err) == 0 && play_state_publish(&playground->plan, &err) == 0) {
        if (!playground->quiet)
            printf("%s was started again, as %d\n", process->name, (int)process->pid);
        fflush(stdout);
        return;
    }
    fprintf(stderr, "ldcctl: %s\n", err.text);
    if (process->pid == 0)
        schedule_restart(playground, process);
}

static int on_restart(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source;
    struct playground *playground = arg;
    for (size_t i = 0; i < playground->plan.count; i++) {
        struct play_process *process = &playground->plan.processes[i];
        if (process->restart_us != 0 && process->restart_us <= at_us)
            restart(playground, process);
    }
    return 0;
}

static void schedule_restart(struct playground *playground, struct play_process *process)
{
    process->restart_us = clock_monotonic_us() + RESTART_AFTER_US;
    INVARIANT(sd_event_add_time(playground->loop, NULL, CLOCK_MONOTONIC, process->restart_us, 1000, on_restart,
                                playground) >= 0);
}

static void tell_death(const struct play_process *process, int status, bool comes_back)
{
    printf("%s (%d) ended: %s %d%s\n", process->name, (int)process->pid,
           WIFSIGNALED(status) ? "killed by signal" : "exit status",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
           comes_back ? "; it is started again in a second" : "");
    fflush(stdout);
}

static int on_child(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source;
    (void)info;
    struct playground *playground = arg;
    for (size_t i = 0; i < playground->plan.count; i++) {
        struct play_process *process = &playground->plan.processes[i];
        int status;
        if (process->pid <= 0 || waitpid(process->pid, &status, WNOHANG) != process->pid)
            continue;
        if (!playground->quiet)
            tell_death(process, status, playground->supervise);
        process->pid = 0;
        if (playground->supervise)
            schedule_restart(playground, process);
    }
    return 0;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source;
    (void)info;
    struct playground *playground = arg;
    playground->told_to_stop = true;
    return sd_event_exit(playground->loop, 0);
}

static void open_loop(struct playground *playground)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    for (size_t i = 0; i < 3; i++)
        sigaddset(&signals, stops[i]);
    INVARIANT(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
    INVARIANT(sd_event_new(&playground->loop) >= 0);
    INVARIANT(sd_event_add_signal(playground->loop, NULL, SIGCHLD, on_child, playground) >= 0);
    for (size_t i = 0; i < 3; i++)
        INVARIANT(sd_event_add_signal(playground->loop, NULL, stops[i], on_stop, playground) >= 0);
}

/* --- prepare ------------------------------------------------------------------------------------------------------ */

static int make_folders(const struct play_plan *plan, struct error *err)
{
    static const char *const names[] = {"logs", "conf", "apps", "cache", "store", "brokers", "etcd"};
    int result = 0;
    for (size_t i = 0; i < COUNT_OF(names) && result == 0; i++) {
        char *path = play_path(plan->dir, "%s", names[i]);
        result = file_make_folder(path, 0700, err);
        free(path);
    }
    for (size_t i = 0; i < plan->count && result == 0; i++) {
        if (plan->processes[i].role != PLAY_BROKER)
            continue;
        char *path = play_path(plan->dir, "brokers/%s", plan->processes[i].name);
        result = file_make_folder(path, 0700, err);
        free(path);
    }
    return result;
}

static int write_token(const char *path, struct error *err)
{
    unsigned char random[TOKEN_BYTES];
    char text[2 * TOKEN_BYTES + 2];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return error_set_errno(err, errno, "no random bytes");
    for (size_t i = 0; i < TOKEN_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    text[2 * TOKEN_BYTES] = '\n';
    return file_replace(path, (struct str){text, 2 * TOKEN_BYTES + 1}, 0600, err);
}

static int make_token(struct playground *playground, struct error *err)
{
    char *path = play_path(playground->plan.dir, "token");
    if (access(path, F_OK) == 0 || write_token(path, err) == 0)
        playground->token = file_read_secret(path, err);
    free(path);
    return playground->token != NULL ? 0 : -1;
}

/* Into rules.yaml, where an earlier run has not left one that the operator may have changed. */
static int write_rules(const struct play_plan *plan, struct error *err)
{
    char *path = play_path(plan->dir, "rules.yaml");
    struct buf text = {0};
    int result = 0;
    if (access(path, F_OK) != 0) {
        play_plan_rules(plan, &text);
        result = file_replace(path, buf_str(&text), 0644, err);
    }
    buf_free(&text);
    free(path);
    return result;
}

int playground_prepare(struct playground *playground, struct error *err)
{
    if (make_token(playground, err) != 0)
        return -1;
    playground->plan.token = playground->token;
    play_plan_make(&playground->plan);
    if (make_folders(&playground->plan, err) != 0)
        return -1;
    return write_rules(&playground->plan, err);
}

/* --- start -------------------------------------------------------------------------------------------------------- */

/* What an earlier run put into the store stays in force. */
static int put_rules(const struct play_plan *plan, struct error *err)
{
    char *location = play_plan_store(plan), *path = play_path(plan->dir, "rules.yaml");
    struct store *store = store_open_as(location, &(struct store_access){.timeout = STORE_TIMEOUT_MS}, err);
    struct store_record now;
    struct buf text = {0};
    int result = store != NULL ? store_current(store, &now, err) : -1;
    if (result == 0 && now.version == 0)
        result = file_read(path, 64 * 1024 * 1024, &text, err) != 0
                     ? -1
                     : store_put_rules(store, 0, buf_str(&text), 0, "playground", "the rules to begin with", &now, err);
    store_close(&store);
    buf_free(&text);
    free(location);
    free(path);
    return result;
}

static int start_role(struct playground *playground, enum play_role role, struct error *err)
{
    struct play_plan *plan = &playground->plan;
    for (size_t i = 0; i < plan->count; i++)
        if (plan->processes[i].role == role && play_process_start(&plan->processes[i], playground->stays, err) != 0)
            return -1;
    return play_state_save(plan, err);
}

static int wait_for(struct playground *playground, struct play_process *process, uint64_t until_us, struct error *err)
{
    char why[400];
    while (!play_ready(process, playground->token, why, sizeof(why))) {
        if (sd_event_run(playground->loop, READY_INTERVAL_US) < 0 || playground->told_to_stop)
            return error_set(err, ERROR_SYSTEM, "stopped before everything was ready");
        if (process->pid == 0) {
            play_process_show_log(process);
            return error_set(err, ERROR_SYSTEM, "%s ended as soon as it was started", process->name);
        }
        if (clock_monotonic_us() > until_us) {
            play_process_show_log(process);
            return error_set(err, ERROR_TIMEOUT, "%s did not become ready: %s", process->name, why);
        }
    }
    return 0;
}

static int wait_for_role(struct playground *playground, enum play_role role, struct error *err)
{
    struct play_plan *plan = &playground->plan;
    uint64_t until_us = clock_monotonic_us() + READY_TIMEOUT_US;
    for (size_t i = 0; i < plan->count; i++)
        if (plan->processes[i].role == role && wait_for(playground, &plan->processes[i], until_us, err) != 0)
            return -1;
    return 0;
}

/* Each role needs those before it; agents need no apps, but it saves them a round of probes. */
static int start_all(struct playground *playground, struct error *err)
{
    for (enum play_role role = PLAY_STORE; role < PLAY_ROLES; role++) {
        if (start_role(playground, role, err) != 0 || wait_for_role(playground, role, err) != 0)
            return -1;
        if (role == PLAY_BROKER && put_rules(&playground->plan, err) != 0)
            return -1;
    }
    return play_state_publish(&playground->plan, err);
}

/* This process, which may not be the one that prepared. */
static void enlist(struct playground *playground)
{
    struct play_plan *plan = &playground->plan;
    plan->supervised = playground->supervise;
    plan->supervisor.pid = playground->stays ? getpid() : 0;
    plan->supervisor.start_ticks = play_process_start_ticks(plan->supervisor.pid);
}

int playground_start(struct playground *playground, struct error *err)
{
    bool supervise = playground->supervise;
    open_loop(playground);
    enlist(playground);
    playground->supervise = false; /* starting again does not help what cannot start at all */
    if ((playground->plan.namespaces && hosts_make(&playground->plan, err) != 0) || start_all(playground, err) != 0) {
        playground_stop(playground);
        return -1;
    }
    playground->supervise = supervise;
    for (size_t i = 0; i < playground->plan.count && supervise; i++)
        if (playground->plan.processes[i].pid == 0)
            schedule_restart(playground, &playground->plan.processes[i]);
    return 0;
}

/* --- end ---------------------------------------------------------------------------------------------------------- */

void playground_watch(struct playground *playground)
{
    if (!playground->told_to_stop)
        INVARIANT(sd_event_loop(playground->loop) >= 0);
}

void playground_stop(struct playground *playground)
{
    struct play_state state;
    struct error err;
    struct play_plan *plan = &playground->plan;
    playground->supervise = false;
    play_process_end(plan->processes, plan->count);
    if (play_state_load(&state, plan->dir)) {
        play_process_end(state.processes, state.count); /* others, that a fault's end has started */
        if (play_state_retire(&state, plan->dir, &err) != 0)
            fprintf(stderr, "ldcctl: %s\n", err.text);
    }
    play_state_free(&state);
    if (plan->namespaces && hosts_remove(plan->dir, &err) != 0)
        fprintf(stderr, "ldcctl: %s\n", err.text);
}

void playground_free(struct playground *playground)
{
    play_plan_free(&playground->plan);
    free(playground->token);
    sd_event_unref(playground->loop);
}
