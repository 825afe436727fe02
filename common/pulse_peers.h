/* SPDX-License-Identifier: Apache-2.0
 *
 * Who hears pulses, as the store lists its members, each with the address that its text means. Owned by the thread that
 * asks the store; what it gives is copied for others. A file keeps them for a restart while the store is away: then who
 * is listed there is told, and one that is gone hears nothing.
 */
#ifndef COMMON_PULSE_PEERS_H
#define COMMON_PULSE_PEERS_H

#include "common/address.h"
#include "common/store.h"

struct pulse_peer {
    struct store_member member;
    struct address address;
};

struct pulse_peers {
    struct pulse_peer *items; /* NULL: nobody has said who there is */
    size_t count;
    char *path;         /* NULL: nothing is kept */
    bool unsaved, told; /* that the file cannot be written */
};

/* CACHE: the file of the rules (NULL: there is none), beside which the members are kept. */
void pulse_peers_init(struct pulse_peers *peers, const char *cache);

/* Reads the members of STORE that hear pulses, but for the one that hears them at SELF. True where they are others than
 * before; a store that is away (or NULL) leaves them as they are, or as the file says. May look names up, each once. */
bool pulse_peers_follow(struct pulse_peers *peers, struct store *store, const char *self);
void pulse_peers_free(struct pulse_peers *peers);

/* Writes what is new to the file, and waits for the disk: not right after a change, for those who failed are among what
 * has changed, and somebody takes over from them. What could not be written is tried again the next time. */
void pulse_peers_save(struct pulse_peers *peers);

#endif
