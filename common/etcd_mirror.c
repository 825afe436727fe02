/* SPDX-License-Identifier: Apache-2.0 */
#include "common/etcd_mirror.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/invariant.h"

void etcd_mirror_open(struct etcd_mirror *mirror, int changed)
{
    *mirror = (struct etcd_mirror){.changed = changed};
    INVARIANT(pthread_mutex_init(&mirror->lock, NULL) == 0);
}

static void free_entry(struct etcd_entry *entry)
{
    free(entry->key);
    buf_free(&entry->value);
}

void etcd_mirror_close(struct etcd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->count; i++)
        free_entry(&mirror->entries[i]);
    free(mirror->entries);
    pthread_mutex_destroy(&mirror->lock);
}

static void tell(const struct etcd_mirror *mirror)
{
    const uint64_t one = 1;
    ssize_t done = write(mirror->changed, &one, sizeof(one));
    (void)done; /* it fails only where 2^64 - 2 changes were not looked at */
}

/* --- under the lock ----------------------------------------------------------------------------------------------- */

static struct etcd_entry *find(const struct etcd_mirror *mirror, const char *key)
{
    for (size_t i = 0; i < mirror->count; i++)
        if (strcmp(mirror->entries[i].key, key) == 0)
            return &mirror->entries[i];
    return NULL;
}

static struct etcd_entry *find_or_add(struct etcd_mirror *mirror, const char *key)
{
    struct etcd_entry *entry = find(mirror, key);
    if (entry != NULL)
        return entry;
    mirror->entries = mem_realloc(mirror->entries, (mirror->count + 1) * sizeof(*mirror->entries));
    entry = &mirror->entries[mirror->count++];
    *entry = (struct etcd_entry){.key = str_dup(str_of(key))};
    return entry;
}

/* Whether NEWS is. */
static bool take(struct etcd_mirror *mirror, const struct etcd_entry *news)
{
    struct etcd_entry *entry = find_or_add(mirror, news->key);
    if (news->mod_revision <= entry->mod_revision)
        return false;
    entry->mod_revision = news->mod_revision;
    entry->lease = news->lease;
    entry->deleted = news->deleted;
    entry->value.len = 0;
    buf_append_str(&entry->value, buf_str(&news->value));
    return true;
}

static size_t take_all(struct etcd_mirror *mirror, const struct etcd_answer *answer)
{
    size_t news = 0;
    for (size_t i = 0; i < answer->count; i++)
        news += take(mirror, &answer->entries[i]);
    return news;
}

/* What a snapshot at REVISION does not hold is not there, unless it came later. */
static size_t drop_missing(struct etcd_mirror *mirror, const struct etcd_answer *answer)
{
    size_t kept = 0, lost = 0;
    for (size_t i = 0; i < mirror->count; i++) {
        struct etcd_entry *entry = &mirror->entries[i];
        if (entry->mod_revision > answer->revision || etcd_answer_find(answer, entry->key) != NULL) {
            mirror->entries[kept++] = *entry;
            continue;
        }
        lost += !entry->deleted;
        free_entry(entry);
    }
    mirror->count = kept;
    return lost;
}

/* --- what threads call -------------------------------------------------------------------------------------------- */

size_t etcd_mirror_merge(struct etcd_mirror *mirror, const struct etcd_answer *answer)
{
    pthread_mutex_lock(&mirror->lock);
    size_t news = take_all(mirror, answer);
    if (news > 0)
        tell(mirror);
    pthread_mutex_unlock(&mirror->lock);
    return news;
}

/* Revisions never fall, but where etcd was restored from a copy. */
static void forget_all(struct etcd_mirror *mirror)
{
    for (size_t i = 0; i < mirror->count; i++)
        free_entry(&mirror->entries[i]);
    mirror->count = 0;
}

size_t etcd_mirror_replace(struct etcd_mirror *mirror, const struct etcd_answer *answer)
{
    pthread_mutex_lock(&mirror->lock);
    if (answer->revision < mirror->revision)
        forget_all(mirror);
    size_t news = take_all(mirror, answer) + drop_missing(mirror, answer);
    bool back = mirror->state != ETCD_MIRROR_UP;
    mirror->state = ETCD_MIRROR_UP;
    mirror->revision = answer->revision;
    if (news > 0 || back)
        tell(mirror);
    pthread_mutex_unlock(&mirror->lock);
    return news;
}

void etcd_mirror_set(struct etcd_mirror *mirror, const char *key, struct str value, int64_t revision, int64_t lease)
{
    struct etcd_entry entry = {.key = str_dup(str_of(key)), .mod_revision = revision, .lease = lease};
    buf_append_str(&entry.value, value);
    pthread_mutex_lock(&mirror->lock);
    take(mirror, &entry);
    pthread_mutex_unlock(&mirror->lock);
    free_entry(&entry);
}

void etcd_mirror_away(struct etcd_mirror *mirror, const struct error *fault)
{
    pthread_mutex_lock(&mirror->lock);
    bool was = mirror->state == ETCD_MIRROR_AWAY;
    mirror->state = ETCD_MIRROR_AWAY;
    mirror->fault = *fault;
    if (!was)
        tell(mirror);
    pthread_mutex_unlock(&mirror->lock);
}

enum etcd_mirror_state etcd_mirror_state(struct etcd_mirror *mirror, struct error *err)
{
    pthread_mutex_lock(&mirror->lock);
    enum etcd_mirror_state state = mirror->state;
    if (state == ETCD_MIRROR_AWAY && err != NULL)
        *err = mirror->fault;
    pthread_mutex_unlock(&mirror->lock);
    return state;
}

void etcd_mirror_get(struct etcd_mirror *mirror, const char *key, struct buf *value, int64_t *mod_revision,
                     int64_t *lease)
{
    pthread_mutex_lock(&mirror->lock);
    const struct etcd_entry *entry = find(mirror, key);
    bool there = entry != NULL && !entry->deleted;
    *mod_revision = there ? entry->mod_revision : 0;
    if (lease != NULL)
        *lease = there ? entry->lease : 0;
    if (there)
        buf_append_str(value, buf_str(&entry->value));
    pthread_mutex_unlock(&mirror->lock);
}

void etcd_mirror_each(struct etcd_mirror *mirror, const char *prefix,
                      void (*fn)(const struct etcd_entry *entry, void *arg), void *arg)
{
    pthread_mutex_lock(&mirror->lock);
    for (size_t i = 0; i < mirror->count; i++)
        if (!mirror->entries[i].deleted && str_starts(str_of(mirror->entries[i].key), str_of(prefix)))
            fn(&mirror->entries[i], arg);
    pthread_mutex_unlock(&mirror->lock);
}
