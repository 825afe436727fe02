/* SPDX-License-Identifier: Apache-2.0
 *
 * The file of `store.cache`: the last rules in force and their record, so that a process starts with them while its
 * store is away. It is a rule file whose first line, a comment, holds the record.
 */
#ifndef COMMON_RULES_CACHE_H
#define COMMON_RULES_CACHE_H

#include "common/store.h"

/* Replaces the file whole. */
int rules_cache_write(const char *path, const struct store_record *record, struct str text,
                      struct error *err) MUST_CHECK;

/* Fills *RECORD and appends the rules to TEXT, if the file is whole: the record tells their hash. */
int rules_cache_read(const char *path, struct store_record *record, struct buf *text, struct error *err) MUST_CHECK;

#endif
