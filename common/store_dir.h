/* SPDX-License-Identifier: Apache-2.0
 *
 * The control store in a folder that all processes of one machine share:
 *
 *   current                 the record in force, JSON; replaced whole by rename. This is what commits a change.
 *   rules/NNNNNNNNNN.yaml   the texts, by version
 *   history/NNNNNNNNNN.json the records, by version; what is above `current` was never committed and does not count
 *   members/ROLE-NAME.json  one a process, which holds it locked for its life: where the lock is free the process is
 *                           gone, and whoever sees that removes the file
 *   document-NAME           the documents, one line with the version before the text; "/" of a name is written %2f
 *   lock                    held during a compare-and-set and while members change
 *
 * This header is shared by the files store_dir*.c alone.
 */
#ifndef COMMON_STORE_DIR_H
#define COMMON_STORE_DIR_H

#include <sys/types.h>

#include "common/store_backend.h"

struct store_dir {
    char *path;
    int notify;   /* the inotify descriptor; -1 until somebody asks for it */
    int watch;    /* of PATH; -1: not watched */
    dev_t device; /* of the folder that is watched: another one may take its place */
    ino_t inode;
    int member; /* open and locked; -1: not registered */
    char *member_path;
    struct store_member self; /* what the file says */
};

/* PATH/NAME for free(). */
char *store_dir_path(const struct store_dir *dir, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes the folder's lock: a descriptor to close, or -1 with ERROR_TIMEOUT where somebody holds it for seconds. */
int store_dir_lock(const struct store_dir *dir, struct error *err) MUST_CHECK;

/* The record in force; epoch 0 where there is none yet. */
int store_dir_current(struct store_dir *dir, struct store_record *record, struct error *err) MUST_CHECK;
/* Puts RECORD in force, durably. Under the lock. */
int store_dir_set_current(const struct store_dir *dir, const struct store_record *record, struct error *err) MUST_CHECK;

int store_dir_enroll(void *state, const struct store_member *self, struct error *err);
int store_dir_members(void *state, struct store_member *members, size_t most, struct error *err);
void store_dir_leave(struct store_dir *dir);

int store_dir_document_get(void *state, const char *name, struct buf *text, uint64_t *version, struct error *err);
int store_dir_document_put(void *state, const char *name, uint64_t expected_version, struct str text,
                           uint64_t *now_version, struct error *err);

#endif
