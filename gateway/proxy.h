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
void proxy_destroy(struct proxy **proxy);

#endif
