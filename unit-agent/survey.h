/* SPDX-License-Identifier: Apache-2.0
 *
 * What XINFO STREAM says of a stream. Plain values.
 */
#ifndef AGENT_SURVEY_H
#define AGENT_SURVEY_H

#include "common/broker.h"
#include "common/error.h"
#include "common/stream_id.h"

struct survey {
    struct stream_id first; /* of the entries that it still holds; the highest id there is where it holds none */
    struct stream_id last;  /* ever given out */
    uint64_t added;         /* entries ever */
};

/* From the reply to XINFO STREAM, which is not NULL; a stream that does not exist holds nothing. */
int survey_read(const redisReply *reply, struct survey *survey, struct error *err) MUST_CHECK;

#endif
