/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/store_json.h"

#define FOLDER_MODE    0750
#define FILE_MODE      0640
#define RECORD_MOST    65536
#define LOCK_WAIT_US   2000000
#define WATCHED_EVENTS (IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

char *store_dir_path(const struct store_dir *dir, const char *format, ...)
{
    char name[400];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    struct buf path = {NULL, 0, 0};
    buf_printf(&path, "%s/%s", dir->path, name);
    return path.base;
}

/* The folder is made here and never again: one that vanishes later is on its way back, or was moved by somebody who
 * would not thank us for an empty one in its place. Where it cannot be made, each call will say so. */
static void *open_dir(struct str place, const struct store_access *access, struct error *err)
{
    (void)access;
    struct store_dir *dir = mem_calloc(1, sizeof(*dir));
    *dir = (struct store_dir){.path = str_dup(place), .notify = -1, .watch = -1, .member = -1};
    int made = file_make_folder(dir->path, FOLDER_MODE, err);
    (void)made;
    return dir;
}

static void close_dir(void *state)
{
    struct store_dir *dir = state;
    store_dir_leave(dir);
    if (dir->notify != -1)
        close(dir->notify);
    free(dir->path);
    free(dir);
}

/* --- the watch ---------------------------------------------------------------------------------------------------- */

/* Watches the folder that PATH names now; a no-op where it does already. */
static void watch_folder(struct store_dir *dir)
{
    struct stat status;
    if (dir->notify == -1 || stat(dir->path, &status) == -1)
        return;
    if (dir->watch != -1 && status.st_dev == dir->device && status.st_ino == dir->inode)
        return;
    if (dir->watch != -1)
        inotify_rm_watch(dir->notify, dir->watch);
    dir->watch = inotify_add_watch(dir->notify, dir->path, WATCHED_EVENTS);
    dir->device = status.st_dev;
    dir->inode = status.st_ino;
}

static int watch_fd(void *state)
{
    struct store_dir *dir = state;
    if (dir->notify == -1)
        dir->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    watch_folder(dir);
    return dir->notify;
}

