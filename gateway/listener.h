/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening sockets of a worker, and the connections that came through them. Each worker owns one.
 */
#ifndef GATEWAY_LISTENER_H
#define GATEWAY_LISTENER_H

#include "common/error.h"

struct listener;
struct worker;

/* Listens on every address of ingress.listen and ingress.tls_listen, with SO_REUSEPORT: each worker has sockets of its
 * own. *err says which address cannot be had. */
int listener_create(struct worker *worker, struct listener **listener, struct error *err) MUST_CHECK;

/* Stops accepting and tells clients: idle connections are closed, others after the answer that is under way. */
void listener_stop(struct listener *listener);
void listener_destroy(struct listener **listener);

#endif
