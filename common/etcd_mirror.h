/* SPDX-License-Identifier: Apache-2.0
 *
 * What the keys under one prefix held when etcd was heard last, kept by a thread that watches and read by the thread
 * that decides, so that reading never waits for a network. Every change carries the revision that made it: what comes
 * late or twice changes nothing. Owned by a store; all functions lock.
 */
#ifndef COMMON_ETCD_MIRROR_H
#define COMMON_ETCD_MIRROR_H

#include <pthread.h>

#include "common/etcd_json.h"

enum etcd_mirror_state {
    ETCD_MIRROR_EMPTY = 0, /* nothing was heard yet */
    ETCD_MIRROR_UP,
    ETCD_MIRROR_AWAY, /* nobody answers; what it holds is what was true last */
};

struct etcd_mirror {
    pthread_mutex_t lock;
    enum etcd_mirror_state state;
    struct error fault;         /* why it is away */
    struct etcd_entry *entries; /* deleted ones stay until the next snapshot: older news of them may come yet */
    size_t count;
    int64_t revision; /* of the newest snapshot */
    int changed;      /* an eventfd that is raised with every change; borrowed */
};

void etcd_mirror_open(struct etcd_mirror *mirror, int changed);
void etcd_mirror_close(struct etcd_mirror *mirror);

/* Takes what is news of ANSWER's entries; how many there were. */
size_t etcd_mirror_merge(struct etcd_mirror *mirror, const struct etcd_answer *answer);

/* ANSWER holds all that there is at its revision; how many entries were news. The state is up. */
size_t etcd_mirror_replace(struct etcd_mirror *mirror, const struct etcd_answer *answer);

/* What this process put itself, at REVISION. */
void etcd_mirror_set(struct etcd_mirror *mirror, const char *key, struct str value, int64_t revision, int64_t lease);

void etcd_mirror_away(struct etcd_mirror *mirror, const struct error *fault);

/* The state, with the fault in *err where it is away. */
enum etcd_mirror_state etcd_mirror_state(struct etcd_mirror *mirror, struct error *err);

/* Appends what KEY held last; *MOD_REVISION is 0 where it is not there. *LEASE may be NULL. */
void etcd_mirror_get(struct etcd_mirror *mirror, const char *key, struct buf *value, int64_t *mod_revision,
                     int64_t *lease);

/* Calls FN for each entry whose key begins with PREFIX, under the lock. */
void etcd_mirror_each(struct etcd_mirror *mirror, const char *prefix,
                      void (*fn)(const struct etcd_entry *entry, void *arg), void *arg);

#endif
