/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "ops/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPLAINT_SHOWN 300

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

/* Memory files rather than pipes: neither side can be kept waiting. */
int program_run(const char *namespace, const char *const argv[], struct str input, struct error *err)
{
    int in = memfd_create("input", MFD_CLOEXEC), out = memfd_create("output", MFD_CLOEXEC), status = -1;
    bool ready = in >= 0 && out >= 0 && pwrite(in, input.base, input.len, 0) == (ssize_t)input.len;
    pid_t pid = ready ? fork() : -1;
    if (pid == 0)
        become(namespace, argv, in, out);
    int failed = pid < 0 ? errno : 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int result = failed ? error_set_errno(err, failed, "cannot run %s", argv[0]) : conclude(argv[0], status, out, err);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return result;
}
