/* SPDX-License-Identifier: Apache-2.0
 *
 * This gateway's watch over the units: hears the pulses of agents and of other gateways, lets the core (router/core.h)
 * judge them each 10 ms, tells the other gateways its votes, and carries out what the core concludes: a new record by
 * compare-and-set, which it pushes to everybody when it won.
 *
 * Threads: the core runs on the pulses' own thread (common/pulse_port.h), what asks the store on another, so that
 * neither waits for the control thread or for the store. Owned by the control thread, which creates and destroys it.
 *
 * Lifecycle: create (the socket has its port) -> start -> follow, whenever rules or members may have changed ->
 * destroy.
 */
#ifndef GATEWAY_FAILOVER_H
#define GATEWAY_FAILOVER_H

#include <jansson.h>

#include "common/pulse_port.h"
#include "common/store.h"
#include "gateway/gateway.h"
#include "gateway/unit_work.h"
#include "router/core.h"

struct failover_stats {
#define STAT(name, kind, help) stat_value name;
#include "gateway/failover_stats_tbl.h"
#undef STAT
};

extern const struct stat_row failover_stat_rows[];
extern const size_t failover_stat_row_count;

struct failover;

/* SECRET (may be NULL) is borrowed for its life. NULL with *err. */
struct failover *failover_create(struct gateway *gateway, const char *secret, struct error *err) MUST_CHECK;
/* STORE: the control thread's handle, borrowed until failover_stop(). */
int failover_start(struct failover *failover, struct store *store, struct error *err) MUST_CHECK;
/* Ends its threads: nothing is proposed any more, and units are no longer touched. */
void failover_stop(struct failover *failover);
void failover_destroy(struct failover **failover);

/* Where this gateway hears pulses, into what it registers with. */
void failover_introduce(const struct failover *failover, struct store_member *self);

/* The rules in force, and who is registered in STORE, which answers or is away. */
void failover_follow(struct failover *failover, const struct view *view, struct store *store, bool store_up);

/* Keeps who is registered for a restart while the store is away; waits for the disk, see pulse_peers_save(). */
void failover_save(struct failover *failover);

/* Whether the primary of UNIT is heard to serve, in the run that its record names, and stamped with EPOCH or more. From
 * any thread but the watch's. */
bool failover_leads(struct failover *failover, const char *unit, uint64_t epoch);

/* What a connection of this gateway to the broker URL of UNIT met; from any thread. CORE_LINE_OK may be told of as
 * often as it happens. */
void failover_line(struct failover *failover, const struct unit *unit, struct str url, enum core_line_kind kind);

/* This gateway has just put RECORD of UNIT into the store: in force here, and told to everybody. */
void failover_announce(struct failover *failover, const char *unit, const struct broker_record *record);

/* The agents of UNIT that are heard now. */
struct unit_hands failover_hands(struct failover *failover, struct str unit);
/* Whether UNIT's broker at URL is heard, in the run RUN_ID, and able to work. */
bool failover_is_well(struct failover *failover, struct str unit, struct str url, struct str run_id);
/* Whether the unit that stands by for UNIT can carry the load of both. */
bool failover_has_room(struct failover *failover, struct str unit);

const struct failover_stats *failover_stats(struct failover *failover); /* brought up to date */
const struct pulse_stats *failover_pulse_stats(const struct failover *failover);

/* For people; the caller owns what comes back. */

/* {"suspicion", "vote", "refusal", "since_us", "votes": [...]} of one unit; null where it is not watched. */
json_t *failover_unit_status(struct failover *failover, const struct unit *unit);
/* {"address", "self", "gateways": [...], "agents": [...]}: who is heard, when last, and what it said. */
json_t *failover_status(struct failover *failover);
/* The newest MOST transitions, newest first: [{"at", "at_us", "unit", "event", "epoch", "text"}]. */
json_t *failover_transitions(struct failover *failover, size_t most);

#endif
