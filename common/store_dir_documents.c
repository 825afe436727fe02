/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/file.h"
#include "common/store_dir.h"

#define FILE_MODE 0640

/* Documents stand in the folder itself, so that the one watch hears of them: "brokers/RZ01" is document-brokers%2fRZ01.
 */
static char *path_of(const struct store_dir *dir, const char *name)
{
    struct buf file = {NULL, 0, 0};
    for (const char *at = name; *at != '\0'; at++)
        buf_printf(&file, *at == '/' ? "%%2f" : "%c", *at);
    char *path = store_dir_path(dir, "document-%s", file.base ? file.base : "");
    buf_free(&file);
    return path;
}

/* The version stands on a line of its own before the text, so that one rename changes both. */
static int take_apart(const char *path, struct str file, struct buf *text, uint64_t *version, struct error *err)
{
    struct str rest = file, first = {NULL, 0};
    str_next(&rest, '\n', &first);
    if (rest.base == NULL || !str_to_u64(first, version) || *version == 0)
        return error_set(err, ERROR_SYSTEM, "%s holds no document", path);
    buf_append_str(text, rest);
    return 0;
}

int store_dir_document_get(void *state, const char *name, struct buf *text, uint64_t *version, struct error *err)
{
    const struct store_dir *dir = state;
    *version = 0;
    if (access(dir->path, R_OK | X_OK) == -1)
        return error_set_errno(err, errno, "cannot read the store's folder %s", dir->path);
    char *path = path_of(dir, name);
    struct buf file = {NULL, 0, 0};
    int result = 0;
    if (access(path, F_OK) == 0 || errno != ENOENT)
        result = file_read(path, STORE_DOCUMENT_MOST + 64, &file, err) == 0
                     ? take_apart(path, buf_str(&file), text, version, err)
                     : -1;
    buf_free(&file);
    free(path);
    return result;
}

static int replace(const struct store_dir *dir, const char *name, uint64_t version, struct str text, struct error *err)
{
    char *path = path_of(dir, name);
    struct buf file = {NULL, 0, 0};
    buf_printf(&file, "%llu\n", (unsigned long long)version);
    buf_append_str(&file, text);
    int result = file_replace(path, buf_str(&file), FILE_MODE, err);
    buf_free(&file);
    free(path);
    return result;
}

/* The epoch is raised first: a crash in between leaves one that changed nothing, and never two changes of one epoch. */
static int commit(struct store_dir *dir, const char *name, struct str text, uint64_t *version, struct error *err)
{
    struct store_record record;
    if (store_dir_current(dir, &record, err) == -1)
        return -1;
    record.epoch = (record.epoch > *version ? record.epoch : *version) + 1;
    if (store_dir_set_current(dir, &record, err) == -1 || replace(dir, name, record.epoch, text, err) == -1)
        return -1;
    *version = record.epoch;
    return 0;
}

int store_dir_document_put(void *state, const char *name, uint64_t expected_version, struct str text,
                           uint64_t *now_version, struct error *err)
{
    struct store_dir *dir = state;
    struct buf before = {NULL, 0, 0};
    int lock = store_dir_lock(dir, err);
    if (lock == -1)
        return -1;
    int result = store_dir_document_get(dir, name, &before, now_version, err);
    if (result == 0 && *now_version != expected_version)
        result = error_set(err, ERROR_CONFLICT, "%s is at version %llu, not at %llu", name,
                           (unsigned long long)*now_version, (unsigned long long)expected_version);
    else if (result == 0)
        result = commit(dir, name, text, now_version, err);
    buf_free(&before);
    close(lock);
    return result;
}
