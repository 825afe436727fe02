/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the logs of all copies that follow, behind what each has read, by one XREAD at a time on a connection of its
 * own to the core unit's primary, since it blocks; and has what it read covered: by a claim, or, where changes flow and
 * the read does not block, by a WAIT behind it in the same question. Embedded in the copies.
 */
#ifndef AGENT_COPY_READER_H
#define AGENT_COPY_READER_H

#include "unit-agent/copy_source.h"

struct copies;
struct copy;

/* A copy in an XREAD, as it was then; or in a claim, which is for the first so many entries of its queue. */
struct copy_read {
    struct copy *copy;
    uint32_t life;
    uint64_t added;
};

struct copy_reads {
    struct copy_read *items;
    size_t count, room;
};

struct copy_reader {
    struct copies *copies;
    struct primary primary;
    struct copy_reads asked, claimed, unproven; /* the last: by the read whose proof is under way */
    bool reading, claiming;
    bool flows;   /* the last read brought something, and so may the next one at once */
    size_t most;  /* entries that the next one is to bring of all logs, */
    long entries; /* and the one under way of each, at most */
    struct copy_claim claim;
    struct cover cover;
    sd_event_source *turn;
    uint64_t next_us;   /* monotonic: not before */
    size_t entry_bytes; /* how large an entry is, guessed from what was seen lately */
};

void copy_reader_init(struct copy_reader *reader, struct copies *copies);
void copy_reader_close(struct copy_reader *reader);

/* The core unit's primary; empty: there is none. */
void copy_reader_adopt(struct copy_reader *reader, struct str primary);

/* There may be something to read that there was not before. */
void copy_reader_wake(struct copy_reader *reader);

#endif
