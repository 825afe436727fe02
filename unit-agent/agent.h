/* SPDX-License-Identifier: Apache-2.0
 *
 * The process: one thread, one event loop. It owns everything here.
 *
 * Lifecycle: configuration -> rules (cache file, store) -> broker, nodes, deliveries -> READY -> (SIGHUP: reload) ->
 * SIGTERM or SIGINT: reads and begins nothing more, finishes what is in flight, writes the cursors -> end.
 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "unit-agent/beacon.h"
#include "unit-agent/config.h"
#include "unit-agent/duty.h"
#include "unit-agent/rules_follow.h"
#include "unit-agent/warden.h"

struct httpd;
struct health;

struct agent {
    const char *config_path;      /* NULL: none */
    const char *const *overrides; /* NULL-terminated */
    struct agent_config config;
    char name[64];
    char *admin_token, *broker_password, *pulse_key; /* NULL: none */
    sd_event *loop;
    struct agent_stats stats;
    struct pulse_stats pulse_stats;
    struct rules_follow rules;
    struct document_cache *documents; /* of the store, for a start while it is away */
    struct duty *duties;              /* the first is its own unit's; the others are guests' */
    struct warden *warden;
    struct beacon *beacon;
    struct health *health;
    struct httpd *admin;
    struct store_member self;
    sd_event_source *tick, *hurry;
    char register_fault[480]; /* "" while the store lists this agent */
    char unit_fault[160];     /* "" while the rules in force name the unit */
    uint64_t started_us;      /* wall */
    unsigned ending, unclean; /* duties that end; those that had to be cut short */
};

/* Runs an agent until it is told to end. Returns the exit status. OVERRIDES: "NAME=VALUE", NULL-terminated. */
int agent_run(const char *config_path, const char *const *overrides);

/* There is something new in the store: it is looked at on the next turn of the loop. */
void agent_hurry(struct agent *agent);

/* RECORD of UNIT came by another way than from the store, or was put there by this agent. */
void agent_overheard(struct agent *agent, const char *unit, const struct broker_record *record);

/* What AGENT does, or would do, for UNIT; NULL: nothing. */
struct duty *agent_duty(const struct agent *agent, const char *unit);

/* NULL while /readyz says so; else why not. */
const char *agent_unready(const struct agent *agent);

/* Brings the gauges of `stats` up to date. */
void agent_refresh(struct agent *agent);

#endif
