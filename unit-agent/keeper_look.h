/* SPDX-License-Identifier: Apache-2.0
 *
 * One look at one broker: what it said of itself, and when it was asked. A plain value.
 */
#ifndef AGENT_KEEPER_LOOK_H
#define AGENT_KEEPER_LOOK_H

#include "common/broker_record.h"

#define KEEPER_LINKS_MOST   16
#define KEEPER_ADDRESS_SIZE 64

/* A connection over which a replica is attached, as the primary sees it. */
struct keeper_link {
    uint64_t id; /* for CLIENT KILL */
    char at[KEEPER_ADDRESS_SIZE];
    uint64_t since_us; /* monotonic: the end of the first look that showed it */
};

/* What the primary says of a replica's progress. */
struct keeper_progress {
    char ip[KEEPER_ADDRESS_SIZE];
    uint64_t port, offset, lag_s;
    bool online;
};

/* Offsets are those of the stream of writes that replicas follow. Times are monotonic. */
struct keeper_look {
    uint64_t began_us, ended_us; /* 0: there was no look yet */
    bool is_primary;
    char run_id[BROKER_RUN_ID_SIZE];
    char dataset[BROKER_DATASET_SIZE]; /* "" where the data carry none */
    uint64_t epoch;                    /* that the data are stamped with */
    uint64_t writes;                   /* acknowledged ones that the data hold */
    uint64_t offset;
    bool aof_on, aof_sound; /* the append-only file is kept; its last write went well */
    bool rewriting;         /* it is being rewritten, or will be */
    bool rewrite_sound;     /* the last rewrite went well */
    bool fsync_always;
    /* of a primary */
    uint64_t sync_full, sync_partial;
    struct keeper_link links[KEEPER_LINKS_MOST];
    unsigned link_count;
    struct keeper_progress progress[KEEPER_LINKS_MOST];
    unsigned progress_count, online;
    /* of a replica */
    bool link_up, syncing;
    char link_at[KEEPER_ADDRESS_SIZE]; /* its end of the connection to its primary; "" where there is none */
};

/* INFO with the sections server, replication, stats and persistence. False where that is not what it is. */
bool keeper_look_info(struct keeper_look *look, struct str info);
/* CLIENT LIST TYPE replica, and CLIENT LIST TYPE master. */
void keeper_look_replicas(struct keeper_look *look, struct str clients);
void keeper_look_primary(struct keeper_look *look, struct str clients);

/* The link that ends at AT; NULL where there is none. */
const struct keeper_link *keeper_look_link(const struct keeper_look *primary, const char *at);

/* What the primary says of the replica that is attached over LINK and listens on PORT; NULL where it says nothing. */
const struct keeper_progress *keeper_look_progress(const struct keeper_look *primary, const struct keeper_link *link,
                                                   unsigned port);

#endif
