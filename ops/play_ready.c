/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/play_ready.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/http_client.h"

#define ASK_TIMEOUT_MS 500
#define MOST_REPLY     4096

static int connect_to(const struct play_process *process)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)process->ports[0].number)};
    struct timeval timeout = {.tv_usec = ASK_TIMEOUT_MS * 1000};
    inet_pton(AF_INET, process->address, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A replica says whether its link stands; PING alone would be answered while the data is still loaded. */
static bool broker_ready(const struct play_process *process, const char *token, char *why, size_t size)
{
    char reply[MOST_REPLY] = "", question[128];
    size_t len = 0;
    int fd = connect_to(process),
        asked = snprintf(question, sizeof(question), "%s%s%sINFO replication\r\n", *process->namespace ? "AUTH " : "",
                         *process->namespace ? token : "", *process->namespace ? "\r\n" : "");
    bool sent = fd >= 0 && send(fd, question, (size_t)asked, MSG_NOSIGNAL) == asked;
    while (sent && len + 1 < sizeof(reply) && strstr(reply, "repl_backlog_histlen") == NULL && reply[0] != '-') {
        ssize_t got = recv(fd, reply + len, sizeof(reply) - 1 - len, 0);
        if (got <= 0)
            break;
        len += (size_t)got;
        reply[len] = '\0';
    }
    if (fd >= 0)
        close(fd);
    static const char wanted[] = "role:"; /* one that still reads its file does not answer; agents see to the rest */
    snprintf(why, size, "its broker does not say '%s'", wanted);
    return strstr(reply, wanted) != NULL;
}

/* BODY: of the answer, to be freed also where it is not 200. */
static bool ask(const struct play_process *process, size_t port, const char *path, const char *token, struct buf *body,
                char *why, size_t size)
{
    char url[80];
    struct error err = {0};
    snprintf(url, sizeof(url), "http://%s:%u%s", process->address, process->ports[port].number, path);
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = ASK_TIMEOUT_MS, .bearer_token = token};
    long status = http_call(&request, body, &err);
    if (status > 0)
        snprintf(why, size, "%s answered %ld: %.200s", url, status, body->base ? body->base : "");
    else
        snprintf(why, size, "%s", err.text);
    return status == 200;
}

static bool http_ready(const struct play_process *process, size_t port, const char *path, char *why, size_t size)
{
    struct buf body = {0};
    bool ready = ask(process, port, path, NULL, &body, why, size);
    buf_free(&body);
    return ready;
}

/* A unit whose replica still copies the data would refuse what is to be replicated. */
static bool brokers_in_sync(const struct play_process *process, const char *token, char *why, size_t size)
{
    struct buf body = {0};
    bool answered = ask(process, 0, "/v1/status", token, &body, why, size);
    json_t *status = answered ? json_loadb(body.base ? body.base : "", body.len, 0, NULL) : NULL;
    const json_t *record = json_object_get(status, "broker_record");
    const char *lack = json_string_value(json_object_get(record, "why"));
    bool in_sync = lack != NULL && lack[0] == '\0' && json_array_size(json_object_get(record, "in_sync")) > 1;
    if (answered && !in_sync)
        snprintf(why, size, "%s", lack != NULL && lack[0] != '\0' ? lack : "its replica is not on record yet");
    json_decref(status);
    buf_free(&body);
    return in_sync;
}

bool play_ready(const struct play_process *process, const char *token, char *why, size_t size)
{
    switch (process->role) {
    case PLAY_STORE: /* not before most of the members are there */
        return http_ready(process, 0, "/health", why, size);
    case PLAY_BROKER:
        return broker_ready(process, token, why, size);
    case PLAY_APP:
        return http_ready(process, 0, "/healthz", why, size);
    case PLAY_AGENT:
        return http_ready(process, 0, "/readyz", why, size) && brokers_in_sync(process, token, why, size);
    default:
        return http_ready(process, 1, "/readyz", why, size);
    }
}
