/* SPDX-License-Identifier: Apache-2.0
 *
 * Mends what was changed by hand where collections are written. What should stand there is known from a unit's copy of
 * the bucket, its witness, where that can be proven: the witness is sound in itself, and its values make just the sum
 * that the origin kept; or a value still has the version and the check that it was written with, and the witness has
 * the value that they are of. That only the sum is wrong is believed where every unit has just the origin's values.
 * Values are written again, so that they get a new version and come to every unit and whoever watches. What nobody can
 * prove stays, and is told of. Owned by the chores; it has connections to the units' primaries only while something is
 * wrong.
 */
#ifndef AGENT_ORIGIN_MEND_H
#define AGENT_ORIGIN_MEND_H

#include <systemd/sd-event.h>

#include "common/store.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/bucket.h"
#include "unit-agent/config.h"

struct origin_mend;

struct origin_mend_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* the brokers'; NULL: none */
    struct agent_stats *stats;
    struct broker *(*broker)(void *arg); /* of the origin, READY; NULL: it is not for this agent to write there */
    uint64_t (*epoch)(void *arg);        /* of its record */
    void *arg;
};

struct origin_mend *origin_mend_create(sd_event *loop, const struct origin_mend_config *config);
/* When nothing that it asked of the origin is under way any more. */
void origin_mend_destroy(struct origin_mend **mend);

/* Which units may have copies, by TABLE, and where their primaries are, by STORE. */
void origin_mend_adopt(struct origin_mend *mend, const struct table *table);
void origin_mend_sync(struct origin_mend *mend, struct store *store);

/* Bucket NUMBER of COLLECTION was found wrong. True where that is news. */
bool origin_mend_take(struct origin_mend *mend, struct str collection, uint32_t number);

#endif
