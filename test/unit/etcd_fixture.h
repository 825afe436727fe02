/* SPDX-License-Identifier: Apache-2.0
 *
 * A real etcd of one member for a unit test, on free ports, in a folder of its own; ended by pid.
 */
#ifndef TEST_UNIT_ETCD_FIXTURE_H
#define TEST_UNIT_ETCD_FIXTURE_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/http_client.h"
#include "test/unit/redis_fixture.h"

struct etcd_fixture {
    pid_t pid;
    unsigned port, peer_port;
    char folder[64], location[96]; /* without a prefix */
};

static inline bool etcd_fixture_answers(const struct etcd_fixture *etcd)
{
    char url[80];
    struct buf body = {NULL, 0, 0};
    struct error err;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/health", etcd->port);
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = 2000};
    bool ready = http_call(&request, &body, &err) == 200;
    buf_free(&body);
    return ready;
}

static inline void etcd_fixture_start(struct etcd_fixture *etcd)
{
    char client[64], peer[64], cluster[80], data[80];
    if (etcd->folder[0] == '\0') {
        snprintf(etcd->folder, sizeof(etcd->folder), "/tmp/ldc-test-etcd-XXXXXX");
        if (mkdtemp(etcd->folder) == NULL)
            abort();
        int first = redis_fixture_bind(&etcd->port), second = redis_fixture_bind(&etcd->peer_port);
        close(first);
        close(second);
        snprintf(etcd->location, sizeof(etcd->location), "etcd:http://127.0.0.1:%u", etcd->port);
    }
    snprintf(client, sizeof(client), "http://127.0.0.1:%u", etcd->port);
    snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", etcd->peer_port);
    snprintf(cluster, sizeof(cluster), "one=%s", peer);
    snprintf(data, sizeof(data), "%s/data", etcd->folder);
    pid_t parent = getpid();
    etcd->pid = fork();
    if (etcd->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        int log = open("/dev/null", O_RDWR);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execlp("etcd", "etcd", "--name", "one", "--data-dir", data, "--listen-client-urls", client,
               "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
               "--initial-cluster", cluster, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; !etcd_fixture_answers(etcd); i++) {
        if (i > 2400 || waitpid(etcd->pid, NULL, WNOHANG) == etcd->pid)
            abort();
        poll(NULL, 0, 50);
    }
}

static inline void etcd_fixture_end(struct etcd_fixture *etcd)
{
    if (etcd->pid <= 0)
        return;
    kill(etcd->pid, SIGKILL);
    waitpid(etcd->pid, NULL, 0);
    etcd->pid = 0;
}

static inline void etcd_fixture_remove(struct etcd_fixture *etcd)
{
    char command[96];
    etcd_fixture_end(etcd);
    snprintf(command, sizeof(command), "rm -rf '%s'", etcd->folder);
    if (etcd->folder[0] == '\0' || system(command) != 0)
        abort();
}

#endif
