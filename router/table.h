/* SPDX-License-Identifier: Apache-2.0
 *
 * The compiled rules: what the gateway and the agent run. One immutable block, made by rules/, shared by
 * reference count and swapped whole; a request keeps the table that it started with. Lookups allocate nothing, read
 * no clock and know no I/O. All texts in it live as long as the table.
 */
#ifndef ROUTER_TABLE_H
#define ROUTER_TABLE_H

#include "common/str.h"
#include "router/collection.h"
#include "router/failover.h"
#include "router/hash.h"
#include "router/source.h"
#include "router/split.h"
#include "router/topic.h"
#include "router/unit.h"
#include "router/verdict.h"

enum action {
    ACTION_PROXY = 0,
    ACTION_QUEUE,
    ACTION_ZONE_C,
};

/* What must hold before a message is acknowledged. */
enum durability {
    DURABILITY_AUTO = 0,   /* quorum where table_unit_by_quorum(); else all that the unit's record names as in sync:
                              replicated, or   local where it is the primary alone */
    DURABILITY_REPLICATED, /* on the primary's disk and in the in-sync replicas */
    DURABILITY_LOCAL,      /* on the primary's disk */
    DURABILITY_AVAILABLE,  /* replicated as long as a replica is in sync, else local */
    DURABILITY_QUORUM,     /* replicated, and by a majority of the unit's brokers */
};

enum cross_unit {
    CROSS_REJECT = 0, /* 409 */
    CROSS_CORE,
};

#define TABLE_METHODS(X) X(GET) X(HEAD) X(POST) X(PUT) X(PATCH) X(DELETE) X(OPTIONS)

struct table_route {
    struct str path;  /* pattern: literal segments, "*" for one segment, a final "*" for any rest */
    uint32_t methods; /* bit i: the i-th of TABLE_METHODS; 0: any */
    enum zone zone;
    enum action action;
    uint32_t topic; /* index, for queue */
    const struct source *participants;
    uint32_t participant_count;
    enum cross_unit cross_unit;
    enum durability durability; /* for queue */
    int64_t timeout_ms;         /* of the upstream's answer or of the broker's; 0: the gateway's default */
    uint32_t retries;           /* of safe requests, on other nodes of the same unit */
    uint64_t max_body;          /* bytes; 0: the gateway's limit */
    uint32_t line;
};

#define ROUTE_MAX_PARTICIPANTS 8

/* Who owns the slots of a zone, and by which line of the rules. */
struct table_slots {
    const uint16_t *units; /* [hash.slots] -> index of the unit; NULL where the zone has no units */
    const uint32_t *lines; /* [hash.slots] */
};

struct table {
    uint64_t epoch; /* of the store record that it came from; 0 for a file that was never applied */
    struct hash hash;
    struct table_slots slots[2]; /* of ZONE_A and ZONE_B */
    const struct table_unit *units;
    uint32_t unit_count;
    const struct table_topic *topics;
    uint32_t topic_count;
    const struct table_collection *collections;
    uint32_t collection_count;
    const struct table_route *routes;
    uint32_t route_count;
    const struct source *sources;
    uint32_t source_count;
    enum on_missing on_missing;
    struct table_failover failover;
    struct jwt_rules jwt;
    uint32_t core_unit;        /* index of the first core unit, or NO_UNIT */
    uint32_t override_count;   /* users and prefixes */
    size_t bytes;              /* of memory, all in all */
    struct table_index *index; /* overrides, patterns and the like: router/table_index.h */
};

void table_ref(struct table *table);
void table_unref(struct table **table); /* frees at the last one; nulls the pointer */

/* Which route takes METHOD and PATH (without its query; percent-decoding is the caller's). VERDICT_OK with *route,
 * or NO_ROUTE / METHOD_NOT_ALLOWED. First match wins. */
enum verdict table_match(const struct table *table, struct str method, struct str path, uint32_t *route);

struct routing {
    uint32_t route;                                  /* from table_match */
    struct str user;                                 /* base NULL: no source yielded one */
    struct str participants[ROUTE_MAX_PARTICIPANTS]; /* beside the user; base NULL: absent, which is an error of the
                                                        caller's */
    uint32_t participant_count;
    struct str color;           /* a tester's wish: "blue", "green", or base NULL */
    struct str datacenter;      /* the gateway's own, for on_missing: local */
    const struct split *splits; /* of each unit; NULL: the rules' weights */
};

enum decided_by {
    BY_SLOT = 0,
    BY_OVERRIDE_USER,
    BY_OVERRIDE_PREFIX,
    BY_CROSS_UNIT,
    BY_MISSING,
    BY_ZONE, /* core routes */
};

struct decision {
    uint32_t unit; /* index into units */
    uint32_t slot; /* UINT32_MAX where the user was not hashed */
    enum color color;
    enum decided_by by;
    uint32_t line; /* of the rule that decided: slot range, override or route */
};

/* Where the request goes. Pure: the same arguments give the same decision. Only VERDICT_OK fills *decision whole;
 * others fill what is known. In zone C the unit says nothing: where a collection lives is not the table's business. */
enum verdict table_route(const struct table *table, const struct routing *routing, struct decision *decision);

/* The unit that owns USER in zone A: the part of table_route that hashes. An exact override comes before the longest
 * prefix, and that before the slot. An override to an A unit or the core counts for zone A, one to a B unit for B. */
enum verdict table_owner(const struct table *table, struct str user, struct decision *decision);
/* The same for zone A or B. */
enum verdict table_owner_in(const struct table *table, enum zone zone, struct str user, struct decision *decision);
/* The slot of USER, overridden or not; UINT32_MAX where the hash does not take it. */
uint32_t table_slot(const struct table *table, struct str user);

/* The partition of TOPIC for USER: by its slot, so that a slot's users move together. */
uint32_t table_partition(const struct table_topic *topic, uint32_t slot, struct str user);

/* Index of the unit called NAME, or NO_UNIT. */
uint32_t table_unit_index(const struct table *table, struct str name);

/* NULL where there is no collection of that NAME. */
const struct table_collection *table_collection(const struct table *table, struct str name);

const char *action_name(enum action action);
const char *durability_name(enum durability durability);

#endif
