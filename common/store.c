/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/measure.h"
#include "common/store_backend.h"

struct store {
    const struct store_backend *backend;
    void *state;
};

static const struct store_backend *const backends[] = {&store_dir, &store_etcd};

/* A plain path means the first backend. *PLACE becomes what stands behind the scheme. */
static const struct store_backend *backend_of(struct str *place)
{
    struct str rest = *place, scheme;
    if (place->len == 0 || place->base[0] == '/' || place->base[0] == '.')
        return backends[0];
    str_next(&rest, ':', &scheme);
    *place = rest;
    for (size_t i = 0; i < COUNT_OF(backends) && rest.base != NULL; i++)
        if (str_equal(scheme, str_of(backends[i]->scheme)))
            return backends[i];
    return NULL;
}

struct store *store_open(const char *location, struct error *err)
{
    return store_open_as(location, NULL, err);
}

static const struct store_backend *find_backend(const char *location, struct str *place, struct error *err)
{
    *place = str_of(location);
    const struct store_backend *backend = backend_of(place);
    if (backend != NULL && place->len > 0)
        return backend;
    error_set(err, ERROR_INPUT, "the store's location must be dir:PATH or etcd:http://HOST:PORT,.../PREFIX, not \"%s\"",
              location);
    return NULL;
}

int store_check_location(const char *location, struct error *err)
{
    static const struct store_access none;
    struct str place;
    const struct store_backend *backend = find_backend(location, &place, err);
    if (backend == NULL || backend == backends[0]) /* whose folder is made when it is opened */
        return backend != NULL ? 0 : -1;
    void *state = backend->open(place, &none, err);
    if (state == NULL)
        return -1;
    backend->close(state);
    return 0;
}

struct store *store_open_as(const char *location, const struct store_access *access, struct error *err)
{
    static const struct store_access none;
    struct str place;
    const struct store_backend *backend = find_backend(location, &place, err);
    if (backend == NULL)
        return NULL;
    void *state = backend->open(place, access != NULL ? access : &none, err);
    if (state == NULL)
        return NULL;
    struct store *store = mem_calloc(1, sizeof(*store));
    *store = (struct store){backend, state};
    return store;
}

void store_close(struct store **store)
{
    if (*store == NULL)
        return;
    (*store)->backend->close((*store)->state);
    free(*store);
    *store = NULL;
}

int store_current(struct store *store, struct store_record *record, struct error *err)
{
    return store->backend->current(store->state, record, err);
}

