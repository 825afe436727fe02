/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/copy_floor.h"

#include <pthread.h>
#include <stdlib.h>

/* Of one collection. */
struct copy_floor_group {
    struct str collection;
    _Atomic(struct copy_floor *) current; /* of the copy that whoever names none was given last; NULL: none yet */
    _Atomic(struct copy_floor *) floors;  /* grows at its head, by whoever has the lock */
    struct copy_floor_group *next;
};

struct copy_floors {
    pthread_mutex_t lock; /* of the lists */
    struct copy_floor_group *groups;
};

struct copy_floors *copy_floors_create(void)
{
    struct copy_floors *floors = mem_calloc(1, sizeof(*floors));
    pthread_mutex_init(&floors->lock, NULL);
    return floors;
}

static void destroy_group(struct copy_floor_group *group)
{
    for (struct copy_floor *floor = group->floors, *next; floor != NULL; floor = next) {
        next = floor->next;
        free(floor);
    }
    free((char *)group->collection.base);
    free(group);
}

void copy_floors_destroy(struct copy_floors **slot)
{
    struct copy_floors *floors = *slot;
    *slot = NULL;
    if (floors == NULL)
        return;
    for (struct copy_floor_group *group; (group = floors->groups) != NULL;) {
        floors->groups = group->next;
        destroy_group(group);
    }
    pthread_mutex_destroy(&floors->lock);
    free(floors);
}

static struct copy_floor_group *find_group(struct copy_floors *floors, struct str collection)
{
    struct copy_floor_group *group = floors->groups;
    while (group != NULL && !str_equal(group->collection, collection))
        group = group->next;
    if (group != NULL)
        return group;
    group = mem_calloc(1, sizeof(*group));
    group->collection = (struct str){str_dup(collection), collection.len};
    group->next = floors->groups;
    return floors->groups = group;
}

static struct copy_floor *find_floor(struct copy_floor_group *group, uint32_t unit)
{
    struct copy_floor *floor = group->floors;
    while (floor != NULL && floor->unit != unit)
        floor = floor->next;
    if (floor != NULL)
        return floor;
    floor = mem_calloc(1, sizeof(*floor));
    floor->group = group;
    floor->unit = unit;
    floor->next = group->floors;
    atomic_store_explicit(&group->floors, floor, memory_order_release);
    return floor;
}

struct copy_floor *copy_floor_find(struct copy_floors *floors, struct str collection, uint32_t unit)
{
    pthread_mutex_lock(&floors->lock);
    struct copy_floor *floor = find_floor(find_group(floors, collection), unit);
    pthread_mutex_unlock(&floors->lock);
    return floor;
}

static bool raise_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t now = atomic_load_explicit(value, memory_order_relaxed);
    while (now < to)
        if (atomic_compare_exchange_weak_explicit(value, &now, to, memory_order_acq_rel, memory_order_relaxed))
            return true;
    return false;
}

static void raise_least(struct copy_floor *floor, uint64_t seq, uint64_t now_us)
{
    if (raise_to(&floor->least, seq))
        atomic_store_explicit(&floor->raised_us, now_us, memory_order_release);
}

/* What those who take any copy have been shown by another one than FLOOR's, and by those before it. */
static uint64_t shown_elsewhere(const struct copy_floor *floor)
{
    struct copy_floor *current = atomic_load_explicit(&floor->group->current, memory_order_acquire);
    if (current == NULL || current == floor)
        return 0;
    uint64_t shown = atomic_load_explicit(&current->shown, memory_order_acquire);
    uint64_t before = atomic_load_explicit(&current->least, memory_order_acquire);
    return shown > before ? shown : before;
}

uint64_t copy_floor_least(struct copy_floor *floor, bool named)
{
    uint64_t least = atomic_load_explicit(&floor->least, memory_order_acquire);
    uint64_t shown = named ? 0 : shown_elsewhere(floor);
    return shown > least ? shown : least;
}

void copy_floor_show(struct copy_floor *floor, uint64_t seq, uint64_t now_us)
{
    uint64_t elsewhere = shown_elsewhere(floor);
    if (elsewhere > 0)
        raise_least(floor, elsewhere, now_us);
    raise_to(&floor->shown, seq);
    if (atomic_load_explicit(&floor->group->current, memory_order_relaxed) != floor)
        atomic_store_explicit(&floor->group->current, floor, memory_order_release);
}

void copy_floor_raise(struct copy_floor *floor, uint64_t seq, uint64_t now_us)
{
    raise_least(floor, seq, now_us);
}

static void lower_to(_Atomic uint64_t *value, uint64_t to)
{
    uint64_t now = atomic_load_explicit(value, memory_order_relaxed);
    while (now > to)
        if (atomic_compare_exchange_weak_explicit(value, &now, to, memory_order_acq_rel, memory_order_relaxed))
            return;
}

void copy_floor_hear(struct copy_floor *floor, uint64_t seq, uint64_t begun_us)
{
    if (atomic_load_explicit(&floor->least, memory_order_acquire) <= seq ||
        atomic_load_explicit(&floor->raised_us, memory_order_acquire) >= begun_us)
        return;
    for (struct copy_floor *each = atomic_load_explicit(&floor->group->floors, memory_order_acquire); each != NULL;
         each = each->next) {
        lower_to(&each->least, seq);
        lower_to(&each->shown, seq);
    }
}
