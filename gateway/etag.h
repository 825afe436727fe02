/* SPDX-License-Identifier: Apache-2.0
 *
 * Tags of the values of collections (RFC 9110, 8.8.3): "VERSION". Texts live in the request's pool.
 */
#ifndef GATEWAY_ETAG_H
#define GATEWAY_ETAG_H

#include <h2o.h>

#include "common/error.h"
#include "common/str.h"

#define ETAG_MOST 64 /* tags of one request that are versions */

/* Adds ETag and LDC-Version to the answer. */
void etag_add(h2o_req_t *req, uint64_t version);
/* LDC-Version alone: where there is nothing that the tag could be of. */
void etag_add_version(h2o_req_t *req, uint64_t version);

/* Appends to OUT what If-Match and If-None-Match make of a write, as ldc1_c_put takes it: nothing, or which versions
 * the value must have, or must not have. Tags that are no version match nothing. False where they cannot be read, with
 * a static sentence in *FAULT. */
bool etag_condition(const h2o_headers_t *headers, struct buf *out, const char **fault) MUST_CHECK;

/* The same of the values of such headers; base NULL: there is none. */
bool etag_condition_of(struct str if_match, struct str if_none_match, struct buf *out) MUST_CHECK;

/* Whether VERSION is what the client of a read wants: If-Match, if it is there. */
bool etag_is_wanted(const h2o_headers_t *headers, uint64_t version);
/* Whether he has VERSION already: If-None-Match, where weak tags are as good as others. */
bool etag_is_known(const h2o_headers_t *headers, uint64_t version);

#endif
