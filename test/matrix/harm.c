/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into the processes of a scene: a clock that is wrong, a disk that is slow, a stop at the worst moment. What
 * each process suffers stands in a file of its own, $LDC_HARM/PID, which it makes when it starts and
 * test/matrix/harm.py writes into. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct harm {
    volatile int64_t clock_us; /* added to the time of day */
    volatile int64_t sync_us;  /* what fsync and fdatasync take longer */
    volatile int64_t members;  /* stop when the store's folder has a record with so many; 0: never */
    volatile int64_t deaf;     /* to what others tell it: the store's folder cannot be read, and pulses are lost */
};

static struct harm none, *harm = &none;
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_access)(const char *, int);
static int (*real_recvmmsg)(int, struct mmsghdr *, unsigned, int, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    char path[512];
    const char *folder = getenv("LDC_HARM");
    *(void **)&real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&real_rename = dlsym(RTLD_NEXT, "rename");
    *(void **)&real_access = dlsym(RTLD_NEXT, "access");
    *(void **)&real_recvmmsg = dlsym(RTLD_NEXT, "recvmmsg");
    snprintf(path, sizeof(path), "%s/%d", folder ? folder : "", (int)getpid());
    int fd = folder ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    void *map = ftruncate(fd, sizeof(*harm)) == 0 ? mmap(NULL, sizeof(*harm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                                                  : MAP_FAILED;
    if (map != MAP_FAILED)
        harm = map;
    close(fd);
}

/* An allocator asks for the time before our constructor has run. */
int clock_gettime(clockid_t id, struct timespec *now)
{
    int failed = real_gettime != NULL ? real_gettime(id, now) : (int)syscall(SYS_clock_gettime, id, now);
    if (failed == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t ns = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + harm->clock_us * 1000;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (out != NULL)
        *out = precise.tv_sec;
    return precise.tv_sec;
}

static void wait_for_disk(void)
{
    if (harm->sync_us > 0)
        poll(NULL, 0, (int)(harm->sync_us / 1000));
}

int fsync(int fd)
{
    wait_for_disk();
    return real_fsync(fd);
}

int fdatasync(int fd)
{
    wait_for_disk();
    return real_fdatasync(fd);
}

/* Which is asked before each look at the store. */
int access(const char *path, int mode)
{
    if (harm->deaf == 0 || strstr(path, "/store") == NULL)
        return real_access(path, mode);
    errno = EIO;
    return -1;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    int got = real_recvmmsg(fd, messages, count, flags, timeout);
    if (got == -1 || harm->deaf == 0)
        return got;
    errno = EAGAIN;
    return -1;
}

static int members_in(const char *path)
{
    char text[8192];
    int count = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = '\0';
    for (const char *at = text; (at = strstr(at, "\"broker\":")) != NULL; at++)
        count++;
    return count;
}

int rename(const char *from, const char *to)
{
    int failed = real_rename(from, to);
    if (failed == 0 && harm->members > 0 && strstr(to, "/document-brokers") != NULL &&
        members_in(to) == harm->members) {
        harm->members = 0;
        raise(SIGSTOP);
    }
    return failed;
}
