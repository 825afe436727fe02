/* SPDX-License-Identifier: Apache-2.0 */
#include "common/document_cache.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/file.h"
#include "common/log.h"

#define FILE_MODE 0640
#define MOST      ((size_t)128 << 20)

struct document_cache {
    char *path;
    json_t *documents;
    bool unsaved, told; /* that the file cannot be written */
};

static json_t *load(const char *path)
{
    struct buf text = {NULL, 0, 0};
    struct error ignored;
    json_t *json = NULL, *documents = NULL;
    if (path != NULL && file_read(path, MOST, &text, &ignored) == 0)
        json = json_loadb(text.base ? text.base : "", text.len, 0, NULL);
    if (json_is_object(json_object_get(json, "documents")))
        documents = json_incref(json_object_get(json, "documents"));
    json_decref(json);
    buf_free(&text);
    return documents != NULL ? documents : json_object();
}

struct document_cache *document_cache_create(const char *path)
{
    struct document_cache *cache = mem_calloc(1, sizeof(*cache));
    cache->path = path != NULL ? str_dup(str_of(path)) : NULL;
    cache->documents = load(path);
    return cache;
}

struct document_cache *document_cache_beside(const char *rules_cache)
{
    struct buf path = {NULL, 0, 0};
    if (rules_cache != NULL)
        buf_printf(&path, "%s.documents", rules_cache);
    struct document_cache *cache = document_cache_create(path.base);
    buf_free(&path);
    return cache;
}

void document_cache_destroy(struct document_cache **cache)
{
    if (*cache == NULL)
        return;
    document_cache_save(*cache);
    json_decref((*cache)->documents);
    free((*cache)->path);
    free(*cache);
    *cache = NULL;
}

static uint64_t version_of(const struct document_cache *cache, const char *name)
{
    json_int_t version = json_integer_value(json_object_get(json_object_get(cache->documents, name), "version"));
    return version > 0 ? (uint64_t)version : 0;
}

void document_cache_recall(const struct document_cache *cache, const char *name, struct buf *text, uint64_t *version)
{
    const json_t *kept = json_object_get(json_object_get(cache->documents, name), "text");
    *version = json_is_string(kept) ? version_of(cache, name) : 0;
    if (*version > 0)
        buf_append(text, json_string_value(kept), json_string_length(kept));
}

void document_cache_save(struct document_cache *cache)
{
    struct error err;
    if (!cache->unsaved)
        return;
    json_t *json = json_pack("{s:O}", "documents", cache->documents);
    char *text = json_dumps(json, JSON_COMPACT);
    bool failed = file_replace(cache->path, str_of(text), FILE_MODE, &err) != 0;
    if (failed && !cache->told)
        log_warning("documents.cache", "%s; a restart while the store is away would find older documents", err.text);
    cache->told = cache->unsaved = failed;
    free(text);
    json_decref(json);
}

void document_cache_keep(struct document_cache *cache, const char *name, struct str text, uint64_t version)
{
    if (cache->path == NULL || version == version_of(cache, name))
        return;
    json_t *kept = json_stringn(text.base ? text.base : "", text.len);
    if (version > 0 && kept != NULL) /* what is no text cannot be kept */
        json_object_set_new(cache->documents, name,
                            json_pack("{s:I,s:O}", "version", (json_int_t)version, "text", kept));
    else
        json_object_del(cache->documents, name);
    json_decref(kept);
    cache->unsaved = true;
}

int document_cache_get(struct document_cache *cache, struct store *store, const char *name, struct buf *text,
                       uint64_t *version, struct error *err)
{
    struct buf got = {NULL, 0, 0};
    int failed = store_document_get(store, name, &got, version, err);
    if (failed == 0) {
        document_cache_keep(cache, name, buf_str(&got), *version);
        buf_append_str(text, buf_str(&got));
    }
    buf_free(&got);
    return failed;
}
