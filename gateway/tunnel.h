/* SPDX-License-Identifier: Apache-2.0
 *
 * Upgraded connections: once node and client have switched protocols (WebSocket), bytes are copied both ways, no
 * faster than the slower side takes them. Each worker owns its tunnels; a tunnel keeps the view that it began with
 * and outlives the rules and the request that made it.
 */
#ifndef GATEWAY_TUNNEL_H
#define GATEWAY_TUNNEL_H

#include "gateway/exchange.h"
#include "gateway/timers.h"

struct tunnels;

struct tunnels *tunnels_create(struct worker *worker, struct timers *timers);
/* Closes those that have both their sockets; the others end with their clients' connections. */
void tunnels_close(struct tunnels *tunnels);
/* There are none any more. */
void tunnels_destroy(struct tunnels **tunnels);

/* Answers EXCHANGE with HEAD and joins its client with SOCKET, which it takes over, and so does it NODE's count of one
 * in flight. FIRST: what the node has sent behind its answer; copied. False: the client's protocol cannot be switched,
 * and nothing was answered. */
bool tunnel_open(struct tunnels *tunnels, struct exchange *exchange, struct str head, struct node *node,
                 h2o_socket_t *socket, struct str first);

#endif
