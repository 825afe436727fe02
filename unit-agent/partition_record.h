/* SPDX-License-Identifier: Apache-2.0
 *
 * A cursor as it is to be written: what a partition fills, and the ledger sends. Owned by the ledger.
 */
#ifndef AGENT_PARTITION_RECORD_H
#define AGENT_PARTITION_RECORD_H

#include "common/str.h"
#include "common/stream_id.h"

#define PARTITION_MOST_MOVES 64 /* in one write, since the broker does nothing else meanwhile */

struct partition_record {
    struct stream_id watermark;
    uint64_t passed, beyond;
    size_t moves;    /* messages in `recording` that do not just become done, at most PARTITION_MOST_MOVES */
    struct buf done; /* zero-terminated text; reused from write to write */
};

#endif
