/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/play_ready.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/http_client.h"

#define ASK_TIMEOUT_MS 500
#define MOST_REPLY     4096

static int connect_to(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval timeout = {.tv_usec = ASK_TIMEOUT_MS * 1000};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A replica says whether its link stands; PING alone would be answered while the data is still loaded. */
static bool broker_ready(const struct play_process *process, char *why, size_t size)
{
    static const char question[] = "INFO replication\r\n";
    char reply[MOST_REPLY] = "";
    size_t len = 0;
    int fd = connect_to(process->ports[0].number);
    bool sent = fd >= 0 && send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(question) - 1;
    while (sent && len + 1 < sizeof(reply) && strstr(reply, "repl_backlog_histlen") == NULL && reply[0] != '-') {
        ssize_t got = recv(fd, reply + len, sizeof(reply) - 1 - len, 0);
        if (got <= 0)
            break;
        len += (size_t)got;
        reply[len] = '\0';
    }
    if (fd >= 0)
        close(fd);
    const char *wanted = process->primary ? "role:master" : "master_link_status:up";
    snprintf(why, size, "its broker does not say '%s'", wanted);
    return strstr(reply, wanted) != NULL;
}

static bool http_ready(unsigned port, const char *path, char *why, size_t size)
{
    char url[80];
    struct buf body = {0};
    struct error err = {0};
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = ASK_TIMEOUT_MS};
    long status = http_call(&request, &body, &err);
    if (status > 0)
        snprintf(why, size, "%s answered %ld: %.200s", url, status, body.base ? body.base : "");
    else
        snprintf(why, size, "%s", err.text);
    buf_free(&body);
    return status == 200;
}

bool play_ready(const struct play_process *process, char *why, size_t size)
{
    switch (process->role) {
    case PLAY_BROKER:
        return broker_ready(process, why, size);
    case PLAY_APP:
        return http_ready(process->ports[0].number, "/healthz", why, size);
    case PLAY_AGENT:
        return http_ready(process->ports[0].number, "/readyz", why, size);
    default:
        return http_ready(process->ports[1].number, "/readyz", why, size);
    }
}
