/* SPDX-License-Identifier: Apache-2.0
 *
 * Header fields of HTTP/2 requests that libh2o lets through and that an edge must not: HTTP/1 nodes behind the gateway
 * would read them otherwise than it does.
 */
#ifndef GATEWAY_H2_FIELDS_H
#define GATEWAY_H2_FIELDS_H

#include <h2o.h>

#include "router/verdict.h"

/* VERDICT_OK where the fields of REQ are those of RFC 9113, section 8, and within the limits; else what to answer, and
 * a sentence in *FAULT. Takes off the trailers, which libh2o puts among the fields, and Expect. Call it first. */
enum verdict h2_fields_check(h2o_req_t *req, const char **fault);

/* Notes how many fields REQ has before its trailers are added. */
void h2_fields_expect_trailers(h2o_req_t *req);

#endif
