/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 client connections: libh2o speaks the protocol, and a guard on each connection looks at every frame before
 * libh2o does. It ends connections that cancel streams or send empty work in floods, and answers streams whose bodies
 * are too large or too slow. A worker's listener owns one struct h2_guards; a guard belongs to its socket.
 */
#ifndef GATEWAY_H2_GUARD_H
#define GATEWAY_H2_GUARD_H

#include <h2o.h>

struct h2_guards;
struct worker;

struct h2_guards *h2_guards_create(struct worker *worker);
void h2_guards_destroy(struct h2_guards **guards);

/* Serves SOCK in HTTP/2, guarded; its TLS handshake, if any, is done. */
void h2_guards_accept(struct h2_guards *guards, h2o_socket_t *sock);

/* Says GOAWAY: connections end with the answers to what they have asked. */
void h2_guards_drain(struct h2_guards *guards);

#endif
