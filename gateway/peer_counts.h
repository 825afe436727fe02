/* SPDX-License-Identifier: Apache-2.0
 *
 * How many connections each client address has open, over all threads, so that one address cannot have them all. The
 * gateway owns one table, guarded by a mutex inside.
 */
#ifndef GATEWAY_PEER_COUNTS_H
#define GATEWAY_PEER_COUNTS_H

#include <stdint.h>
#include <sys/socket.h>

struct peer_counts;
struct peer_count; /* one address; lives while it has connections */

struct peer_counts *peer_counts_create(void);
void peer_counts_destroy(struct peer_counts **counts);

/* Counts one more connection of ADDRESS (IPv4, IPv6; of an IPv6 address the first 64 bits, which one host owns whole).
 * NULL where it has MOST already. */
struct peer_count *peer_counts_enter(struct peer_counts *counts, const struct sockaddr *address, uint64_t most);
void peer_counts_leave(struct peer_counts *counts, struct peer_count *count);

#endif
