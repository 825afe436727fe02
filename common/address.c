/* SPDX-License-Identifier: Apache-2.0 */
#include "common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

static int split(const char *text, char *host, size_t host_room, const char **port, struct error *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    struct str name = {text, len};
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        name = (struct str){text + 1, len - 2};
    uint64_t number;
    if (colon == NULL || name.len == 0 || name.len >= host_room || !str_to_u64(str_of(colon + 1), &number) ||
        number > 65535)
        return error_set(err, ERROR_INPUT, "\"%s\" is no address: write HOST:PORT", text);
    memcpy(host, name.base, name.len);
    host[name.len] = '\0';
    *port = colon + 1;
    return 0;
}

static int look_up(const char *host, const char *port, int flags, struct address *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV}, *info;
    int failed = getaddrinfo(host, port, &hints, &info);
    if (failed != 0)
        return failed;
    memset(address, 0, sizeof(*address));
    memcpy(&address->storage, info->ai_addr, info->ai_addrlen);
    address->len = info->ai_addrlen;
    freeaddrinfo(info);
    return 0;
}

int address_parse(const char *text, struct address *address, struct error *err)
{
    char host[128];
    const char *port = NULL;
    if (split(text, host, sizeof(host), &port, err) != 0)
        return -1;
    if (look_up(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, port, AI_NUMERICHOST, address) != 0)
        return error_set(err, ERROR_INPUT, "\"%s\": the host must be a numeric address or localhost", text);
    return 0;
}

int address_resolve(const char *text, struct address *address, struct error *err)
{
    char host[128];
    const char *port = NULL;
    if (split(text, host, sizeof(host), &port, err) != 0)
        return -1;
    int failed = look_up(host, port, 0, address);
    return failed == 0 ? 0 : error_set(err, ERROR_UNREACHABLE, "%s: %s", text, gai_strerror(failed));
}

int address_check(const char *text, struct error *err)
{
    char host[256];
    const char *port;
    return split(text, host, sizeof(host), &port, err);
}

static const char *advice(int system_errno)
{
    switch (system_errno) {
    case EADDRINUSE:
        return ": another process listens there: stop it, or choose another port";
    case EACCES:
        return ": ports below 1024 need the capability CAP_NET_BIND_SERVICE";
    case EADDRNOTAVAIL:
        return ": no interface of this machine has that address";
    default:
        return "";
    }
}

int address_refuse(struct error *err, int system_errno, const char *text)
{
    return error_set(err, ERROR_SYSTEM, "cannot listen on %s: %s%s", text, strerror(system_errno),
                     advice(system_errno));
}

bool address_is_loopback(const struct address *address)
{
    if (address->storage.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
}

unsigned address_port(const struct address *address)
{
    return ntohs(address->storage.ss_family == AF_INET ? ((const struct sockaddr_in *)&address->storage)->sin_port
                                                       : ((const struct sockaddr_in6 *)&address->storage)->sin6_port);
}

void address_format(const struct address *address, char *text)
{
    char host[INET6_ADDRSTRLEN] = "";
    bool v6 = address->storage.ss_family == AF_INET6;
    const void *binary = v6 ? (const void *)&((const struct sockaddr_in6 *)&address->storage)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)&address->storage)->sin_addr;
    inet_ntop(address->storage.ss_family, binary, host, sizeof(host));
    snprintf(text, ADDRESS_TEXT_SIZE, v6 ? "[%s]:%u" : "%s:%u", host, address_port(address));
}
