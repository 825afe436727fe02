/* SPDX-License-Identifier: Apache-2.0
 *
 * A real redis-server for a unit test, on a free port, in a folder of its own; ended by pid.
 */
#ifndef TEST_UNIT_REDIS_FIXTURE_H
#define TEST_UNIT_REDIS_FIXTURE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct redis_fixture {
    pid_t pid;
    unsigned port;
    char folder[64], url[64];
};

/* A port below those that outgoing connections get: else one could have it before the server binds it anew. */
static inline int redis_fixture_bind(unsigned *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int tries = 0; tries < 1000; tries++) {
        *port = 10000 + arc4random_uniform(22000);
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)*port)};
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
            return fd;
    }
    abort();
}

static inline int redis_fixture_answers(const struct redis_fixture *redis)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)redis->port)};
    char answer[8] = "";
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && write(fd, "PING\r\n", 6) == 6 &&
             read(fd, answer, 7) > 0 && answer[0] != '-';
    close(fd);
    return ok;
}

/* Starts it with APPENDONLY "yes" or "no"; a second start on the same fixture finds the data again. */
static inline void redis_fixture_start(struct redis_fixture *redis, const char *appendonly)
{
    char port[8];
    if (redis->folder[0] == '\0') {
        snprintf(redis->folder, sizeof(redis->folder), "/tmp/ldc-test-redis-XXXXXX");
        if (mkdtemp(redis->folder) == NULL)
            abort();
        close(redis_fixture_bind(&redis->port));
        snprintf(redis->url, sizeof(redis->url), "redis://127.0.0.1:%u", redis->port);
    }
    snprintf(port, sizeof(port), "%u", redis->port);
    if ((redis->pid = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the test */
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", redis->folder, "--save",
               "", "--appendonly", appendonly, "--appendfsync", "always", (char *)NULL);
        _exit(127);
    }
    for (int tries = 0; !redis_fixture_answers(redis); tries++) {
        if (tries > 12000 || waitpid(redis->pid, NULL, WNOHANG) != 0)
            abort();
        poll(NULL, 0, 5);
    }
}

static inline void redis_fixture_kill(struct redis_fixture *redis)
{
    kill(redis->pid, SIGKILL);
    waitpid(redis->pid, NULL, 0);
    redis->pid = 0;
}

static inline void redis_fixture_end(struct redis_fixture *redis)
{
    char command[128];
    if (redis->pid != 0)
        redis_fixture_kill(redis);
    snprintf(command, sizeof(command), "rm -rf '%s'", redis->folder);
    if (system(command) != 0)
        abort();
    redis->folder[0] = '\0';
}

#endif