static void drain(void *state)
{
    struct store_dir *dir = state;
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t got;
    while (dir->notify != -1 && (got = read(dir->notify, events, sizeof(events))) > 0) {
        const struct inotify_event *event;
        for (char *at = events; at < events + got; at += sizeof(*event) + event->len) {
            event = (const struct inotify_event *)at;
            if ((event->mask & IN_IGNORED) != 0 && event->wd == dir->watch)
                dir->watch = -1;
        }
    }
    watch_folder(dir);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* 1: read; 0: there is no such file; -1: *err. */
static int read_record(const char *path, struct store_record *record, struct error *err)
{
    *record = (struct store_record){0};
    if (access(path, F_OK) == -1 && errno == ENOENT)
        return 0;
    struct buf text = {NULL, 0, 0};
    json_t *json = NULL;
    int result = -1;
    if (file_read(path, RECORD_MOST, &text, err) == 0) {
        json = json_loadb(text.base, text.len, JSON_REJECT_DUPLICATES, NULL);
        if (json != NULL && store_record_from_json(json, record) && record->epoch > 0 &&
            record->rules_epoch <= record->epoch && (record->version > 0) == (record->rules_epoch > 0))
            result = 1;
        else
            error_set(err, ERROR_SYSTEM, "%s holds no store record", path);
    }
    json_decref(json);
    buf_free(&text);
    return result;
}

static int write_record(const char *path, const struct store_record *record, struct error *err)
{
    json_t *json = store_record_to_json(record);
    char *text = json_dumps(json, JSON_COMPACT);
    struct buf line = {NULL, 0, 0};
    buf_printf(&line, "%s\n", text);
    int result = file_replace(path, buf_str(&line), FILE_MODE, err);
    buf_free(&line);
    free(text);
    json_decref(json);
    return result;
}

int store_dir_current(struct store_dir *dir, struct store_record *record, struct error *err)
{
    watch_folder(dir);
    *record = (struct store_record){0};
    if (access(dir->path, R_OK | X_OK) == -1)
        return error_set_errno(err, errno, "cannot read the store's folder %s", dir->path);
    char *path = store_dir_path(dir, "current");
    int found = read_record(path, record, err);
    free(path);
    return found == -1 ? -1 : 0;
}

int store_dir_set_current(const struct store_dir *dir, const struct store_record *record, struct error *err)
{
    char *path = store_dir_path(dir, "current");
    int result = write_record(path, record, err);
    free(path);
    return result;
}

static int current(void *state, struct store_record *record, struct error *err)
{
    return store_dir_current(state, record, err);
}

static int rules(void *state, uint64_t version, struct buf *text, struct error *err)
{
    char *path = store_dir_path(state, "rules/%010llu.yaml", (unsigned long long)version);
    int result = file_read(path, STORE_RULES_MOST, text, err);
    free(path);
    return result;
}

static int history(void *state, struct store_record *records, size_t most, struct error *err)
{
    struct store_dir *dir = state;
    struct store_record newest;
    if (current(dir, &newest, err) == -1)
        return -1;
    size_t count = 0;
    for (uint64_t version = newest.version; version > 0 && count < most; version--) {
        char *path = store_dir_path(dir, "history/%010llu.json", (unsigned long long)version);
        int found = read_record(path, &records[count], err);
        free(path);
        if (found == -1)
            return -1;
        count += (size_t)found;
    }
    return (int)count;
}

/* --- compare and set ---------------------------------------------------------------------------------------------- */

int store_dir_lock(const struct store_dir *dir, struct error *err)
{
    char *path = store_dir_path(dir, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd == -1)
        error_set_errno(err, errno, "cannot open %s", path);
    free(path);
    uint64_t until = clock_monotonic_us() + LOCK_WAIT_US;
    while (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == -1) {
        if (errno == EINTR || (errno == EWOULDBLOCK && clock_monotonic_us() < until)) {
            poll(NULL, 0, 1); /* flock(2) knows no deadline */
            continue;
        }
        error_set(err, ERROR_TIMEOUT, "another process holds the lock of the store %s", dir->path);
        close(fd);
        fd = -1;
    }
    return fd;
}

static int make_folders(const struct store_dir *dir, struct error *err)
{
    static const char *const names[] = {"rules", "history"};
    for (size_t i = 0; i < 2; i++) {
        char *path = store_dir_path(dir, "%s", names[i]);
        int result = mkdir(path, FOLDER_MODE) == -1 && errno != EEXIST
                         ? error_set_errno(err, errno, "cannot make the folder %s", path)
                         : 0;
        free(path);
        if (result == -1)
            return -1;
    }
    return 0;
}

/* The order matters: `current` is written last, when all that it speaks of is durable. What an attempt leaves behind
 * that failed before that is above `current`, and overwritten by the next. */
static int commit(const struct store_dir *dir, struct str text, const struct store_record *next, struct error *err)
{
    char *rules_path = store_dir_path(dir, "rules/%010llu.yaml", (unsigned long long)next->version);
    char *history_path = store_dir_path(dir, "history/%010llu.json", (unsigned long long)next->version);
    int result = file_replace(rules_path, text, FILE_MODE, err);
    if (result == 0)
        result = write_record(history_path, next, err);
    if (result == 0)
        result = store_dir_set_current(dir, next, err);
    else
        unlink(rules_path); /* a full disk needs the room */
    free(rules_path);
    free(history_path);
    return result;
}

static int compare_and_set(struct store_dir *dir, uint64_t expected_epoch, struct str text, struct store_record *next,
                           struct error *err)
{
    struct store_record before;
    if (current(dir, &before, err) == -1)
        return -1;
    if (!store_rules_stand(&before, expected_epoch)) {
        *next = before;
        return store_stale_rules(&before, expected_epoch, err);
    }
    next->epoch = next->rules_epoch = before.epoch + 1;
    next->version = before.version + 1;
    return make_folders(dir, err) == 0 ? commit(dir, text, next, err) : -1;
}

static int put_rules(void *state, uint64_t expected_epoch, struct str text, struct store_record *next,
                     struct error *err)
{
    struct store_dir *dir = state;
    int lock = store_dir_lock(dir, err);
    if (lock == -1)
        return -1;
    int result = compare_and_set(dir, expected_epoch, text, next, err);
    close(lock);
    return result;
}

const struct store_backend store_dir = {
    .scheme = "dir",
    .open = open_dir,
    .close = close_dir,
    .current = current,
    .rules = rules,
    .put_rules = put_rules,
    .history = history,
    .enroll = store_dir_enroll,
    .members = store_dir_members,
    .document_get = store_dir_document_get,
    .document_put = store_dir_document_put,
    .watch_fd = watch_fd,
    .drain = drain,
};
