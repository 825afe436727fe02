/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/play_ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOWEST  10000U
#define HIGHEST 32000U /* Linux gives out ports from 32768 on */
#define CHUNK   64U    /* ports are spoken for by the chunk */
#define TRIES   200

int play_ports_check(unsigned base, unsigned count, struct error *err)
{
    for (unsigned port = base; port < base + count; port++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        int taken = bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ? errno : 0;
        close(fd);
        if (taken)
            return error_set_errno(
                err, taken,
                "port %u is not to be had (--port-base gives a new playground others; an old one wants another --dir)",
                port);
    }
    return 0;
}

/* An abstract socket is a lock that cannot outlive its owner. The descriptor stays open for that. */
static bool speak_for(unsigned chunk)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int len = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "ldcgate-playground-ports-%u", chunk);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        bind(fd, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0)
        return true;
    if (fd >= 0)
        close(fd);
    return false;
}

unsigned play_ports_find(unsigned count, struct error *err)
{
    unsigned chunks = (count + CHUNK - 1) / CHUNK, choices = (HIGHEST - LOWEST) / CHUNK - chunks;
    for (int i = 0; i < TRIES; i++) {
        unsigned random = 0, spoken = 0;
        if (getrandom(&random, sizeof(random), 0) != sizeof(random))
            break;
        unsigned first = random % choices, base = LOWEST + first * CHUNK;
        while (spoken < chunks && speak_for(first + spoken))
            spoken++;
        if (spoken == chunks && play_ports_check(base, count, err) == 0)
            return base;
    }
    error_set(err, ERROR_SYSTEM, "no run of %u free ports was found; name one by --port-base", count);
    return 0;
}
