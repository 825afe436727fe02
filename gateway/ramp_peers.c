/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/ramp_peers.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/http_client.h"

#define LIST_US      500000
#define ASK_US       300000
#define TIMEOUT_MS   1000
#define SILENT_US    1500000 /* who answered before, and then not for so long, is gone */
#define MOST_MEMBERS 1024
#define MOST_ANSWER  (4 << 20)

struct peer {
    char name[64], url[160];
    bool listed;
    struct http_transfer *transfer;
    uint64_t asked_us, answered_us; /* monotonic; 0: never */
    json_t *colors;                 /* NULL: none yet */
};

struct ramp_peers {
    struct http_client *client;
    const char *self, *token;
    struct peer **peers; /* each of its own memory: transfers point to them */
    size_t count;
    uint64_t listed_us; /* 0: the store has not said who there is */
};

/* --- who there is ------------------------------------------------------------------------------------------------- */

static struct peer *find(const struct ramp_peers *peers, const char *name)
{
    for (size_t i = 0; i < peers->count; i++)
        if (strcmp(peers->peers[i]->name, name) == 0)
            return peers->peers[i];
    return NULL;
}

static void enlist(struct ramp_peers *peers, const struct store_member *member)
{
    struct peer *peer = find(peers, member->name);
    if (strcmp(member->role, "gateway") != 0 || strcmp(member->name, peers->self) == 0)
        return;
    if (peer == NULL) {
        peer = mem_calloc(1, sizeof(*peer));
        snprintf(peer->name, sizeof(peer->name), "%s", member->name);
        peers->peers = mem_realloc(peers->peers, (peers->count + 1) * sizeof(struct peer *));
        peers->peers[peers->count++] = peer;
    }
    peer->listed = true;
    snprintf(peer->url, sizeof(peer->url), "%s/v1/colors", member->admin);
}

static void peer_destroy(struct peer *peer)
{
    if (peer->transfer != NULL)
        http_transfer_cancel(peer->transfer);
    json_decref(peer->colors);
    free(peer);
}

static void drop_unlisted(struct ramp_peers *peers)
{
    size_t kept = 0;
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->peers[i]->listed)
            peers->peers[kept++] = peers->peers[i];
        else
            peer_destroy(peers->peers[i]);
    }
    peers->count = kept;
}

static void list(struct ramp_peers *peers, struct store *store, uint64_t now_us)
{
    struct store_member *members = mem_calloc(MOST_MEMBERS, sizeof(*members));
    struct error ignored;
    int count = store_members(store, members, MOST_MEMBERS, &ignored);
    for (size_t i = 0; i < peers->count && count >= 0; i++)
        peers->peers[i]->listed = false;
    for (int i = 0; i < count; i++)
        enlist(peers, &members[i]);
    if (count >= 0) {
        drop_unlisted(peers);
        peers->listed_us = now_us;
    }
    free(members);
}

/* --- what they say ------------------------------------------------------------------------------------------------ */

static void on_answer(void *arg, const struct http_response *response)
{
    struct peer *peer = arg;
    peer->transfer = NULL;
    if (response->status != 200)
        return;
    json_t *colors = json_loadb(response->body.base, response->body.len, 0, NULL);
    if (!json_is_object(colors)) {
        json_decref(colors);
        return;
    }
    json_decref(peer->colors);
    peer->colors = colors;
    peer->answered_us = clock_monotonic_us();
}

static void ask(struct ramp_peers *peers, struct peer *peer, uint64_t now_us)
{
    struct http_request request = {.method = "GET",
                                   .url = peer->url,
                                   .timeout_ms = TIMEOUT_MS,
                                   .bearer_token = peers->token,
                                   .most_response = MOST_ANSWER};
    if (peer->transfer != NULL || now_us < peer->asked_us + ASK_US)
        return;
    peer->asked_us = now_us;
    peer->transfer = http_client_start(peers->client, &request, NULL, on_answer, peer);
}

void ramp_peers_ask(struct ramp_peers *peers, struct store *store, uint64_t now_us)
{
    if (peers->listed_us == 0 || now_us >= peers->listed_us + LIST_US)
        list(peers, store, now_us);
    for (size_t i = 0; i < peers->count; i++)
        ask(peers, peers->peers[i], now_us);
}

void ramp_peers_each(const struct ramp_peers *peers, const char *unit, uint64_t version, uint64_t now_us,
                     ramp_peer_fn fn, void *arg)
{
    for (size_t i = 0; i < peers->count; i++) {
        const struct peer *peer = peers->peers[i];
        size_t j;
        json_t *colors;
        if (now_us > peer->answered_us + SILENT_US)
            continue;
        json_array_foreach(json_object_get(peer->colors, "colors"), j, colors) {
            const char *name = json_string_value(json_object_get(colors, "unit"));
            json_int_t seen = json_integer_value(json_object_get(colors, "version"));
            if (name != NULL && strcmp(name, unit) == 0 && (uint64_t)seen == version)
                fn(colors, arg);
        }
    }
}

bool ramp_peers_lost(const struct ramp_peers *peers, const char *name, uint64_t now_us)
{
    const struct peer *peer = find(peers, name);
    if (peers->listed_us == 0 || strcmp(name, peers->self) == 0)
        return false;
    return peer == NULL || (peer->answered_us != 0 && now_us > peer->answered_us + SILENT_US);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

void ramp_peers_rest(struct ramp_peers *peers)
{
    for (size_t i = 0; i < peers->count; i++)
        peer_destroy(peers->peers[i]);
    peers->count = 0;
    peers->listed_us = 0;
}

struct ramp_peers *ramp_peers_create(sd_event *loop, const char *self, const char *token)
{
    struct ramp_peers *peers = mem_calloc(1, sizeof(*peers));
    peers->client = http_client_create(loop, 2);
    peers->self = self;
    peers->token = token;
    return peers;
}

void ramp_peers_destroy(struct ramp_peers **peers)
{
    if (*peers == NULL)
        return;
    ramp_peers_rest(*peers);
    http_client_destroy(&(*peers)->client);
    free((*peers)->peers);
    free(*peers);
    *peers = NULL;
}
