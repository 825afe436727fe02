/* SPDX-License-Identifier: Apache-2.0
 *
 * The users of a partition that are parked: their messages wait in the broker, each user's in a stream of its own, and
 * only the heads of those that are due are here. Pure, and a part of struct partition, which has the other half: what
 * is read from the partition's stream and goes to the park.
 *
 * Lifecycle of a head: fetched (handed out) -> ended by the deliverer (partition_acknowledge, partition_park or
 * partition_bury) -> taken by who tells the broker -> left, or ended again where the broker's answer was lost.
 */
#ifndef AGENT_PARK_H
#define AGENT_PARK_H

#include "unit-agent/message.h"

struct partition;
struct partition_name;

#define PARK_BARRED_MS  250 /* until who must wait for others is looked at again */
#define PARK_MOST_HEADS 32  /* of a partition, in memory at once */

struct park {
    char *users_key, *tries_key, *dead_key, *prefix; /* PREFIX and the user make the key of the user's stream */
    size_t user_count;                               /* parked users; their lanes say so */
    uint64_t messages, dead;                         /* in parks, and dead letters: as the broker said last */
    uint64_t serial;                                 /* of the last write that moved something; never falls */
    struct message *heads;                           /* fetched and not left, through `next` */
    size_t head_count;
    struct message_queue ended;

    /* parking's */
    uint64_t due_us; /* monotonic; when to ask who is due */
    bool asking;
};

void park_name(struct park *park, const struct partition_name *name, const char *cursor_name);
void park_free(struct park *park);

/* The broker has USER among the parked. To be called between partition_restore and the first message. */
void park_add_user(struct partition *partition, struct str user);

/* ENVELOPE is the head of its user's park, in which it has entry ID, after ATTEMPTS that failed. Where the partition's
 * guard does not admit it, it has ended at once, to be tried again later. False, and it is not
 * taken, while that entry is not recorded as parked, or when its user has a head here, or while nothing is handed out.
 */
bool park_fetch(struct partition *partition, struct stream_id id, const struct envelope *envelope, uint32_t attempts);

/* A head that has ended and of which the broker does not know; its state becomes RECORDING. NULL: there is none. */
struct message *park_take_ended(struct partition *partition);
/* It is not known whether the broker knows. */
void park_end_again(struct partition *partition, struct message *head);
/* The broker knows; HEAD is gone. MORE: its user is still parked. */
void park_leave(struct partition *partition, struct message *head, bool more);

/* A head has ended and the broker does not know. */
bool park_owes(const struct park *park);

/* For the partition: HEAD got its fate; drops those that are READY or BACKING_OFF; drops all. */
void park_end(struct partition *partition, struct message *head);
void park_withdraw(struct partition *partition);
void park_reset(struct partition *partition);

#endif
