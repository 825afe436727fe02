/* SPDX-License-Identifier: Apache-2.0
 *
 * Which brokers of a unit may hold its data: the in-sync set, as the unit's keeper wrote it last. It stands in the
 * control store as the document "brokers/UNIT", in JSON:
 *   {"dataset": HEX, "primary": URL, "run_id": HEX, "sync_full": 1, "sync_partial": 0, "wait": 1,
 *    "in_sync": [{"broker": URL, "run_id": HEX}...], "consumer": "", "hold": false, "why": "", "moved_us": 0,
 *    "at_us": 1795243875155000, "by": AGENT}
 * and, only while they say something, "target": URL, "target_consumer": UNIT, "drained": {"by", "why", "at_us"},
 * "counted": {"writes", "at_us"}, "before": EPOCH, "moving": {"rules": EPOCH, "slots": "12-40,77"}.
 * Its epoch is the document's version: the primary is stamped with it, and takes writes only of who knows it.
 * A plain value, without pointers: copied freely. What was acknowledged as replicated is on every member; who is no
 * member may lack some of it. What the keeper watches for is in unit-agent/keeper_decide.h.
 */
#ifndef COMMON_BROKER_RECORD_H
#define COMMON_BROKER_RECORD_H

#include <stddef.h>

#include "common/error.h"
#include "common/str.h"

#define BROKER_URL_SIZE     280
#define BROKER_RUN_ID_SIZE  41 /* 40 hex digits that a broker draws at each start */
#define BROKER_DATASET_SIZE 33 /* 32 hex digits that the data carry, drawn when they began */
#define BROKER_MEMBERS_MOST 8
#define BROKER_UNIT_SIZE    65
#define BROKER_WHY_SIZE     240
#define BROKER_BY_SIZE      64
#define BROKER_DRAIN_WHY    120
#define BROKER_SLOTS_SIZE   160

struct broker_member {
    char url[BROKER_URL_SIZE];
    char run_id[BROKER_RUN_ID_SIZE];
};

/* The unit's home is being worked on: nothing returns to it by itself. */
struct broker_drain {
    uint64_t at_us; /* wall; 0: it is not */
    char by[BROKER_BY_SIZE], why[BROKER_DRAIN_WHY];
};

/* The slots of users who leave, or have left, the unit: who goes by rules of this epoch or an older one does not know
 * to where, and holds what is theirs. It stays when they are gone, and then holds up nobody but who is late. */
struct broker_moving {
    uint64_t rules;                /* 0: nobody leaves */
    char slots[BROKER_SLOTS_SIZE]; /* as in common/slot_list.h */
};

struct broker_record {
    uint64_t version; /* of the document, which is the unit's epoch; 0: there is none. Not in the JSON */
    char dataset[BROKER_DATASET_SIZE];
    char primary[BROKER_URL_SIZE];
    char run_id[BROKER_RUN_ID_SIZE];
    uint64_t sync_full, sync_partial; /* attachments that the primary had counted when the keeper looked */
    unsigned wait;                    /* what WAIT must count: every replica that is online, members first of all */
    struct broker_member members[BROKER_MEMBERS_MOST]; /* the primary first */
    unsigned member_count;                             /* 0 only where there is no record */
    char consumer[BROKER_UNIT_SIZE]; /* the unit whose agents deliver the queue, and whose nodes take requests; "": its
                                        own */
    bool hold;                       /* a planned switch is under way: new requests wait for the next record */
    char target[BROKER_URL_SIZE];    /* of the switch: the broker that is to lead; "": none is under way */
    char target_consumer[BROKER_UNIT_SIZE]; /* and what `consumer` is to be then */
    struct broker_drain drained;
    struct broker_moving moving;
    char why[BROKER_WHY_SIZE]; /* of this change, in a sentence */
    uint64_t moved_us;         /* wall time of the last automatic failover, kept by later writers; 0: none */
    struct broker_count {
        uint64_t writes, at_us; /* of the record that this was counted for: who writes another one need not know */
    } counted;                  /* what the primary's data had taken when the keeper wrote the record */
    uint64_t before; /* the epoch of the record by which the primary was in sync, and did not lead; 0: it has led
                        since */
    uint64_t at_us;  /* wall */
    char by[BROKER_BY_SIZE];
};

/* "brokers/UNIT" into NAME, which has room for SIZE bytes. */
void broker_record_name(char *name, size_t size, struct str unit);

/* Takes the JSON apart; unknown keys are passed over. On failure *RECORD is without members. */
int broker_record_parse(struct str text, struct broker_record *record, struct error *err) MUST_CHECK;
void broker_record_format(const struct broker_record *record, struct buf *out);

/* The member at URL; NULL where it is none. */
const struct broker_member *broker_record_member(const struct broker_record *record, const char *url);

/* Whether RECORD was written by somebody who had counted that the primary's data had taken no more than WRITES. */
bool broker_record_counted(const struct broker_record *record, uint64_t writes);
/* MEMBER, which may be one of RECORD's own, leads from now on, and is in sync alone. RECORD is as the store has it. */
void broker_record_lead(struct broker_record *record, const struct broker_member *member);
/* No planned switch is under way any more. */
void broker_record_end_plan(struct broker_record *record);
/* Who changed it, why (both cut to what fits) and when (wall). */
void broker_record_sign(struct broker_record *record, const char *by, const char *why, uint64_t at_us);

/* Whether what was routed by rules of epoch ROUTED to SLOT of the unit is held. */
bool broker_moving_holds(const struct broker_moving *moving, uint64_t routed, uint32_t slot);

/* Whether a WAIT that counted RECORD->wait replicas proves that every member holds what was written before it on the
 * same connection. INFO is the reply to an INFO with the sections replication, stats and persistence that was sent
 * right behind the WAIT; CONNECTION_RUN_ID is what the connection's broker said in its greeting. WAIT counts replicas
 * without naming them: the attachments since the keeper looked tell whether they are still the same (a replica that has
 * just copied everything acknowledges before its append-only file is of use). Where not, the outcome is unknown, and
 * WHY (may be NULL) says why in a sentence. */
bool broker_record_covers(const struct broker_record *record, struct str info, const char *connection_run_id, char *why,
                          size_t size);

#endif