void store_sha256(struct str text, char *hex)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    INVARIANT(EVP_Digest(text.base ? text.base : "", text.len, digest, &len, EVP_sha256(), NULL) == 1 && len == 32);
    for (unsigned i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

int store_rules(struct store *store, uint64_t version, struct buf *text, struct error *err)
{
    struct store_record current;
    if (store_current(store, &current, err) == -1)
        return -1;
    if (version == 0 || version > current.version)
        return error_set(err, ERROR_REFUSED, "the store has no rules of version %llu", (unsigned long long)version);
    size_t before = text->len;
    if (store->backend->rules(store->state, version, text, err) == -1)
        return -1;
    char sha256[65];
    store_sha256((struct str){text->base + before, text->len - before}, sha256);
    if (version == current.version && strcmp(sha256, current.sha256) != 0) {
        text->len = before;
        return error_set(err, ERROR_SYSTEM, "the rules of version %llu are damaged: their SHA-256 is %s, not %s",
                         (unsigned long long)version, sha256, current.sha256);
    }
    return 0;
}

/* Cut to what fits, between two characters. Bytes that are no UTF-8 would make the record unreadable: refused. */
static int copy_text(char *out, size_t size, const char *text, const char *what, struct error *err)
{
    struct str kept = str_of(text ? text : "");
    if (!str_is_utf8(kept))
        return error_set(err, ERROR_INPUT, "%s is no well-formed UTF-8", what);
    if (kept.len >= size)
        kept.len = size - 1;
    while (!str_is_utf8(kept))
        kept.len--;
    memcpy(out, kept.base, kept.len);
    out[kept.len] = '\0';
    return 0;
}

bool store_record_follows(const struct store_record *before, const struct store_record *after)
{
    if (after->epoch < before->epoch || after->rules_epoch < before->rules_epoch)
        return false;
    return after->rules_epoch == before->rules_epoch ? strcmp(after->sha256, before->sha256) == 0
                                                     : after->rules_epoch > before->epoch;
}

bool store_rules_stand(const struct store_record *now, uint64_t epoch)
{
    return now->rules_epoch <= epoch && epoch <= now->epoch;
}

int store_stale_rules(const struct store_record *now, uint64_t expected_epoch, struct error *err)
{
    return error_set(err, ERROR_CONFLICT, "the store is at epoch %llu with rules of epoch %llu, not at %llu",
                     (unsigned long long)now->epoch, (unsigned long long)now->rules_epoch,
                     (unsigned long long)expected_epoch);
}

int store_put_rules(struct store *store, uint64_t expected_epoch, struct str rules, uint64_t restores, const char *by,
                    const char *note, struct store_record *now, struct error *err)
{
    *now = (struct store_record){.restores = restores, .at_us = clock_wall_us()};
    if (rules.len > STORE_RULES_MOST)
        return error_set(err, ERROR_INPUT, "rules must not be longer than %zu bytes", STORE_RULES_MOST);
    if (copy_text(now->by, sizeof(now->by), by, "the name of who asks", err) == -1 ||
        copy_text(now->note, sizeof(now->note), note, "the note", err) == -1)
        return -1;
    store_sha256(rules, now->sha256);
    return store->backend->put_rules(store->state, expected_epoch, rules, now, err);
}

int store_history(struct store *store, struct store_record *records, size_t most, struct error *err)
{
    return store->backend->history(store->state, records, most, err);
}

int store_register(struct store *store, const struct store_member *self, struct error *err)
{
    return store->backend->enroll(store->state, self, err);
}

int store_member_order(const void *left, const void *right)
{
    const struct store_member *a = left, *b = right;
    int order = strcmp(b->role, a->role);
    return order != 0 ? order : strcmp(a->name, b->name);
}

int store_members(struct store *store, struct store_member *members, size_t most, struct error *err)
{
    return store->backend->members(store->state, members, most, err);
}

/* What any backend can name a thing: a path has neither empty nor hidden parts. */
static int check_document(const char *name, struct error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./";
    bool fine = strlen(name) <= 120 && strspn(name, allowed) == strlen(name);
    struct str rest = str_of(name), part;
    while (fine && str_next(&rest, '/', &part))
        fine = part.len > 0 && part.base[0] != '.';
    return fine ? 0 : error_set(err, ERROR_INPUT, "\"%s\" is no name of a document", name);
}

int store_document_get(struct store *store, const char *name, struct buf *text, uint64_t *version, struct error *err)
{
    *version = 0;
    return check_document(name, err) == 0 ? store->backend->document_get(store->state, name, text, version, err) : -1;
}

int store_document_put(struct store *store, const char *name, uint64_t expected_version, struct str text,
                       uint64_t *now_version, struct error *err)
{
    *now_version = 0;
    if (check_document(name, err) == -1)
        return -1;
    if (text.len > STORE_DOCUMENT_MOST)
        return error_set(err, ERROR_INPUT, "%s must not be longer than %zu bytes", name, STORE_DOCUMENT_MOST);
    return store->backend->document_put(store->state, name, expected_version, text, now_version, err);
}

int store_watch_fd(struct store *store)
{
    return store->backend->watch_fd(store->state);
}

void store_drain(struct store *store)
{
    store->backend->drain(store->state);
}

void store_keep_warm(struct store *store)
{
    if (store->backend->keep_warm != NULL)
        store->backend->keep_warm(store->state);
}

void store_lean_on(struct store *store, struct store *other)
{
    INVARIANT(store->backend == other->backend);
    if (store->backend->lean_on != NULL)
        store->backend->lean_on(store->state, other->state);
}
