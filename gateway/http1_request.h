/* SPDX-License-Identifier: Apache-2.0
 *
 * How the head of an HTTP/1 request becomes a request of libh2o's.
 */
#ifndef GATEWAY_HTTP1_REQUEST_H
#define GATEWAY_HTTP1_REQUEST_H

#include <h2o.h>
#include <stdbool.h>

#include "common/http1.h"

/* Fills REQ, fresh from h2o_init_request(), from HEAD, which lies at BYTES: all is copied into REQ's pool, since later
 * reads may move or overwrite those bytes. Field names become lower-case; Host, Content-Length, Transfer-Encoding,
 * Expect and Upgrade are taken off the fields, as libh2o does. */
void http1_request_fill(h2o_req_t *req, const struct http1_head *head, const char *bytes, bool tls);

#endif
