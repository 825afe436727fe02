/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes through all buckets of a collection at one broker, round after round, and finds what was changed there behind
 * the functions' back: a value, a key, a type, a sum, the list of keys. It asks for few entries at a time, one question
 * under way, and pauses for as long as the broker has worked for it: that has half of its time for others at the least.
 * Keys that the list lacks, or has too many, it mends by itself; of the rest it tells. Owned by who made it.
 */
#ifndef AGENT_BUCKET_WALK_H
#define AGENT_BUCKET_WALK_H

#include <systemd/sd-event.h>

#include "unit-agent/agent_stats.h"
#include "unit-agent/bucket.h"

struct bucket_walk;

struct bucket_walk_config {
    const char *at;        /* "ldc:{UNIT}:c/COLLECTION/", borrowed for life, as all here */
    const int64_t *digest; /* within how many ms a round is to end; looked at again all the time */
    struct agent_stats *stats;
    struct broker *(*broker)(void *arg); /* READY; NULL: there is nothing to look at now */
    uint64_t (*epoch)(void *arg);        /* of the broker's record */
    void (*found)(void *arg, const struct bucket *bucket, enum bucket_fault fault, size_t where); /* as bucket_judge */
    void *arg;
};

struct bucket_walk *bucket_walk_create(sd_event *loop, const struct bucket_walk_config *config);
/* When nothing that it asked is under way any more: its broker is gone, or has said so. */
void bucket_walk_destroy(struct bucket_walk **walk);

#endif
