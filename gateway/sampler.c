/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/sampler.h"

#include <stdlib.h>
#include <xxhash.h>

#define SLOTS 2048 /* a power of two, half as much again as SAMPLER_USERS */

struct name {
    uint8_t len;
    char text[SAMPLER_USER_MAX];
};

struct pane {
    uint64_t number; /* of the pane in time; 0: never used */
    uint64_t requests;
    uint64_t bound; /* hashes up to this are kept */
    uint32_t users;
    uint32_t counts[SLOTS]; /* 0: free */
    uint64_t hashes[SLOTS];
    struct name names[SLOTS];
    uint64_t drawn_hashes[SAMPLER_REQUESTS];
    struct name drawn[SAMPLER_REQUESTS];
};

struct sampler {
    uint64_t random;
    struct pane panes[SAMPLER_PANES];
};

struct sampler *sampler_create(void)
{
    struct sampler *sampler = mem_calloc(1, sizeof(*sampler));
    sampler->random = 0x9e3779b97f4a7c15;
    return sampler;
}

void sampler_destroy(struct sampler **sampler)
{
    free(*sampler);
    *sampler = NULL;
}

static void keep_name(struct name *name, struct str user)
{
    name->len = (uint8_t)(user.len < SAMPLER_USER_MAX ? user.len : SAMPLER_USER_MAX);
    memcpy(name->text, user.base, name->len);
}

/* The slot of HASH, or the free one where it belongs. */
static uint32_t slot_of(const struct pane *pane, uint64_t hash)
{
    uint32_t slot = (uint32_t)hash % SLOTS; /* the high bits of all are zero below the bound */
    while (pane->counts[slot] != 0 && pane->hashes[slot] != hash)
        slot = (slot + 1) % SLOTS;
    return slot;
}

/* Takes SLOT out and moves those behind it up, so that no search stops short of them. */
static void remove_slot(struct pane *pane, uint32_t slot)
{
    pane->users--;
    for (uint32_t next = (slot + 1) % SLOTS; pane->counts[next] != 0; next = (next + 1) % SLOTS) {
        uint32_t home = (uint32_t)pane->hashes[next] % SLOTS;
        if ((next - home) % SLOTS < (next - slot) % SLOTS)
            continue;
        pane->counts[slot] = pane->counts[next];
        pane->hashes[slot] = pane->hashes[next];
        pane->names[slot] = pane->names[next];
        slot = next;
    }
    pane->counts[slot] = 0;
}

static void halve(struct pane *pane)
{
    pane->bound /= 2;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        while (pane->counts[slot] != 0 && pane->hashes[slot] > pane->bound)
            remove_slot(pane, slot);
}

static void observe_user(struct pane *pane, uint64_t hash, struct str user)
{
    uint32_t slot = slot_of(pane, hash);
    if (pane->counts[slot] == 0) {
        pane->users++;
        pane->hashes[slot] = hash;
        keep_name(&pane->names[slot], user);
    }
    if (pane->counts[slot] != UINT32_MAX)
        pane->counts[slot]++;
    while (pane->users > SAMPLER_USERS)
        halve(pane);
}

/* Marsaglia's xorshift64. */
static uint64_t next_random(struct sampler *sampler)
{
    sampler->random ^= sampler->random << 13;
    sampler->random ^= sampler->random >> 7;
    return sampler->random ^= sampler->random << 17;
}

static void observe_request(struct sampler *sampler, struct pane *pane, uint64_t hash, struct str user)
{
    uint64_t at = pane->requests++;
    if (at >= SAMPLER_REQUESTS)
        at = (uint64_t)(((unsigned __int128)next_random(sampler) * pane->requests) >> 64);
    if (at >= SAMPLER_REQUESTS)
        return;
    pane->drawn_hashes[at] = hash;
    keep_name(&pane->drawn[at], user);
}

static struct pane *pane_at(struct sampler *sampler, uint64_t number)
{
    struct pane *pane = &sampler->panes[number % SAMPLER_PANES];
    if (pane->number != number) {
        pane->number = number;
        pane->requests = 0;
        pane->bound = UINT64_MAX;
        pane->users = 0;
        memset(pane->counts, 0, sizeof(pane->counts));
    }
    return pane;
}

static uint64_t number_of(uint64_t now_us)
{
    return now_us / SAMPLER_PANE_US + 1;
}

