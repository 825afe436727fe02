/* SPDX-License-Identifier: Apache-2.0
 *
 * The door of the gateway: every request, of HTTP/1 and HTTP/2 alike, comes in here, is given its user and its unit,
 * and leaves with a carrier or a problem document.
 */
#ifndef GATEWAY_REQUEST_H
#define GATEWAY_REQUEST_H

#include <h2o.h>

/* The handler that each worker registers for "/". Always takes the request: returns 0. */
int request_on_req(h2o_handler_t *handler, h2o_req_t *req);

#endif
