/* SPDX-License-Identifier: Apache-2.0 */
#include "common/httpd_listen.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/address.h"

#define BACKLOG 512

static int open_tcp(struct httpd_listen *listener, const char *text, bool has_token, struct error *err)
{
    struct address address;
    int on = 1, fd = -1, status = 0;
    if (address_parse(text, &address, err) != 0)
        return -1;
    if (!address_is_loopback(&address) && !has_token)
        status = error_set(err, ERROR_INPUT, "%s is not a loopback address: that needs a token file", text);
    else if ((fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
             setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
             bind(fd, (struct sockaddr *)&address.storage, address.len) != 0 || listen(fd, BACKLOG) != 0 ||
             getsockname(fd, (struct sockaddr *)&address.storage, &address.len) != 0)
        status = address_refuse(err, errno, text);
    if (status != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    listener->fd = fd;
    listener->port = address_port(&address);
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
