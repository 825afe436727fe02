/* SPDX-License-Identifier: Apache-2.0
 *
 * How new an answer of a collection has to be, as the client says it, and how new it is, as the answer says it. The
 * fields are described in docs/COLLECTIONS.md.
 */
#ifndef GATEWAY_FRESHNESS_H
#define GATEWAY_FRESHNESS_H

#include <h2o.h>

#include "common/error.h"
#include "common/str.h"

#define FRESHNESS_ANY INT64_MAX

struct freshness {
    uint64_t min_version; /* LDC-Min-Version; 0: none is asked for */
    int64_t max_age_ms;   /* Cache-Control: max-age, no-cache; FRESHNESS_ANY: it says nothing */
};

/* What REQ asks for. False: LDC-Min-Version is no number. */
bool freshness_read(const h2o_req_t *req, struct freshness *freshness) MUST_CHECK;

enum freshness_warning {
    FRESHNESS_GOOD = 0,
    FRESHNESS_STALE,   /* the copy is behind its bound */
    FRESHNESS_UNHEARD, /* and the core unit does not answer */
};

/* Where an answer comes from. */
struct standing {
    uint64_t seq;     /* that the copy has applied */
    uint64_t lag_us;  /* it holds all that happened until so long ago */
    uint64_t changes; /* that it lacks, as far as is known */
    bool counted;     /* something is known of that */
    enum freshness_warning warning;
};

/* Adds Age, LDC-Collection-Sequence, LDC-Zone-Lag and Warning to the answer to REQ. */
void freshness_add_headers(h2o_req_t *req, const struct standing *standing);

#endif
