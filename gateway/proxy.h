/* SPDX-License-Identifier: Apache-2.0
 *
 * The proxy carrier: requests on their way to the HTTP nodes of the units. Each worker owns one, with its pools of
 * idle connections.
 */
#ifndef GATEWAY_PROXY_H
#define GATEWAY_PROXY_H

struct proxy;
struct worker;

struct proxy *proxy_create(struct worker *worker);
/* Closes the tunnels. Their clients' sockets came from the listener, so call it before the listener goes; requests that
 * are still there need the proxy itself until then. */
void proxy_close_tunnels(struct proxy *proxy);
void proxy_destroy(struct proxy **proxy);

#endif
