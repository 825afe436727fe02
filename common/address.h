/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a socket is bound, or a datagram goes: the text that says so, taken apart. A plain value.
 */
#ifndef COMMON_ADDRESS_H
#define COMMON_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/str.h"

struct address {
    struct sockaddr_storage storage;
    socklen_t len;
};

#define ADDRESS_TEXT_SIZE 64

/* "HOST:PORT" with a numeric host or localhost; an IPv6 host stands in brackets. */
int address_parse(const char *text, struct address *address, struct error *err) MUST_CHECK;

/* The same with any host's name, which is looked up: that may take seconds. */
int address_resolve(const char *text, struct address *address, struct error *err) MUST_CHECK;

/* Whether it is of that form; nothing is looked up. */
int address_check(const char *text, struct error *err) MUST_CHECK;

/* Fills *ERR for the address in TEXT, where nobody can listen: SYSTEM_ERRNO in words, and what to do. Returns -1. */
int address_refuse(struct error *err, int system_errno, const char *text);

bool address_is_loopback(const struct address *address);
unsigned address_port(const struct address *address);

/* "HOST:PORT" into TEXT, which has room for ADDRESS_TEXT_SIZE bytes. */
void address_format(const struct address *address, char *text);

#endif
