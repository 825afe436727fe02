/* SPDX-License-Identifier: Apache-2.0
 *
 * Sees to it that the unit's copy of a collection holds what the origin holds, whatever was done to it: looks through
 * all of its buckets once a digest interval (bucket_walk.h), takes what digests and operators doubt, and repairs each
 * such bucket from the origin's, one after the other. What is wrong at the origin is not copied: that is for the core
 * unit's own agent to mend. The log of the copy is trimmed besides. Part of a copy, which owns it; does something only
 * while the copy is settled.
 */
#ifndef AGENT_COPY_SCRUB_H
#define AGENT_COPY_SCRUB_H

#include <stddef.h>

struct copy;
struct copy_scrub;

struct copy_scrub *copy_scrub_create(struct copy *copy);
/* When nothing that it asked is under way any more. */
void copy_scrub_destroy(struct copy_scrub **scrub);

/* Buckets that are known to be wrong, and not repaired yet. */
size_t copy_scrub_wrong(const struct copy_scrub *scrub);

#endif
