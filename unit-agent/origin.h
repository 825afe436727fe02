/* SPDX-License-Identifier: Apache-2.0
 *
 * A unit from which users came, and what it still has of them: one crossing for each partition of each shared
 * subscription there. Belongs to the arrivals.
 */
#ifndef AGENT_ORIGIN_H
#define AGENT_ORIGIN_H

#include "common/arrival_record.h"
#include "common/document_cache.h"
#include "unit-agent/partition.h"
#include "unit-agent/primary.h"

struct origin;

/* One partition of a subscription at the origin. */
struct crossing {
    struct origin *origin;
    const struct table_topic *topic; /* of the origin's table */
    struct str subscription;
    unsigned number;
    char *stream, *cursor, *parked, *parks; /* keys */
    char fence[STREAM_ID_TEXT];             /* the last entry that counts; "": not known yet */
    bool passed;                            /* by the cursor */
    char *users;                            /* who is parked, each zero-terminated; NULL: nobody */
    size_t users_len;
    bool asked;
};

struct origin {
    struct origin *next;
    struct arrival arrival;
    struct table *table; /* the rules that the users left with */
    enum zone zone;
    struct primary primary;
    struct crossing *crossings;
    size_t crossing_count;
    bool listed;     /* by the record that is being read */
    char fault[120]; /* the broker's refusal, as the log told it last */
    void (*changed)(void *arg);
    void *arg;
};

/* TABLE: one reference, taken over. CHANGED is told of crossings that have opened further. */
struct origin *origin_create(sd_event *loop, const struct agent_config *options, const char *password,
                             const struct arrival *arrival, struct table *table, enum zone zone,
                             void (*changed)(void *arg), void *arg);
void origin_destroy(struct origin **origin);

/* Where its primary is now, by its broker record in STORE, or by its rules where there is none; by CACHE at first,
 * while the store is away: nobody fails over then. What rules TABLE, which are in force, no longer deliver is not
 * waited for. */
void origin_follow(struct origin *origin, struct store *store, struct document_cache *cache, const struct table *table);

/* Asks its broker about all that is not over. */
void origin_look(struct origin *origin);

/* Whether MESSAGE, which is of PARTITION, must wait for what is left at the origin. */
bool origin_keeps_back(const struct origin *origin, const struct partition *partition, const struct message *message);

/* Nothing is left there. */
bool origin_is_over(const struct origin *origin);

#endif
