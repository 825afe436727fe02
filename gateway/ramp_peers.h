/* SPDX-License-Identifier: Apache-2.0
 *
 * What the other gateways say of the colours (GET /v1/colors), asked several times a second while a ramp runs: a colour
 * that gets few users shows its faults soonest in what all gateways saw. Owned by the control thread.
 */
#ifndef GATEWAY_RAMP_PEERS_H
#define GATEWAY_RAMP_PEERS_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "common/store.h"

struct ramp_peers;

/* TOKEN (may be NULL) is borrowed for its life. SELF: the name of this gateway, which is not asked. */
struct ramp_peers *ramp_peers_create(sd_event *loop, const char *self, const char *token);
void ramp_peers_destroy(struct ramp_peers **peers);

/* Asks whom STORE lists. Call often while a ramp runs; it keeps its own pace. NOW_US: monotonic. */
void ramp_peers_ask(struct ramp_peers *peers, struct store *store, uint64_t now_us);

/* No ramp runs any more: forgets everybody. */
void ramp_peers_rest(struct ramp_peers *peers);

/* Calls FN with what each peer that has answered lately says of UNIT at VERSION of its colour record. */
typedef void (*ramp_peer_fn)(const json_t *colors, void *arg);
void ramp_peers_each(const struct ramp_peers *peers, const char *unit, uint64_t version, uint64_t now_us,
                     ramp_peer_fn fn, void *arg);

/* Whether the gateway called NAME is gone: the store lists it no more, or it used to answer and does not. */
bool ramp_peers_lost(const struct ramp_peers *peers, const char *name, uint64_t now_us);

#endif
