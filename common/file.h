/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files, read and replaced: what is half-written is never seen, and what was confirmed survives a power cut.
 */
#ifndef COMMON_FILE_H
#define COMMON_FILE_H

#include "common/error.h"
#include "common/str.h"

/* Appends the whole file at PATH to OUT, refusing more than MOST bytes. */
int file_read(const char *path, size_t most, struct buf *out, struct error *err) MUST_CHECK;

/* Replaces PATH by CONTENT: a temporary file beside it, fsync, rename, fsync of the folder. MODE as for open(2). */
int file_replace(const char *path, struct str content, unsigned mode, struct error *err) MUST_CHECK;

/* The first line of the file at PATH, without blanks at either end, for free(): a token or a password. NULL with *err,
 * which shows nothing of it. */
char *file_read_secret(const char *path, struct error *err) MUST_CHECK;

/* The same into *SECRET, of the file that OPTION names; where PATH is NULL, *SECRET stays as it is. */
int file_take_secret(const char *option, const char *path, char **secret, struct error *err) MUST_CHECK;

/* mkdir -p. */
int file_make_folder(const char *path, unsigned mode, struct error *err) MUST_CHECK;

#endif
