/* SPDX-License-Identifier: Apache-2.0
 *
 * The users of a partition: for each one that has messages in memory, or that is parked, a lane that keeps its messages
 * in order. Part of a partition, which owns it; lanes own their names and nothing else.
 */
#ifndef AGENT_LANE_H
#define AGENT_LANE_H

#include "unit-agent/message.h"

struct lane {
    struct lane *chain;
    uint64_t hash;
    struct message *head, *tail; /* read from the stream, in its order, through `next` */
    struct message *fetched;     /* read from the user's park; NULL: none */
    bool parked;                 /* the user's messages go to its park, or are on their way there */
    size_t user_len;
    char user[]; /* zero-terminated */
};

/* A hash of lanes. Zero-initialise it. */
struct lanes {
    struct lane **slots; /* [mask + 1]; NULL while there are none */
    size_t mask, count;
};

struct lane *lanes_find(const struct lanes *lanes, struct str user); /* NULL where there is none */
struct lane *lanes_get(struct lanes *lanes, struct str user);        /* makes it where there is none */

/* Puts MESSAGE behind the others of LANE. */
void lane_append(struct lane *lane, struct message *message);

/* LANE has nothing left to say: no messages, not parked. */
bool lane_is_idle(const struct lane *lane);
void lanes_remove(struct lanes *lanes, struct lane *lane);
void lanes_clear(struct lanes *lanes);

#endif
