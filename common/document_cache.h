/* SPDX-License-Identifier: Apache-2.0
 *
 * The documents of the store as a process saw them last, in a file beside its cache of the rules: what a restart begins
 * with while the store is away. JSON: {"documents": {NAME: {"version": N, "text": TEXT}...}}. Owned by one thread.
 */
#ifndef COMMON_DOCUMENT_CACHE_H
#define COMMON_DOCUMENT_CACHE_H

#include "common/store.h"

struct document_cache;

/* Reads the file at PATH (copied; NULL: there is none, and nothing is kept). What is missing or no whole cache counts
 * as empty. */
struct document_cache *document_cache_create(const char *path);
/* The same at RULES_CACHE with `.documents` behind it; NULL: there is none. */
struct document_cache *document_cache_beside(const char *rules_cache);
void document_cache_destroy(struct document_cache **cache); /* saves it first */

/* As store_document_get, from the file. */
void document_cache_recall(const struct document_cache *cache, const char *name, struct buf *text, uint64_t *version);

/* For the file, unless it has that version; 0: NAME is forgotten. */
void document_cache_keep(struct document_cache *cache, const char *name, struct str text, uint64_t version);

/* As store_document_get, from STORE; what is new is for the file. */
int document_cache_get(struct document_cache *cache, struct store *store, const char *name, struct buf *text,
                       uint64_t *version, struct error *err) MUST_CHECK;

/* Writes what is new to the file, and waits for the disk: not when a document has just changed, for then a unit may be
 * failing over, and its broker's file is on that disk, too. That the file cannot be written is logged once, and tried
 * again the next time. */
void document_cache_save(struct document_cache *cache);

#endif
