/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/peer_counts.h"

#include <netinet/in.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/invariant.h"
#include "common/str.h"

#define BUCKETS 4096

struct peer_key {
    uint64_t family, bits;
};

struct peer_count {
    struct peer_count *next;
    struct peer_key key;
    uint64_t connections;
};

struct peer_counts {
    pthread_mutex_t lock;
    uint64_t seed; /* so that nobody can choose addresses of one bucket */
    struct peer_count *buckets[BUCKETS];
};

static struct peer_key key_of(const struct sockaddr *address)
{
    struct peer_key key = {address->sa_family, 0};
    if (address->sa_family == AF_INET)
        memcpy(&key.bits, &((const struct sockaddr_in *)address)->sin_addr, 4);
    else if (address->sa_family == AF_INET6)
        memcpy(&key.bits, &((const struct sockaddr_in6 *)address)->sin6_addr, 8);
    return key;
}

static struct peer_count **slot_of(struct peer_counts *counts, const struct peer_key *key)
{
    struct peer_count **slot = &counts->buckets[XXH3_64bits_withSeed(key, sizeof(*key), counts->seed) % BUCKETS];
    while (*slot != NULL && memcmp(&(*slot)->key, key, sizeof(*key)) != 0)
        slot = &(*slot)->next;
    return slot;
}

struct peer_counts *peer_counts_create(void)
{
    struct peer_counts *counts = mem_calloc(1, sizeof(*counts));
    pthread_mutex_init(&counts->lock, NULL);
    INVARIANT(RAND_bytes((unsigned char *)&counts->seed, sizeof(counts->seed)) == 1);
    return counts;
}

void peer_counts_destroy(struct peer_counts **counts)
{
    struct peer_counts *old = *counts;
    if (old == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct peer_count *count = old->buckets[i], *next; count != NULL; count = next) {
            next = count->next;
            free(count);
        }
    pthread_mutex_destroy(&old->lock);
    free(old);
    *counts = NULL;
}

struct peer_count *peer_counts_enter(struct peer_counts *counts, const struct sockaddr *address, uint64_t most)
{
    struct peer_key key = key_of(address);
    pthread_mutex_lock(&counts->lock);
    struct peer_count **slot = slot_of(counts, &key), *count = *slot;
    if (count == NULL) {
        count = *slot = mem_calloc(1, sizeof(*count));
        count->key = key;
    }
    if (count->connections >= most)
        count = NULL;
    else
        count->connections++;
    pthread_mutex_unlock(&counts->lock);
    return count;
}

void peer_counts_leave(struct peer_counts *counts, struct peer_count *count)
{
    pthread_mutex_lock(&counts->lock);
    if (--count->connections == 0) {
        *slot_of(counts, &count->key) = count->next;
        free(count);
    }
    pthread_mutex_unlock(&counts->lock);
}
