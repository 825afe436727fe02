/* SPDX-License-Identifier: Apache-2.0
 *
 * Guards brokers: looks at each every few milliseconds, and sees to it that it is what its unit's record says: the
 * primary, stamped with the record's version, or a replica of the primary. Nobody else makes a broker a replica or a
 * primary; what is to be done is decided in warden_decide.h. Owned by the agent.
 *
 * Lifecycle: create -> adopt, whenever rules are in force -> sync, whenever the store may have changed -> destroy.
 */
#ifndef AGENT_WARDEN_H
#define AGENT_WARDEN_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "common/broker_record.h"
#include "common/store.h"
#include "router/table.h"
#include "unit-agent/agent_stats.h"
#include "unit-agent/config.h"

#define WARDEN_BROKERS_MOST 32

struct warden;

struct warden_config {
    const struct agent_config *options; /* borrowed for life, as all here */
    const char *password;               /* of the brokers; NULL: none */
    struct agent_stats *stats;
    void (*looked)(void *arg); /* more is known of a broker */
    void *arg;
};

/* What is known of one broker, by the last look that was answered. */
struct warden_broker {
    char unit[BROKER_UNIT_SIZE];
    char url[BROKER_URL_SIZE];       /* as the rules write it */
    char run_id[BROKER_RUN_ID_SIZE]; /* "" before the first look */
    bool is_primary;
    bool link_up;      /* of a replica: it follows the stream of writes */
    bool fits;         /* it does what the record wants of it */
    bool healthy;      /* it answers, and is not loading; whatever its role */
    bool gone;         /* it refuses connections */
    bool sees_primary; /* of a replica: the unit's primary answered this warden of late, as one, in its recorded run */
    uint64_t stamp;    /* 0: none */
    uint64_t offset;   /* of replication */
    uint64_t writes;   /* that its data hold */
    char dataset[BROKER_DATASET_SIZE];
    uint64_t heard_us; /* monotonic: when that look began; 0: there was none */
};

struct warden *warden_create(sd_event *loop, const struct warden_config *config);
void warden_destroy(struct warden **warden);

/* Which brokers are to be guarded: those of `guard.brokers`; where it is empty, the first of this agent's unit, all the
 * others where no unit stands by for it, and the others of each unit that this one stands by for. */
void warden_adopt(struct warden *warden, const struct table *table);

/* Reads the records of their units. A store that is away leaves the last ones in force. */
void warden_sync(struct warden *warden, struct store *store);

/* A record of UNIT that came by another way than from the store; one that is no newer than the known one is ignored. */
void warden_heard(struct warden *warden, const char *unit, const struct broker_record *record);

/* As of now, *COUNT of them, borrowed until the next call of anything here. LATE_US: for how long this agent's loop has
 * not run, so that it missed answers that came. */
const struct warden_broker *warden_brokers(struct warden *warden, uint64_t late_us, unsigned *count);

/* The broker at URL answers, and is no primary: whoever would judge it is not to wait for beats in it. False where it
 * is not guarded here. */
bool warden_sees_fenced(const struct warden *warden, const char *url);

/* [{"unit","broker","role","epoch","run_id","offset","writes","data","heard_ms","why"}...]; data: "same" as the
 * record's, "other", or "none". What is away is told as it was last. The caller owns it. */
json_t *warden_report(struct warden *warden);

#endif
