/* SPDX-License-Identifier: Apache-2.0
 *
 * Heads on their way through the proxy: the client's request as the node gets it, the node's answer as the client
 * gets it. Fields of one hop are dropped both ways; who asked, where it was routed and which way it came is added.
 * Results live in the request's pool.
 */
#ifndef GATEWAY_FORWARD_H
#define GATEWAY_FORWARD_H

#include "gateway/exchange.h"
#include "gateway/response.h"

/* The head of EXCHANGE's request for a node of its unit; the same for each of them. VIA: this gateway's name.
 * UPGRADE: ask for the protocol of req->upgrade. */
h2o_iovec_t forward_request_head(struct exchange *exchange, struct str via, bool upgrade);

/* Puts status, reason, length and fields of RESPONSE, and the exchange's own fields, into its request's `res`. They
 * are copied: RESPONSE's bytes may go. */
void forward_response_head(struct exchange *exchange, const struct response *response, struct str via);

/* The whole head of a 101 answer for an HTTP/1.1 client, as RESPONSE and the exchange's own fields say. */
struct str forward_upgrade_head(struct exchange *exchange, const struct response *response, struct str via);

/* Whether the request's Connection field declares any field, or the one called NAME, to be of this hop. Fields that say
 * who the user is are of no hop: Cookie, Authorization, and the header sources of the exchange's rules. */
bool forward_connection_names_any(const h2o_req_t *req);
bool forward_connection_names(const struct exchange *exchange, const h2o_iovec_t *name);

#endif
