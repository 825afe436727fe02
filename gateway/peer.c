/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/peer.h"

#include <arpa/inet.h>
#include <string.h>

#include "common/str.h"
#include "gateway/gateway.h"

#define MAPPED_BITS 96

static void map_v4(const struct in_addr *v4, struct in6_addr *v6)
{
    static const unsigned char prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(v6->s6_addr, prefix, sizeof(prefix));
    memcpy(v6->s6_addr + sizeof(prefix), v4, sizeof(*v4));
}

int peer_network_parse(struct peer_networks *networks, const char *text, struct error *err)
{
    struct str rest = str_of(text), host;
    char address[INET6_ADDRSTRLEN] = "";
    struct in_addr v4;
    struct peer_network network;
    uint64_t bits;
    str_next(&rest, '/', &host);
    if (host.len < sizeof(address))
        memcpy(address, host.base, host.len);
    unsigned offset = 0;
    if (inet_pton(AF_INET, address, &v4) == 1) {
        map_v4(&v4, &network.address);
        offset = MAPPED_BITS;
    } else if (inet_pton(AF_INET6, address, &network.address) != 1) {
        return error_set(err, ERROR_INPUT, "\"%s\" is no network: write it as 10.0.0.0/8 or fd00::/8", text);
    }
    if (rest.base == NULL)
        bits = 128 - offset;
    else if (!str_to_u64(rest, &bits) || bits > 128 - offset)
        return error_set(err, ERROR_INPUT, "\"%s\": the prefix length must be 0..%u", text, 128 - offset);
    network.bits = (unsigned)bits + offset;
    networks->items = mem_realloc(networks->items, (networks->count + 1) * sizeof(network));
    networks->items[networks->count++] = network;
    return 0;
}

int peer_networks_load(struct peer_networks *networks, const struct option_strings *texts, struct error *err)
{
    for (size_t i = 0; i < texts->count; i++)
        if (peer_network_parse(networks, texts->items[i], err) == -1)
            return error_at(err, "ingress.trusted_peers");
    return 0;
}

static bool in_network(const struct peer_network *network, const struct in6_addr *address)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->address.s6_addr, address->s6_addr, whole) != 0)
        return false;
    unsigned mask = 0xff00u >> rest & 0xff;
    return rest == 0 || ((network->address.s6_addr[whole] ^ address->s6_addr[whole]) & mask) == 0;
}

bool peer_in_networks(const struct peer_networks *networks, const struct sockaddr *address)
{
    struct in6_addr v6;
    if (address->sa_family == AF_INET)
        map_v4(&((const struct sockaddr_in *)address)->sin_addr, &v6);
    else if (address->sa_family == AF_INET6)
        v6 = ((const struct sockaddr_in6 *)address)->sin6_addr;
    else
        return address->sa_family == AF_UNIX;
    for (size_t i = 0; i < networks->count; i++)
        if (in_network(&networks->items[i], &v6))
            return true;
    return false;
}

bool peer_trusted(const struct gateway *gateway, h2o_conn_t *conn)
{
    struct sockaddr_storage address = {0};
    if (conn->callbacks->get_peername(conn, (struct sockaddr *)&address) == 0)
        return false;
    return peer_in_networks(&gateway->trusted_peers, (const struct sockaddr *)&address);
}
