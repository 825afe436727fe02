/* SPDX-License-Identifier: Apache-2.0
 *
 * What the broker's function `survey` says of a partition. Plain values.
 */
#ifndef AGENT_SURVEY_H
#define AGENT_SURVEY_H

#include "common/broker.h"
#include "common/error.h"
#include "common/stream_id.h"

struct survey {
    struct stream_id first, last_there; /* of the entries that the stream holds; where it holds none: the highest id
                                           there is, and the lowest */
    struct stream_id last;              /* ever given out */
    uint64_t total;                     /* messages ever */
    struct str owner;                   /* of the lease; empty: nobody. Borrowed from the reply */
};

/* From the AT-th answer in the reply, which is not NULL; a stream that does not exist holds nothing. */
int survey_read(const redisReply *reply, size_t at, struct survey *survey, struct error *err) MUST_CHECK;

#endif
