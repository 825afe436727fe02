/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/lane.h"

#include <stdlib.h>
#include <xxhash.h>

#define LANES_AT_FIRST 64

static bool is_of(const struct lane *lane, struct str user, uint64_t hash)
{
    return lane->hash == hash && str_equal((struct str){lane->user, lane->user_len}, user);
}

static struct lane **find_slot(const struct lanes *lanes, struct str user, uint64_t hash)
{
    struct lane **at = &lanes->slots[hash & lanes->mask];
    while (*at != NULL && !is_of(*at, user, hash))
        at = &(*at)->chain;
    return at;
}

struct lane *lanes_find(const struct lanes *lanes, struct str user)
{
    return lanes->slots != NULL ? *find_slot(lanes, user, XXH3_64bits(user.base, user.len)) : NULL;
}

static void resize(struct lanes *lanes, size_t size)
{
    struct lane **slots = mem_calloc(size, sizeof(struct lane *));
    for (size_t i = 0; lanes->slots != NULL && i <= lanes->mask; i++)
        for (struct lane *lane; (lane = lanes->slots[i]) != NULL;) {
            lanes->slots[i] = lane->chain;
            struct lane **slot = &slots[lane->hash & (size - 1)];
            lane->chain = *slot;
            *slot = lane;
        }
    free(lanes->slots);
    lanes->slots = slots;
    lanes->mask = size - 1;
}

struct lane *lanes_get(struct lanes *lanes, struct str user)
{
    uint64_t hash = XXH3_64bits(user.base, user.len);
    if (lanes->slots == NULL) /* most of many partitions have nothing to do most of the time */
        resize(lanes, LANES_AT_FIRST);
    struct lane *lane = *find_slot(lanes, user, hash);
    if (lane != NULL)
        return lane;
    if (++lanes->count > lanes->mask)
        resize(lanes, (lanes->mask + 1) * 2);
    struct lane **slot = &lanes->slots[hash & lanes->mask];
    lane = mem_calloc(1, sizeof(*lane) + user.len + 1);
    lane->chain = *slot;
    lane->hash = hash;
    lane->user_len = user.len;
    if (user.len > 0)
        memcpy(lane->user, user.base, user.len);
    *slot = lane;
    return lane;
}

void lane_append(struct lane *lane, struct message *message)
{
    message->lane = lane;
    if (lane->tail != NULL)
        lane->tail->next = message;
    else
        lane->head = message;
    lane->tail = message;
}

bool lane_is_idle(const struct lane *lane)
{
    return lane->head == NULL && lane->fetched == NULL && !lane->parked;
}

void lanes_remove(struct lanes *lanes, struct lane *lane)
{
    struct lane **slot = &lanes->slots[lane->hash & lanes->mask];
    while (*slot != lane)
        slot = &(*slot)->chain;
    *slot = lane->chain;
    free(lane);
    if (--lanes->count == 0) {
        free(lanes->slots);
        lanes->slots = NULL;
    }
}

void lanes_clear(struct lanes *lanes)
{
    for (size_t i = 0; lanes->slots != NULL && i <= lanes->mask; i++)
        for (struct lane *lane; (lane = lanes->slots[i]) != NULL;) {
            lanes->slots[i] = lane->chain;
            free(lane);
        }
    free(lanes->slots);
    *lanes = (struct lanes){0};
}
