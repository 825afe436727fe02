/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ops/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "ops/fault_network.h"
#include "ops/play_process.h"
#include "ops/play_state.h"
#include "ops/program.h"

#define MOST_TARGETS   (PLAY_AGENTS_MOST + 8) /* processes of one host: agents, apps, brokers of up to three units */
#define END_TIMEOUT_US 5000000

struct fault_ground {
    char *dir, *programs, *token;
    int lock;              /* a file that is locked while PLAN is held */
    struct play_plan plan; /* as it is right now, from take() to release() */
};

static const char *const kind_names[FAULT_KINDS] = {"kill", "freeze", "restart", "drop", "loss"};
static const char *const way_names[FAULT_WAYS] = {"both", "in", "out"};

static bool find_name(const char *name, const char *const *names, int count, int *found)
{
    for (*found = 0; *found < count; (*found)++)
        if (strcmp(name, names[*found]) == 0)
            return true;
    return false;
}

bool fault_way_of(const char *name, enum fault_way *way)
{
    int found;
    bool there = find_name(name, way_names, FAULT_WAYS, &found);
    *way = there ? (enum fault_way)found : FAULT_BOTH;
    return there;
}

const char *fault_kind_name(enum fault_kind kind)
{
    return kind_names[kind];
}

/* --- the ground --------------------------------------------------------------------------------------------------- */

