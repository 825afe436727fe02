/* SPDX-License-Identifier: Apache-2.0 */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP   65536
#define SECRET_MOST 4096

static int read_all(int fd, const char *path, size_t most, struct buf *out, struct error *err)
{
    size_t taken = 0;
    for (;;) {
        char *end = buf_reserve(out, READ_STEP);
        ssize_t got = read(fd, end, READ_STEP);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            return error_set_errno(err, errno, "cannot read %s", path);
        if (got == 0)
            break;
        taken += (size_t)got;
        out->len += (size_t)got;
        if (taken > most)
            return error_set(err, ERROR_INPUT, "%s is longer than %zu bytes", path, most);
    }
    buf_reserve(out, 0);
    return 0;
}

int file_read(const char *path, size_t most, struct buf *out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return error_set_errno(err, errno, "cannot open %s", path);
    size_t before = out->len;
    int result = read_all(fd, path, most, out, err);
    if (result == -1)
        out->len = before;
    close(fd);
    return result;
}

char *file_read_secret(const char *path, struct error *err)
{
    struct buf content = {NULL, 0, 0};
    char *secret = NULL;
    if (file_read(path, SECRET_MOST, &content, err) == 0) {
        struct str rest = buf_str(&content), line;
        str_next(&rest, '\n', &line);
        if (line.len > 0 && line.base[line.len - 1] == '\r')
            line.len--;
        line = str_trim(line);
        if (line.len > 0 && memchr(line.base, '\0', line.len) == NULL)
            secret = str_dup(line);
        else
            error_set(err, ERROR_INPUT, "%s holds no secret in its first line", path);
        explicit_bzero(content.base, content.capacity);
    }
    buf_free(&content);
    return secret;
}

int file_take_secret(const char *option, const char *path, char **secret, struct error *err)
{
    if (path == NULL)
        return 0;
    *secret = file_read_secret(path, err);
    return *secret != NULL ? 0 : error_at(err, option);
}

static int write_all(int fd, struct str content)
{
    while (content.len > 0) {
        ssize_t put = write(fd, content.base, content.len);
        if (put == -1 && errno == EINTR)
            continue;
        if (put == -1)
            return -1;
        content.base += put;
        content.len -= (size_t)put;
    }
    return fsync(fd);
}

/* Makes what was created, renamed or removed beside PATH durable. */
static int sync_folder_of(const char *path, struct error *err)
{
    char *folder = str_dup(str_of(path));
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder] = '\0';
    const char *name = slash != NULL ? folder : ".";
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = 0;
    if (fd == -1 || fsync(fd) == -1)
        result = error_set_errno(err, errno, "cannot sync the folder %s", name);
    if (fd != -1)
        close(fd);
    free(folder);
    return result;
}

/* A name beside PATH that no other thread or process uses. */
static int open_temporary(const char *path, unsigned mode, struct buf *name)
{
    static _Atomic unsigned counter;
    int fd;
    do {
        name->len = 0;
        buf_printf(name, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1));
        fd = open(name->base, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    } while (fd == -1 && errno == EEXIST);
    return fd;
}

int file_replace(const char *path, struct str content, unsigned mode, struct error *err)
{
    struct buf name = {NULL, 0, 0};
    int result = 0;
    int fd = open_temporary(path, mode, &name);
    if (fd == -1) {
        result = error_set_errno(err, errno, "cannot create %s", name.base);
    } else {
        if (write_all(fd, content) == -1)
            result = error_set_errno(err, errno, "cannot write %s", path);
        if (close(fd) == -1 && result == 0)
            result = error_set_errno(err, errno, "cannot write %s", path);
        if (result == 0 && rename(name.base, path) == -1)
            result = error_set_errno(err, errno, "cannot replace %s", path);
        if (result == -1)
            unlink(name.base);
    }
    buf_free(&name);
    return result == 0 ? sync_folder_of(path, err) : -1;
}

int file_make_folder(const char *path, unsigned mode, struct error *err)
{
    char *step = str_dup(str_of(path));
    int result = 0;
    for (char *at = step; result == 0 && *at != '\0';) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char kept = *at;
        *at = '\0';
        if (mkdir(step, (mode_t)mode) == -1 && errno != EEXIST)
            result = error_set_errno(err, errno, "cannot make the folder %s", step);
        *at = kept;
    }
    struct stat status;
    if (result == 0 && (stat(path, &status) == -1 || !S_ISDIR(status.st_mode)))
        result = error_set(err, ERROR_SYSTEM, "%s is no folder", path);
    free(step);
    return result;
}
