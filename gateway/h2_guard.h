/* SPDX-License-Identifier: Apache-2.0
 *
 * What libh2o lets HTTP/2 clients do and an edge must not: floods of cancelled streams and of frames that cost work
 * and carry nothing, and header fields that HTTP/1 nodes would read otherwise. A guard belongs to its connection.
 */
#ifndef GATEWAY_H2_GUARD_H
#define GATEWAY_H2_GUARD_H

#include <h2o.h>
#include <stdbool.h>

struct worker;

/* Serves SOCK in HTTP/2, guarded; its TLS handshake, if any, is done. */
void h2_guard_accept(struct worker *worker, h2o_socket_t *sock);

/* False, with a sentence in *fault, where the fields of an HTTP/2 request are not those of RFC 9113, section 8. */
bool request_fields_acceptable(h2o_req_t *req, const char **fault);

#endif