struct fault_ground *fault_open(const char *dir, struct error *err)
{
    struct fault_ground *ground = mem_calloc(1, sizeof(*ground));
    struct play_state state;
    ground->lock = -1;
    ground->programs = program_folder();
    ground->dir = realpath(dir, NULL);
    char *token = play_path(dir, "token"), *lock = play_path(dir, "faults.lock");
    if (ground->dir == NULL || !play_state_load(&state, ground->dir))
        error_set(err, ERROR_UNREACHABLE, "there is no playground in %s", dir);
    else {
        play_state_free(&state);
        if ((ground->token = file_read_secret(token, err)) != NULL &&
            (ground->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0)
            error_set_errno(err, errno, "cannot open %s", lock);
    }
    free(token);
    free(lock);
    if (ground->lock < 0)
        fault_close(&ground);
    return ground;
}

void fault_close(struct fault_ground **ground)
{
    struct fault_ground *gone = *ground;
    *ground = NULL;
    if (gone == NULL)
        return;
    if (gone->lock >= 0)
        close(gone->lock);
    free(gone->dir);
    free(gone->programs);
    free(gone->token);
    free(gone);
}

/* Where the process that stayed with them was killed, its processes have ended with it: that is no fault to heal. */
static bool runs(const struct play_state *state)
{
    const struct play_process *supervisor = &state->supervisor;
    return state->count > 0 && (supervisor->pid <= 0 || play_process_lives(supervisor->pid, supervisor->start_ticks));
}

static int take(struct fault_ground *ground, struct error *err)
{
    struct play_state state;
    while (flock(ground->lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return error_set_errno(err, errno, "cannot lock %s", ground->dir);
    if (!play_state_load(&state, ground->dir) || !runs(&state)) {
        play_state_free(&state);
        flock(ground->lock, LOCK_UN);
        return error_set(err, ERROR_UNREACHABLE, "no playground runs in %s", ground->dir);
    }
    play_state_plan(&state, ground->dir, ground->programs, ground->token, &ground->plan);
    play_state_free(&state);
    return 0;
}

static void release(struct fault_ground *ground)
{
    play_plan_free(&ground->plan);
    flock(ground->lock, LOCK_UN);
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

/* Those that TARGET means, in the order in which they start. */
struct targets {
    struct play_process *processes[MOST_TARGETS];
    int fds[MOST_TARGETS]; /* -1: does not live */
    size_t count;
};

static int find_targets(struct play_plan *plan, const char *target, struct targets *targets, struct error *err)
{
    targets->count = 0;
    for (size_t i = 0; i < plan->count && targets->count < MOST_TARGETS; i++)
        if (strcmp(plan->processes[i].name, target) == 0 || strcmp(plan->processes[i].host, target) == 0)
            targets->processes[targets->count++] = &plan->processes[i];
    return targets->count > 0 ? 0 : error_set(err, ERROR_INPUT, "the playground has no process or host '%s'", target);
}

/* All are found before the first is hit, so that they are hit at one moment. */
static uint64_t send_signal(struct targets *targets, int number)
{
    for (size_t i = 0; i < targets->count; i++)
        targets->fds[i] = play_process_open(targets->processes[i]);
    uint64_t at_us = clock_monotonic_us();
    for (size_t i = 0; i < targets->count; i++)
        if (targets->fds[i] >= 0)
            pidfd_send_signal(targets->fds[i], number, NULL, 0);
    return at_us;
}

static int await_end(struct targets *targets, struct error *err)
{
    int result = 0;
    uint64_t until_us = clock_monotonic_us() + END_TIMEOUT_US;
    for (size_t i = 0; i < targets->count; i++)
        if (targets->fds[i] >= 0 && !play_process_await(targets->fds[i], until_us))
            result = error_set(err, ERROR_TIMEOUT, "%s has not ended", targets->processes[i]->name);
    return result;
}

static void close_targets(struct targets *targets)
{
    for (size_t i = 0; i < targets->count; i++)
        if (targets->fds[i] >= 0)
            close(targets->fds[i]);
}

static int kill_targets(struct targets *targets, uint64_t *at_us, struct error *err)
{
    *at_us = send_signal(targets, SIGKILL);
    int result = await_end(targets, err);
    close_targets(targets);
    return result;
}

static uint64_t signal_targets(struct targets *targets, int number)
{
    uint64_t at_us = send_signal(targets, number);
    close_targets(targets);
    return at_us;
}

static int start_missing(struct fault_ground *ground, struct targets *targets, struct error *err)
{
    bool started = false;
    int result = 0;
    for (size_t i = 0; i < targets->count && result == 0; i++) {
        struct play_process *process = targets->processes[i];
        if (play_process_lives(process->pid, process->start_ticks))
            continue;
        result = play_process_start(process, false, err);
        started = true;
    }
    if (started && play_state_publish(&ground->plan, result == 0 ? err : NULL) != 0)
        result = -1;
    return result;
}

static int refuse_supervised(const struct play_plan *plan, struct error *err)
{
    if (plan->supervised && play_process_lives(plan->supervisor.pid, plan->supervisor.start_ticks))
        return error_set(err, ERROR_CONFLICT,
                         "the playground starts again what dies: for drills start it without --supervise");
    return 0;
}

/* --- data --------------------------------------------------------------------------------------------------------- */

static char *data_folder(const struct play_plan *plan, const struct play_process *process)
{
    return play_path(plan->dir, "%s/%s", process->role == PLAY_STORE ? "etcd" : "brokers", process->name);
}

/* FROM: NULL leaves TO an empty folder. */
static int replace_folder(const char *from, const char *to, struct error *err)
{
    if (program_run(NULL, (const char *const[]){"rm", "-rf", to, NULL}, STR_LIT(""), err) != 0)
        return -1;
    if (from == NULL)
        return file_make_folder(to, 0700, err);
    return program_run(NULL, (const char *const[]){"cp", "-a", from, to, NULL}, STR_LIT(""), err);
}

static int check_data(const struct play_process *process, struct error *err)
{
    if (process->role == PLAY_BROKER || process->role == PLAY_STORE)
        return 0;
    return error_set(err, ERROR_INPUT, "%s has no data: brokers and members of the store have", process->name);
}

static int change_data(const struct play_plan *plan, const struct play_process *process, enum fault_data data,
                       struct error *err)
{
    if (data == FAULT_DATA_KEPT)
        return 0;
    if (check_data(process, err) != 0)
        return -1;
    char *folder = data_folder(plan, process), *copy = play_path(plan->dir, "kept/%s", process->name);
    int result = data == FAULT_DATA_OLD && access(copy, F_OK) != 0
                     ? error_set(err, ERROR_INPUT, "no copy of the data of %s was kept", process->name)
                     : replace_folder(data == FAULT_DATA_OLD ? copy : NULL, folder, err);
    free(folder);
    free(copy);
    return result;
}

static int keep_copy(const struct play_plan *plan, const struct play_process *process, struct error *err)
{
    if (check_data(process, err) != 0)
        return -1;
    char *all = play_path(plan->dir, "kept"), *folder = data_folder(plan, process);
    char *copy = play_path(all, "%s", process->name);
    int result = file_make_folder(all, 0700, err) != 0 ? -1 : replace_folder(folder, copy, err);
    free(all);
    free(folder);
    free(copy);
    return result;
}

int fault_keep_copy(struct fault_ground *ground, const char *target, struct error *err)
{
    struct targets targets;
    if (take(ground, err) != 0)
        return -1;
    int result = find_targets(&ground->plan, target, &targets, err);
    for (size_t i = 0; i < targets.count && result == 0; i++)
        result = keep_copy(&ground->plan, targets.processes[i], err);
    release(ground);
    return result;
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static int restart_targets(struct fault_ground *ground, struct targets *targets, enum fault_data data, uint64_t *at_us,
                           struct error *err)
{
    int result = kill_targets(targets, at_us, err);
    for (size_t i = 0; i < targets->count && result == 0; i++)
        result = change_data(&ground->plan, targets->processes[i], data, err);
    return result == 0 ? start_missing(ground, targets, err) : -1;
}

static int inject(struct fault_ground *ground, const struct fault *fault, uint64_t *at_us, struct error *err)
{
    struct targets targets;
    if (fault->kind == FAULT_DROP || fault->kind == FAULT_LOSS)
        return fault_network_cut(&ground->plan, fault, at_us, err);
    if (find_targets(&ground->plan, fault->target, &targets, err) != 0)
        return -1;
    if (fault->kind == FAULT_FREEZE) {
        *at_us = signal_targets(&targets, SIGSTOP);
        return 0;
    }
    if (refuse_supervised(&ground->plan, err) != 0)
        return -1;
    return fault->kind == FAULT_KILL ? kill_targets(&targets, at_us, err)
                                     : restart_targets(ground, &targets, fault->data, at_us, err);
}

int fault_inject(struct fault_ground *ground, const struct fault *fault, uint64_t *at_us, struct error *err)
{
    uint64_t at;
    if (take(ground, err) != 0)
        return -1;
    int result = inject(ground, fault, at_us != NULL ? at_us : &at, err);
    release(ground);
    return result;
}

int fault_heal_all(struct fault_ground *ground, struct error *err)
{
    if (take(ground, err) != 0)
        return -1;
    int result = fault_network_mend_all(&ground->plan, err);
    for (size_t i = 0; i < ground->plan.count; i++) {
        struct targets one = {.processes = {&ground->plan.processes[i]}, .count = 1};
        signal_targets(&one, SIGCONT);
        if (start_missing(ground, &one, result == 0 ? err : NULL) != 0)
            result = -1;
    }
    release(ground);
    return result;
}
