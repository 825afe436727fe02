/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pulse_peers.h"

#include <stdlib.h>

#include "common/log.h"

#define MEMBERS_MOST 1024

static bool is_same(const struct store_member *a, const struct store_member *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->role, b->role) == 0;
}

/* The address that was found for MEMBER's text before; NULL where there was none. */
static const struct address *known_address(const struct pulse_peers *peers, const struct store_member *member)
{
    for (size_t i = 0; i < peers->count; i++)
        if (is_same(&peers->items[i].member, member) && strcmp(peers->items[i].member.pulse, member->pulse) == 0)
            return &peers->items[i].address;
    return NULL;
}

static bool find_address(const struct pulse_peers *peers, struct pulse_peer *peer)
{
    struct error err;
    const struct address *known = known_address(peers, &peer->member);
    if (known != NULL) {
        peer->address = *known;
        return true;
    }
    if (address_resolve(peer->member.pulse, &peer->address, &err) == 0)
        return true;
    log_warning("pulse.unreachable", "%s %s hears no pulses of this process: %s", peer->member.role, peer->member.name,
                err.text);
    return false;
}

static bool is_other(const struct pulse_peers *a, const struct pulse_peers *b)
{
    bool other = a->count != b->count;
    for (size_t i = 0; i < a->count && !other; i++)
        other = memcmp(&a->items[i], &b->items[i], sizeof(a->items[i])) != 0;
    return other;
}

bool pulse_peers_follow(struct pulse_peers *peers, struct store *store, const char *self)
{
    struct error ignored;
    struct store_member *members = mem_calloc(MEMBERS_MOST, sizeof(*members));
    int count = store_members(store, members, MEMBERS_MOST, &ignored);
    bool changed = false;
    if (count >= 0) {
        struct pulse_peers now = {mem_calloc((size_t)count + 1, sizeof(struct pulse_peer)), 0};
        for (int i = 0; i < count; i++) {
            struct pulse_peer *peer = &now.items[now.count];
            *peer = (struct pulse_peer){.member = members[i]};
            bool hears = members[i].pulse[0] != '\0' && strcmp(members[i].pulse, self) != 0;
            now.count += hears && find_address(peers, peer);
        }
        changed = is_other(peers, &now);
        pulse_peers_free(peers);
        *peers = now;
    }
    free(members);
    return changed;
}

void pulse_peers_free(struct pulse_peers *peers)
{
    free(peers->items);
    *peers = (struct pulse_peers){NULL, 0};
}
