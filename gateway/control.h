/* SPDX-License-Identifier: Apache-2.0
 *
 * The control thread, which is the main thread: configuration, signals, the store, the agents' reports, the admin
 * listener. It owns everything here, and starts and stops the workers; it carries no requests.
 *
 * Lifecycle: configuration -> rules (cache file, store) -> workers -> admin, agents, probes -> READY -> (SIGHUP:
 * reload, SIGUSR1: reopen the access log) -> SIGTERM or SIGINT: drain -> stop.
 */
#ifndef GATEWAY_CONTROL_H
#define GATEWAY_CONTROL_H

#include <systemd/sd-event.h>

#include "common/store.h"
#include "gateway/control_stats.h"
#include "gateway/gateway.h"
#include "gateway/rollout.h"

struct httpd;
struct follow;
struct probes;
struct moves;
struct ramps;
struct document_cache;

struct control {
    struct gateway *gateway;
    const char *config_path;      /* NULL: none */
    const char *const *overrides; /* NULL-terminated */
    sd_event *loop;
    sd_event_source *drain_tick;
    struct control_stats stats;
    struct rollout rollout;
    struct view *followed; /* borrowed: the view that `follow` and `probes` know */
    struct httpd *admin;
    struct follow *follow;
    struct probes *probes;
    struct ramps *ramps;
    struct moves *moves;
    struct document_cache *documents;
    char *admin_token, *agents_token, *pulse_key; /* NULL: none */
    struct store_member self;
    char register_fault[480]; /* "" while the store lists this gateway */
    char reload_fault[480];   /* of the last SIGHUP; "" where it was taken */
    uint64_t started_us;      /* wall */
    uint64_t drain_until_us;  /* monotonic; 0: not draining */
};

/* Runs a gateway until it is told to end. Returns the exit status. OVERRIDES: "NAME=VALUE", NULL-terminated. */
int control_run(const char *config_path, const char *const *overrides);

/* Follows the store at once, instead of at its next sign. */
void control_sync(struct control *control);

/* Hands the workers the units' colours as they are now. */
void control_recolor(struct control *control);

/* SIGHUP: reads configuration, certificates and the store again. What cannot be taken leaves everything as it is. */
int control_reload(struct control *control, struct error *err) MUST_CHECK;

/* True while /readyz says so. */
bool control_ready(const struct control *control);

#endif
