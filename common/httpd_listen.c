/* SPDX-License-Identifier: Apache-2.0 */
#include "common/httpd_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* Splits "HOST:PORT"; an IPv6 host stands in brackets. */
static int split(const char *text, char *host, size_t host_room, const char **port, struct error *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    struct str name = {text, len};
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        name = (struct str){text + 1, len - 2};
    uint64_t number;
    if (colon == NULL || name.len == 0 || name.len >= host_room || !str_to_u64(str_of(colon + 1), &number) ||
        number > 65535)
        return error_set(err, ERROR_INPUT, "\"%s\" is no address: write HOST:PORT or unix:/path", text);
    memcpy(host, name.base, name.len);
    host[name.len] = '\0';
    *port = colon + 1;
    return 0;
}

static int open_tcp(struct httpd_listen *listener, const char *text, bool has_token, struct error *err)
{
    char host[128];
    const char *port = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *info;
    if (split(text, host, sizeof(host), &port, err) != 0)
        return -1;
    if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, &hints, &info) != 0)
        return error_set(err, ERROR_INPUT, "\"%s\": the host must be a numeric address or localhost", text);
    int on = 1, fd = -1, status = 0;
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    if (!is_loopback(info->ai_addr) && !has_token)
        status = error_set(err, ERROR_INPUT, "%s is not a loopback address: that needs a token file", text);
    else if ((fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
             setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
             bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
             getsockname(fd, (struct sockaddr *)&bound, &bound_len) != 0)
        status = error_set_errno(err, errno, "cannot listen on %s", text);
    freeaddrinfo(info);
    if (status != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    listener->fd = fd;
    listener->port = ntohs(bound.ss_family == AF_INET ? ((struct sockaddr_in *)&bound)->sin_port
                                                      : ((struct sockaddr_in6 *)&bound)->sin6_port);
    return 0;
}

/* A socket file that refuses connections was left behind by a process that died. */
static void remove_dead(const struct sockaddr_un *address)
{
    struct stat info;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && lstat(address->sun_path, &info) == 0 && S_ISSOCK(info.st_mode) &&
        connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 && errno == ECONNREFUSED)
        unlink(address->sun_path);
    if (fd >= 0)
        close(fd);
}

static int open_unix(struct httpd_listen *listener, const char *path, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (*path != '/' || strlen(path) >= sizeof(address.sun_path))
        return error_set(err, ERROR_INPUT, "\"unix:%s\": the path must be absolute and shorter than %zu bytes", path,
                         sizeof(address.sun_path));
    strcpy(address.sun_path, path);
    remove_dead(&address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Linux takes the mode of the file from the socket, so it is never open to others, not even for a moment. */
    if (fd < 0 || fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, BACKLOG) != 0) {
        error_set_errno(err, errno, "cannot listen on unix:%s", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    listener->fd = fd;
    listener->unix_path = str_dup(str_of(path));
    return 0;
}

int httpd_listen_open(struct httpd_listen *listener, const char *text, bool has_token, struct error *err)
{
    *listener = (struct httpd_listen){.fd = -1};
    if (str_starts(str_of(text), STR_LIT("unix:")))
        return open_unix(listener, text + 5, err);
    return open_tcp(listener, text, has_token, err);
}

void httpd_listen_close(struct httpd_listen *listener)
{
    close(listener->fd);
    if (listener->unix_path != NULL)
        unlink(listener->unix_path);
    free(listener->unix_path);
}
