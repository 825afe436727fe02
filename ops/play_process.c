/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ops/play_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "ops/program.h"

#define MOST_STAT       4096
#define LOG_SHOWN       2000
#define END_TIMEOUT_US  8000000
#define KILL_TIMEOUT_US 5000000
#define START_TIME      22 /* the field of /proc/PID/stat, from 1 */

/* --- start -------------------------------------------------------------------------------------------------------- */

/* In the child. Only what is safe between fork and exec. */
static _Noreturn void become(const struct play_process *process, int log, pid_t parent, bool dies_with_us)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    if (dies_with_us && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent))
        _exit(127);
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (*process->namespace == '\0' || program_enter(process->namespace))
        execvp(process->argv[0], process->argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", process->argv[0], strerror(errno));
    _exit(127);
}

int play_process_start(struct play_process *process, bool dies_with_us, struct error *err)
{
    if (process->config != NULL && file_replace(process->config, str_of(process->config_text), 0600, err) != 0)
        return -1;
    int log = open(process->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (log < 0)
        return error_set_errno(err, errno, "cannot open %s", process->log);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(process, log, parent, dies_with_us);
    int failed = pid < 0 ? errno : 0;
    close(log);
    if (failed)
        return error_set_errno(err, failed, "cannot start %s", process->name);
    process->pid = process->shown_pid = pid;
    process->start_ticks = play_process_start_ticks(pid);
    return 0;
}

/* --- who it is ---------------------------------------------------------------------------------------------------- */

/* The fields of /proc/PID/stat from the third on: the second may hold anything. */
static bool read_stat(pid_t pid, char *text, size_t size, const char **fields)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t len = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return false;
    text[len] = '\0';
    const char *end = strrchr(text, ')');
    *fields = end != NULL && end[1] == ' ' ? end + 2 : NULL;
    return *fields != NULL;
}

static uint64_t start_time_of(const char *fields)
{
    struct str rest = str_of(fields), field = {NULL, 0};
    uint64_t ticks = 0;
    for (int i = 3; i <= START_TIME; i++)
        if (!str_next(&rest, ' ', &field))
            return 0;
    return str_to_u64(field, &ticks) ? ticks : 0;
}

uint64_t play_process_start_ticks(pid_t pid)
{
    char text[MOST_STAT];
    const char *fields;
    return read_stat(pid, text, sizeof(text), &fields) ? start_time_of(fields) : 0;
}

bool play_process_lives(pid_t pid, uint64_t start_ticks)
{
    char text[MOST_STAT];
    const char *fields;
    return read_stat(pid, text, sizeof(text), &fields) && *fields != 'Z' && *fields != 'X' &&
           start_time_of(fields) == start_ticks;
}

/* --- end ---------------------------------------------------------------------------------------------------------- */

/* Looked at again once it is held: from then on the number cannot be another's. */
int play_process_open(const struct play_process *process)
{
    int fd = process->pid > 0 ? pidfd_open(process->pid, 0) : -1;
    if (fd >= 0 && !play_process_lives(process->pid, process->start_ticks)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A process that is stopped hears SIGTERM only once it goes on. */
static void ask_to_end(int fd)
{
    pidfd_send_signal(fd, SIGTERM, NULL, 0);
    pidfd_send_signal(fd, SIGCONT, NULL, 0);
}

bool play_process_await(int fd, uint64_t until_us)
{
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    for (;;) {
        uint64_t now = clock_monotonic_us();
        int result = poll(&ended, 1, now < until_us ? (int)((until_us - now) / 1000) + 1 : 0);
        if (result >= 0 || errno != EINTR)
            return result > 0;
    }
}

static size_t end_role(const struct play_process *processes, size_t count)
{
    int *fds = mem_alloc((count + 1) * sizeof(*fds));
    size_t living = 0;
    for (size_t i = 0; i < count; i++)
        if ((fds[i] = play_process_open(&processes[i])) >= 0) {
            ask_to_end(fds[i]);
            living++;
        }
    uint64_t until_us = clock_monotonic_us() + END_TIMEOUT_US;
    for (size_t i = 0; i < count; i++) {
        if (fds[i] < 0)
            continue;
        if (!play_process_await(fds[i], until_us)) {
            pidfd_send_signal(fds[i], SIGKILL, NULL, 0);
            play_process_await(fds[i], clock_monotonic_us() + KILL_TIMEOUT_US);
        }
        close(fds[i]);
    }
    free(fds);
    return living;
}

size_t play_process_end(const struct play_process *processes, size_t count)
{
    size_t ended = 0;
    for (size_t end = count, first; end > 0; end = first) {
        for (first = end - 1; first > 0 && processes[first - 1].role == processes[first].role; first--)
            ;
        ended += end_role(processes + first, end - first);
    }
    return ended;
}

void play_process_show_log(const struct play_process *process)
{
    struct buf text = {0};
    struct error ignored;
    if (file_read(process->log, 64 * 1024 * 1024, &text, &ignored) == 0 && text.len > 0) {
        size_t shown = text.len < LOG_SHOWN ? text.len : LOG_SHOWN;
        fprintf(stderr, "--- the end of %s\n%s---\n", process->log, text.base + text.len - shown);
    }
    buf_free(&text);
}
