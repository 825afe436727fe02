/* SPDX-License-Identifier: Apache-2.0
 *
 * What readers of a copy have seen elsewhere, in another unit's copy or at the origin, where that was read in its
 * place: below that the copy may not be read. One for each unit and collection, shared by all threads; they live as
 * long as their owner, the gateway.
 */
#ifndef GATEWAY_COPY_FLOOR_H
#define GATEWAY_COPY_FLOOR_H

#include <stdatomic.h>

#include "common/str.h"

struct copy_floors;

struct copy_floor {
    _Atomic uint64_t least;     /* the sequence that the copy must have applied to be read */
    _Atomic uint64_t raised_us; /* when that was last raised; monotonic */
    _Atomic uint64_t shown;     /* the highest that readers of this very copy have seen */
    struct copy_floor_group *group;
    uint32_t unit; /* id */
    struct copy_floor *next;
};

struct copy_floors *copy_floors_create(void);
void copy_floors_destroy(struct copy_floors **floors);

/* Makes it where there is none. From any thread. */
struct copy_floor *copy_floor_find(struct copy_floors *floors, struct str collection, uint32_t unit);

/* The sequence that FLOOR's copy must have applied for its next reader. NAMED: who asked for this very unit. Whoever
 * takes any copy may not go below what the last such reader was shown. */
uint64_t copy_floor_least(struct copy_floor *floor, bool named);

/* The copy, or the origin where FLOOR is the origin's, has shown SEQ to a reader who takes any copy. */
void copy_floor_show(struct copy_floor *floor, uint64_t seq, uint64_t now_us);

/* The origin was read in the copy's place, and showed SEQ. */
void copy_floor_raise(struct copy_floor *floor, uint64_t seq, uint64_t now_us);

/* The origin stood at SEQ when it was read, from BEGUN_US on. What copies had shown before cannot be above that, unless
 * the origin has lost data: then there is nothing left to go back from. */
void copy_floor_hear(struct copy_floor *floor, uint64_t seq, uint64_t begun_us);

#endif
