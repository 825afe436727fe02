/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pulse_peers.h"

#include <stdlib.h>

#include "common/file.h"
#include "common/log.h"
#include "common/store_json.h"

#define MEMBERS_MOST 1024
#define FILE_MODE    0640
#define FILE_MOST    ((size_t)4 << 20)

/* --- the file ----------------------------------------------------------------------------------------------------- */

void pulse_peers_init(struct pulse_peers *peers, const char *cache)
{
    struct buf path = {NULL, 0, 0};
    if (cache != NULL && cache[0] != '\0')
        buf_printf(&path, "%s.members", cache);
    *peers = (struct pulse_peers){.path = path.base};
}

/* A list that is empty may be that of a store which is just going away. */
void pulse_peers_save(struct pulse_peers *peers)
{
    struct error err;
    if (!peers->unsaved || peers->path == NULL || peers->count == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < peers->count; i++)
        json_array_append_new(list, store_member_to_json(&peers->items[i].member));
    char *text = json_dumps(list, JSON_COMPACT);
    peers->unsaved = file_replace(peers->path, str_of(text), FILE_MODE, &err) != 0;
    if (peers->unsaved && !peers->told)
        log_warning("members.cache", "%s; a restart while the store is away would find others", err.text);
    peers->told = peers->unsaved;
    free(text);
    json_decref(list);
}

/* How many; -1: none were kept. */
static int recall(const struct pulse_peers *peers, struct store_member *members)
{
    struct buf text = {NULL, 0, 0};
    struct error ignored;
    json_t *list = NULL;
    int count = 0;
    if (peers->path != NULL && file_read(peers->path, FILE_MOST, &text, &ignored) == 0)
        list = json_loadb(text.base ? text.base : "", text.len, 0, NULL);
    for (size_t i = 0; i < json_array_size(list) && count < MEMBERS_MOST; i++)
        if (store_member_from_json(json_array_get(list, i), &members[count]))
            members[count++].alive = true;
    buf_free(&text);
    json_decref(list);
    return count > 0 ? count : -1;
}

/* --- the members -------------------------------------------------------------------------------------------------- */

static bool is_same(const struct store_member *a, const struct store_member *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->role, b->role) == 0;
}

/* What was found for MEMBER's text before; NULL where nothing was. */
static const struct pulse_peer *find_known(const struct pulse_peers *peers, const struct store_member *member)
{
    for (size_t i = 0; i < peers->count; i++)
        if (is_same(&peers->items[i].member, member) && strcmp(peers->items[i].member.pulse, member->pulse) == 0)
            return &peers->items[i];
    return NULL;
}

/* Who was started anew may be under the same name on another host. */
static bool find_address(const struct pulse_peers *peers, struct pulse_peer *peer)
{
    struct error err;
    const struct pulse_peer *known = find_known(peers, &peer->member);
    bool same_life = known != NULL && known->member.incarnation == peer->member.incarnation;
    if (!same_life && address_resolve(peer->member.pulse, &peer->address, &err) == 0)
        return true;
    if (known != NULL)
        peer->address = known->address;
    else
        log_warning("pulse.unreachable", "%s %s hears no pulses of this process: %s", peer->member.role,
                    peer->member.name, err.text);
    return known != NULL;
}

static bool is_other(const struct pulse_peers *a, const struct pulse_peers *b)
{
    bool other = a->count != b->count;
    for (size_t i = 0; i < a->count && !other; i++)
        other = memcmp(&a->items[i], &b->items[i], sizeof(a->items[i])) != 0;
    return other;
}

static bool take(struct pulse_peers *peers, const struct store_member *members, int count, const char *self)
{
    struct pulse_peers now = *peers;
    now.items = mem_calloc((size_t)count + 1, sizeof(struct pulse_peer));
    now.count = 0;
    for (int i = 0; i < count; i++) {
        struct pulse_peer *peer = &now.items[now.count];
        *peer = (struct pulse_peer){.member = members[i]};
        bool hears = members[i].pulse[0] != '\0' && strcmp(members[i].pulse, self) != 0;
        now.count += hears && find_address(peers, peer);
    }
    bool changed = is_other(peers, &now);
    free(peers->items);
    *peers = now;
    return changed;
}

bool pulse_peers_follow(struct pulse_peers *peers, struct store *store, const char *self)
{
    struct error ignored;
    struct store_member *members = mem_calloc(MEMBERS_MOST, sizeof(*members));
    int count = store != NULL ? store_members(store, members, MEMBERS_MOST, &ignored) : -1;
    bool listed = count >= 0, changed = false;
    if (!listed && peers->items == NULL)
        count = recall(peers, members);
    if (count >= 0)
        changed = take(peers, members, count, self);
    peers->unsaved |= listed && changed;
    free(members);
    return changed;
}

void pulse_peers_free(struct pulse_peers *peers)
{
    free(peers->items);
    free(peers->path);
    *peers = (struct pulse_peers){.items = NULL};
}
