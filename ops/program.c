/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ops/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"

#define COMPLAINT_SHOWN 300
#define STARTING_US     1000000 /* for it to start, and to read what it is given first */

bool program_found(const char *name)
{
    const char *folders = getenv("PATH");
    struct str rest = str_of(folders ? folders : "/usr/sbin:/usr/bin:/sbin:/bin"), folder;
    while (str_next(&rest, ':', &folder)) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%.*s/%s", STR_ARG(folder), name);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

bool program_enter(const char *namespace)
{
    char path[128];
    snprintf(path, sizeof(path), "/run/netns/%s", namespace);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool entered = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
    if (fd >= 0)
        close(fd);
    return entered;
}

char *program_folder(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(path, '/');
    return slash ? str_dup((struct str){path, (size_t)(slash - path)}) : str_dup(STR_LIT("."));
}

static _Noreturn void become(const char *namespace, const char *const argv[], int input, int output)
{
    dup2(input, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (namespace == NULL || program_enter(namespace))
        execvp(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(STDERR_FILENO, "%s", strerror(errno));
    _exit(127);
}

static int conclude(const char *name, int status, int output, struct error *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char text[COMPLAINT_SHOWN + 1];
    ssize_t len = pread(output, text, COMPLAINT_SHOWN, 0);
    struct str said = str_trim((struct str){text, len > 0 ? (size_t)len : 0});
    return error_set(err, ERROR_SYSTEM, "%s failed: %.*s", name, STR_ARG(said));
}

struct running {
    pid_t pid; /* -1: it could not be started */
    int output, failed;
};

/* A memory file rather than a pipe for what it says: neither side can be kept waiting. */
static struct running launch(const char *namespace, const char *const argv[], int input)
{
    struct running program = {.pid = -1, .output = memfd_create("output", MFD_CLOEXEC)};
    if (input >= 0 && program.output >= 0)
        program.pid = fork();
    if (program.pid == 0)
        become(namespace, argv, input, program.output);
    program.failed = program.pid < 0 ? errno : 0;
    return program;
}

static int await(const struct running *program, const char *name, struct error *err)
{
    int status = -1;
    while (program->pid > 0 && waitpid(program->pid, &status, 0) < 0 && errno == EINTR)
        ;
    int result = program->failed ? error_set_errno(err, program->failed, "cannot run %s", name)
                                 : conclude(name, status, program->output, err);
    if (program->output >= 0)
        close(program->output);
    return result;
}

int program_run(const char *namespace, const char *const argv[], struct str input, struct error *err)
{
    int in = memfd_create("input", MFD_CLOEXEC);
    if (in >= 0 && pwrite(in, input.base, input.len, 0) != (ssize_t)input.len) {
        close(in);
        in = -1;
    }
    struct running program = launch(namespace, argv, in);
    if (in >= 0)
        close(in);
    return await(&program, argv[0], err);
}

/* A pipe tells nobody when it was read: it is looked at. */
static void wait_until_read(int pipe)
{
    uint64_t until_us = clock_monotonic_us() + STARTING_US;
    int left = 0;
    while (ioctl(pipe, FIONREAD, &left) == 0 && left > 0 && clock_monotonic_us() < until_us)
        poll(NULL, 0, 1);
}

int program_run_at(const char *namespace, const char *const argv[], struct str first, struct str last, uint64_t *at_us,
                   struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set_errno(err, errno, "cannot run %s", argv[0]);
    struct running program = launch(namespace, argv, ends[0]);
    bool given = write(ends[1], first.base, first.len) == (ssize_t)first.len;
    if (given && program.pid > 0)
        wait_until_read(ends[1]);
    *at_us = clock_monotonic_us();
    given = given && write(ends[1], last.base, last.len) == (ssize_t)last.len;
    close(ends[0]);
    close(ends[1]);
    int result = await(&program, argv[0], err);
    return result == 0 && !given ? error_set(err, ERROR_SYSTEM, "%s was not told all", argv[0]) : result;
}
