/* SPDX-License-Identifier: Apache-2.0
 *
 * What the agent knows of one partition of one subscription: which entries it has read, whose turn it is, and how far
 * the cursor may move. Pure: no I/O and no clock, so that a simulation can drive it through any order of events.
 *
 * The promise that is kept here: a user's next message is handed out only after a cursor that holds the one before
 * it was confirmed by the unit's brokers. So an agent, or a primary, that dies repeats only the last message of each
 * user, in their order.
 *
 * Lifecycle: create -> restore (from the broker's cursor) -> add / acknowledge / begin_write / end_write ... -> reset,
 * which forgets everything and waits for restore, -> destroy. Owned by the inbox; it owns its messages.
 */
#ifndef AGENT_PARTITION_H
#define AGENT_PARTITION_H

#include "common/cursor.h"
#include "unit-agent/lane.h"
#include "unit-agent/message.h"
#include "unit-agent/observer.h"
#include "unit-agent/park.h"
#include "unit-agent/partition_guard.h"
#include "unit-agent/partition_hooks.h"
#include "unit-agent/partition_record.h"
#include "unit-agent/retry.h"
#include "unit-agent/subscription.h"

struct lease;

struct partition {
    char *topic, *subscription;
    unsigned number;
    bool broadcast; /* every agent has a cursor of its own */
    char *stream_key, *state_key, *cursor_key;
    const char *place;                /* the end of cursor_key: SUBSCRIPTION, in a broadcast SUBSCRIPTION@AGENT */
    const struct subscription *rules; /* NULL: it takes everything, by the unit's nodes */
    struct partition_hooks hooks;
    const struct observer *observer; /* NULL: none; may be set by whoever made the partition, as may be this: */
    const struct partition_guard *guard;
    bool restored, quiesced; /* quiesced: nothing is handed out */
    bool gated;              /* nothing beyond `covered` is handed out; set once, before anything is added */
    struct stream_id covered;

    struct span *head, *tail;   /* everything read beyond `watermark`, in stream order */
    struct stream_id last_read; /* reading goes on behind it */
    struct stream_id watermark; /* everything up to it is done and recorded */
    uint64_t passed;            /* messages up to it, by their numbers */
    uint64_t read;              /* messages up to last_read */
    struct cursor before;       /* what an earlier life had done beyond its watermark, and is not read again yet */

    struct lanes lanes;
    struct park park;
    struct retry retry; /* what becomes of messages that the app does not take */
    size_t undone;      /* messages of the stream that are not acknowledged, and not on their way to the park */
    size_t bytes;       /* of all messages here */
    struct message_queue leaving, done, recording;
    bool dirty;                /* there is something that the broker's cursor does not have */
    bool writing;              /* between begin_write and end_write */
    struct stream_id proposed; /* the watermark that is being written */
    struct stream_id recorded; /* the watermark that the broker has confirmed: trimming may go that far */

    /* the leases' */
    struct lease *lease;       /* NULL: it has none */
    struct partition *sibling; /* another one of the same lease */
    bool owned;                /* this agent may link it */
    uint32_t life;             /* counts its resets: what was asked in an earlier life says nothing in this one */

    /* the reader's */
    bool busy;        /* had entries lately, */
    uint64_t busy_us; /* monotonic: this late */

    /* the gate's */
    bool at_gate; /* waits to be covered, as */
    struct partition *next_gated;
    bool unproven; /* its cursor was written, which is to be covered too */

    /* the ledger's */
    bool linked;              /* compared with the broker since the connection was made: it may be read and written */
    bool linking;             /* being compared */
    uint64_t call, confirmed; /* the numbers of the last call that changed something, and of the last one answered */
    uint64_t last_call;       /* a hash of what the broker's cursor said of calls when it was restored */
    uint64_t total;           /* messages that the partition ever got, as the broker said last */
    int64_t retention_ms;
    struct trace_page *trace;        /* the traces'; NULL: none yet */
    bool queued;                     /* to be recorded: */
    struct partition *next_recorded; /* the next one of those */
};

struct partition_list {
    struct partition **items;
    size_t count;
};

struct partition *partition_create(const struct partition_name *name, struct partition_hooks hooks);
void partition_destroy(struct partition **partition); /* as reset first */

/* Takes over CURSOR. Entries are expected from behind its watermark on. */
void partition_restore(struct partition *partition, struct cursor *cursor);
void partition_reset(struct partition *partition);

/* The next entry of the stream. Returns false where it was known or done before. Messages are counted by the numbers in
 * their envelopes; where one has none, it counts as one more. */
bool partition_add(struct partition *partition, struct stream_id id, const struct envelope *envelope);

/* The next entry counts as done without being delivered. NUMBER: its message's; 0: unknown. */
void partition_skip(struct partition *partition, struct stream_id id, uint64_t number);

/* Entries up to ID may be handed out. */
void partition_cover(struct partition *partition, struct stream_id id);

/* Hands out nothing more, and takes back what is not in flight. What is in flight goes on. */
void partition_quiesce(struct partition *partition);
void partition_resume(struct partition *partition);
/* Nothing is in flight, and everything that was acknowledged is recorded. */
bool partition_rests(const struct partition *partition);

/* The app has taken MESSAGE, which the hook handed out. */
void partition_acknowledge(struct partition *partition, struct message *message);

/* The app has not taken it. It is to be tried again in WAIT_MS with the attempt that `attempt` says, and until then its
 * user waits in the park: */
void partition_park(struct partition *partition, struct message *message, int64_t wait_ms);
/* or never; REASON is static text, STATUS that of the last answer. Its user goes on. */
void partition_bury(struct partition *partition, struct message *message, long status, const char *reason);

/* Fills the cursor that is to be written. Only while `dirty` and not `writing`. */
void partition_begin_write(struct partition *partition, struct partition_record *record);
/* The broker has confirmed it: the users go on. Or it has not, and the next write holds the same again, and more. */
void partition_end_write(struct partition *partition, bool confirmed);

/* The broker says that LAST is the last entry that it has, of TOTAL messages that there ever were. Where everything was
 * read, what is missing before the end was deleted and is not waited for. */
void partition_survey(struct partition *partition, struct stream_id last, uint64_t total);

/* For the park: LANE is as it was, but not parked any more. */
void partition_proceed(struct partition *partition, struct lane *lane);

/* Messages that are not acknowledged and not parked: those in memory, and those that were not read as far as the last
 * survey knew. */
uint64_t partition_pending(const struct partition *partition);

/* When the oldest message that is not acknowledged came in; 0 where there is none in memory. */
uint64_t partition_oldest_us(const struct partition *partition);

#endif