void sampler_observe(struct sampler *sampler, struct str user, uint64_t now_us)
{
    struct pane *pane = pane_at(sampler, number_of(now_us));
    uint64_t hash = XXH3_64bits(user.base, user.len);
    observe_request(sampler, pane, hash, user);
    if (hash <= pane->bound)
        observe_user(pane, hash, user);
}

/* --- collecting --------------------------------------------------------------------------------------------------- */

static struct traffic_user traffic_user(uint64_t hash, uint64_t requests, const struct name *name)
{
    struct traffic_user user = {.hash = hash, .requests = requests, .len = name->len};
    memcpy(user.text, name->text, name->len);
    return user;
}

static void collect_pane(const struct pane *pane, struct traffic *traffic)
{
    traffic->requests += pane->requests;
    if (traffic->bound == 0 || pane->bound < traffic->bound)
        traffic->bound = pane->bound;
    traffic->users = mem_realloc(traffic->users, (traffic->user_count + pane->users) * sizeof(*traffic->users));
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (pane->counts[slot] != 0)
            traffic->users[traffic->user_count++] =
                traffic_user(pane->hashes[slot], pane->counts[slot], &pane->names[slot]);

    uint64_t drawn = pane->requests < SAMPLER_REQUESTS ? pane->requests : SAMPLER_REQUESTS;
    traffic->sample = mem_realloc(traffic->sample, (traffic->sample_count + drawn) * sizeof(*traffic->sample));
    for (uint64_t i = 0; i < drawn; i++) {
        uint64_t stands_for = (i + 1) * pane->requests / drawn - i * pane->requests / drawn;
        traffic->sample[traffic->sample_count++] = traffic_user(pane->drawn_hashes[i], stands_for, &pane->drawn[i]);
    }
}

void sampler_collect(const struct sampler *sampler, uint64_t now_us, struct traffic *traffic)
{
    uint64_t now = number_of(now_us);
    for (int i = 0; i < SAMPLER_PANES; i++) {
        const struct pane *pane = &sampler->panes[i];
        if (pane->number != 0 && pane->number <= now && pane->number + SAMPLER_PANES > now)
            collect_pane(pane, traffic);
    }
}

static void append(struct traffic_user **users, size_t *count, const struct traffic_user *more, size_t more_count)
{
    *users = mem_realloc(*users, (*count + more_count) * sizeof(**users));
    if (more_count > 0)
        memcpy(*users + *count, more, more_count * sizeof(*more));
    *count += more_count;
}

void traffic_merge(struct traffic *into, const struct traffic *from)
{
    into->requests += from->requests;
    if (into->bound == 0 || (from->bound != 0 && from->bound < into->bound))
        into->bound = from->bound;
    append(&into->users, &into->user_count, from->users, from->user_count);
    append(&into->sample, &into->sample_count, from->sample, from->sample_count);
}

static int by_hash(const void *left, const void *right)
{
    const struct traffic_user *a = left, *b = right;
    return (a->hash > b->hash) - (a->hash < b->hash);
}

static size_t join(struct traffic_user *users, size_t count)
{
    size_t kept = 0;
    if (count > 0)
        qsort(users, count, sizeof(*users), by_hash);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && users[kept - 1].hash == users[i].hash)
            users[kept - 1].requests += users[i].requests;
        else
            users[kept++] = users[i];
    }
    return kept;
}

void traffic_finish(struct traffic *traffic, size_t most)
{
    traffic->sample_count = join(traffic->sample, traffic->sample_count);
    traffic->user_count = join(traffic->users, traffic->user_count);
    while (traffic->user_count > 0 && traffic->users[traffic->user_count - 1].hash > traffic->bound)
        traffic->user_count--;
    if (traffic->user_count > most) {
        traffic->user_count = most;
        traffic->bound = most > 0 ? traffic->users[most - 1].hash : 0;
    }
}

uint64_t traffic_distinct(const struct traffic *traffic)
{
    if (traffic->bound == UINT64_MAX || traffic->user_count == 0)
        return traffic->user_count;
    return (uint64_t)((double)traffic->user_count / ((double)traffic->bound / (double)UINT64_MAX));
}

void traffic_free(struct traffic *traffic)
{
    free(traffic->users);
    free(traffic->sample);
    *traffic = (struct traffic){0};
}
