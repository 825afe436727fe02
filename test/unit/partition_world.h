/* SPDX-License-Identifier: Apache-2.0
 *
 * A broker, an app and a deliverer around one partition of an agent, as small as they can be: a stream, a cursor, parks
 * and dead letters. The app fails the test where a user's messages come in another order.
 */
#ifndef TEST_UNIT_PARTITION_WORLD_H
#define TEST_UNIT_PARTITION_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit-agent/partition.h"

#define MOST 4000

/* What a write is to do to entry ENTRY of the stream. */
struct move {
    size_t entry;
    uint64_t serial;
    bool dead;
};

/* Entries of the stream, in order; FIRST and what is before it left. */
struct park_model {
    size_t entries[400], first, count;
};

struct world {
    uint64_t seed;
    struct {
        struct stream_id id;
        unsigned user, number; /* NUMBER: the user's own count */
        uint64_t n;            /* the partition's, from 1 */
    } stream[MOST];
    size_t length;
    uint64_t numbered;     /* n of the last one */
    unsigned produced[16]; /* by user */
    char watermark[STREAM_ID_TEXT];
    uint64_t passed, beyond;
    struct buf done;
    struct partition *partition; /* the agent's; dies in a crash */
    struct message *out[MOST];   /* handed out */
    size_t out_count;
    struct partition_record write; /* the cursor on its way */
    unsigned seen[16], last[16];   /* by user: how many different ones, and which one last, from 1 */
    size_t delivered, withdrawn;
    struct park_model parks[16];             /* the broker's, by user */
    uint64_t serial;                         /* of the last write that moved something */
    struct move moves[PARTITION_MOST_MOVES]; /* on their way */
    size_t move_count;
    bool buried[MOST]; /* by entry */
    size_t parked_ever;
    bool failing; /* the app fails now and then */
    struct partition_guard guard;
    bool guarding;   /* users are barred and admitted now and then */
    uint32_t barred; /* bit of each user who is not admitted */
};

extern const struct partition_name world_name;

/* 0 to SIDES - 1. */
uint64_t world_roll(struct world *world, uint64_t sides);
/* A message of USER comes into the stream; an entry is deleted from it by hand. */
void world_produce(struct world *world, unsigned user);
void world_delete_entry(struct world *world, size_t i);
/* The agent reads the next entry; false where there is none. */
bool world_read_next(struct world *world);
/* The app processes what was handed out; whether the agent hears of that is another matter. */
void world_deliver(struct world *world, const struct message *message);
struct message *world_take_out(struct world *world, size_t i);
void world_acknowledge(struct world *world, size_t i);
/* A cursor goes on its way; it lands in the broker, with what it moves. */
void world_begin_write(struct world *world);
void world_write_lands(struct world *world);
/* The agent takes over what the broker has. */
void world_restore(struct world *world);
/* The broker's answer to whether USER is due. */
void world_fetch(struct world *world, unsigned user);
/* Tells the broker what became of a head; LANDS and ANSWERED say how far that gets. */
void world_tell_head(struct world *world, bool lands, bool answered);
void world_agent_start(struct world *world);
void world_agent_die(struct world *world);
void world_start(struct world *world, uint64_t seed);
void world_end(struct world *world);
/* Counted one by one, and by the figures that stand beside the cursor. */
uint64_t world_undone_in_broker(const struct world *world);

#endif
