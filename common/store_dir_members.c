/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store_dir.h"
#include "common/store_json.h"

#define FOLDER_MODE 0750
#define FILE_MODE   0640
#define MEMBER_MOST 8192

/* A file name for any member's name: what a path could misread is written as %XX. */
static char *path_of(const struct store_dir *dir, const struct store_member *member)
{
    struct buf name = {NULL, 0, 0};
    for (const char *at = member->name; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        buf_printf(&name, isalnum(c) || c == '-' || c == '_' || (c == '.' && at > member->name) ? "%c" : "%%%02x", c);
    }
    char *path = store_dir_path(dir, "members/%s-%s.json", member->role, name.base ? name.base : "");
    buf_free(&name);
    return path;
}

/* Whether a living process holds the lock of the open file FD. A shared lock, so that two who ask at once do not take
 * each other for the owner. */
static bool is_held(int fd)
{
    bool held = flock(fd, LOCK_SH | LOCK_NB) == -1;
    if (!held)
        flock(fd, LOCK_UN);
    return held;
}

static bool is_held_by_another(const struct store_dir *dir, const char *path)
{
    if (dir->member != -1 && strcmp(path, dir->member_path) == 0)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool held = fd != -1 && is_held(fd);
    if (fd != -1)
        close(fd);
    return held;
}

/* 0 where FD is locked and holds what SELF says; errno otherwise. */
static int write_locked(int fd, const struct store_member *self)
{
    json_t *json = store_member_to_json(self);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL)
        return EILSEQ;
    errno = ENOSPC; /* of a short write, which sets none */
    bool done = flock(fd, LOCK_EX | LOCK_NB) == 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    free(text);
    return done ? 0 : errno;
}

/* Writes and locks a file under another name first: under its own it is never seen without its lock. */
static int create_locked(const char *path, const struct store_member *self, struct error *err)
{
    struct buf temporary = {NULL, 0, 0};
    buf_printf(&temporary, "%s.tmp-%ld", path, (long)getpid());
    int fd = open(temporary.base, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    int failed = fd == -1 ? errno : write_locked(fd, self);
    if (failed == 0 && rename(temporary.base, path) == -1)
        failed = errno;
    if (failed != 0) {
        error_set_errno(err, failed, "cannot write %s", path);
        unlink(temporary.base);
        if (fd != -1)
            close(fd);
        fd = -1;
    }
    buf_free(&temporary);
    return fd;
}

/* Under the folder's lock. Takes over PATH when it succeeds. */
static int enroll_locked(struct store_dir *dir, char *path, const struct store_member *self, struct error *err)
{
    char *folder = store_dir_path(dir, "members");
    int made = mkdir(folder, FOLDER_MODE) == -1 && errno != EEXIST
                   ? error_set_errno(err, errno, "cannot make the folder %s", folder)
                   : 0;
    free(folder);
    if (made == -1)
        return -1;
    if (is_held_by_another(dir, path))
        return error_set(err, ERROR_CONFLICT, "another living process is registered as %s %s", self->role, self->name);
    int fd = create_locked(path, self, err);
    if (fd == -1)
        return -1;
    if (dir->member != -1 && strcmp(path, dir->member_path) != 0)
        unlink(dir->member_path);
    if (dir->member != -1)
        close(dir->member);
    free(dir->member_path);
    dir->member_path = path;
    dir->member = fd;
    dir->self = *self;
    return 0;
}

static bool is_same_file(const char *path, int fd)
{
    struct stat named, opened;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

int store_dir_enroll(void *state, const struct store_member *self, struct error *err)
{
    struct store_dir *dir = state;
    if (dir->member != -1 && memcmp(self, &dir->self, sizeof(*self)) == 0 &&
        is_same_file(dir->member_path, dir->member))
        return 0;
    int lock = store_dir_lock(dir, err);
    if (lock == -1)
        return -1;
    char *path = path_of(dir, self);
    int result = enroll_locked(dir, path, self, err);
    if (result == -1)
        free(path);
    close(lock);
    return result;
}

void store_dir_leave(struct store_dir *dir)
{
    if (dir->member == -1)
        return;
    unlink(dir->member_path);
    close(dir->member);
    free(dir->member_path);
    dir->member = -1;
    dir->member_path = NULL;
}

/* FD is a member's file that nobody holds. Its name may belong to a new process by now: looked at again under the
 * folder's lock, without which nobody registers. */
static void remove_stale(const struct store_dir *dir, const char *path, int fd)
{
    struct error ignored;
    int lock = store_dir_lock(dir, &ignored);
    if (lock == -1)
        return;
    if (is_same_file(path, fd))
        unlink(path);
    close(lock);
}

static bool read_member(int fd, struct store_member *member)
{
    char text[MEMBER_MOST];
    ssize_t got = read(fd, text, sizeof(text));
    json_t *json = got > 0 ? json_loadb(text, (size_t)got, 0, NULL) : NULL;
    bool read_whole = json != NULL && store_member_from_json(json, member);
    json_decref(json);
    return read_whole;
}

/* True where FILE is that of a living member. */
static bool look_at(const struct store_dir *dir, const char *file, struct store_member *member)
{
    char *path = store_dir_path(dir, "members/%s", file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool alive = fd != -1 && is_held(fd);
    if (fd != -1 && !alive)
        remove_stale(dir, path, fd);
    bool listed = alive && read_member(fd, member);
    if (fd != -1)
        close(fd);
    free(path);
    member->alive = listed;
    return listed;
}

/* Others are on their way to a name. */
static bool is_member_file(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, ".json") == 0;
}

/* How many; -1 with errno where FOLDER cannot be read, or went away meanwhile: who was not found then may well live. */
static int read_members(const struct store_dir *dir, const char *folder, struct store_member *members, size_t most)
{
    DIR *open_folder = opendir(folder);
    size_t count = 0;
    if (open_folder == NULL)
        return -1;
    for (struct dirent *entry; count < most && (entry = readdir(open_folder)) != NULL;)
        if (is_member_file(entry->d_name))
            count += look_at(dir, entry->d_name, &members[count]);
    bool there = is_same_file(folder, dirfd(open_folder));
    closedir(open_folder);
    errno = ESTALE;
    return there ? (int)count : -1;
}

int store_dir_members(void *state, struct store_member *members, size_t most, struct error *err)
{
    struct store_dir *dir = state;
    char *folder = store_dir_path(dir, "members");
    int count = read_members(dir, folder, members, most), fault = errno;
    if (count == -1 && (fault != ENOENT || access(dir->path, R_OK | X_OK) != 0))
        error_set_errno(err, fault, "cannot read %s", folder);
    else if (count == -1)
        count = 0;
    else
        qsort(members, (size_t)count, sizeof(*members), store_member_order);
    free(folder);
    return count;
}
