/* SPDX-License-Identifier: Apache-2.0
 *
 * Which clients may steer the gateway by LDC-* headers and tell it where a request came from: those in the networks of
 * ingress.trusted_peers.
 */
#ifndef GATEWAY_PEER_H
#define GATEWAY_PEER_H

#include <h2o.h>
#include <netinet/in.h>

#include "common/error.h"
#include "common/options.h"
#include "common/str.h"

struct gateway;

/* One network: addresses are kept as IPv6, IPv4 ones mapped (::ffff:a.b.c.d). */
struct peer_network {
    struct in6_addr address;
    unsigned bits;
};

struct peer_networks {
    struct peer_network *items;
    size_t count;
};

/* Parses "10.0.0.0/8", "::1/128" or a single address, appending to NETWORKS, which the caller frees (items). */
int peer_network_parse(struct peer_networks *networks, const char *text, struct error *err) MUST_CHECK;
/* All of TEXTS, into NETWORKS (zeroed). The caller frees its items also when it fails. */
int peer_networks_load(struct peer_networks *networks, const struct option_strings *texts,
                       struct error *err) MUST_CHECK;
bool peer_in_networks(const struct peer_networks *networks, const struct sockaddr *address);

/* Clients on a Unix socket, who have no address, are trusted: the file's mode says who they are. */
bool peer_trusted(const struct gateway *gateway, h2o_conn_t *conn);

#endif
