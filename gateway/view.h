/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules in force joined with what this process knows of the units and nodes that they name. A view is immutable
 * in shape and shared by reference count: the control thread makes one for each table and hands it to every worker,
 * which swaps it whole between two requests; a request keeps the view that it started with.
 *
 * Units and nodes are found by name in the registry, so that counts and health outlive a reload; they live as long as
 * the process (an operator names hundreds of them, not millions). Their moving parts are atomics.
 */
#ifndef GATEWAY_VIEW_H
#define GATEWAY_VIEW_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "common/broker_record.h"
#include "common/color_record.h"
#include "common/error.h"
#include "common/stats.h"
#include "router/table.h"

/* One HTTP node. */
struct node {
    uint32_t id; /* dense, for arrays of the workers */
    char *url;   /* as in the rules: http://host:port */
    char *authority;
    struct sockaddr_storage address;
    socklen_t address_len;
    _Atomic bool refused;  /* taken out by a failed connection; a probe brings it back */
    _Atomic bool reported; /* taken out by its agent's report (a lease: the control thread clears it) */
    _Atomic uint32_t in_flight;
};

/* What became of the requests that a unit's nodes of one colour have answered, or failed to. Written with atomic adds:
 * many threads. */
struct color_tally {
    stat_value failed;
    struct stat_histogram latency; /* of all, the failed ones too; its sum is not kept */
    /* What the unit's agents say of their deliveries; the control thread's. */
    stat_value delivered, undelivered; /* messages that were tried once; those of them that failed */
};

/* What stands against the rules' weights. The control thread's: workers have the splits of their view. */
struct color_facts {
    struct color_record record;
    char fault[160];                         /* why the record may be old; "" */
    struct color_health health[COLOR_COUNT]; /* by its nodes */
    bool held_back[COLOR_COUNT];             /* a ramp is to be rolled back, and the store does not take it yet */
};

/* One unit, by name. */
struct unit {
    uint32_t id;
    char *name;
    _Atomic uint32_t in_flight;           /* requests of this gateway, for the bulkhead */
    stat_value requests, refused, failed; /* written with atomic adds: many threads */
    stat_value memory_percent;            /* of its broker's maxmemory; 0: it has none, or is not known yet */
    struct registry *registry;
    pthread_mutex_t record_lock;
    struct broker_record record;     /* read by unit_record() alone */
    _Atomic uint64_t record_version; /* of `record`: tells whether it is worth a copy */
    char record_fault[160];          /* the control thread's: why the record may be old; "" */
    _Atomic(struct unit *) consumer; /* by the record: whose nodes take this unit's requests; NULL: its own */
    _Atomic bool hold;               /* by the record: new requests wait */
    _Atomic bool unheard;            /* nobody has told lately that its primary leads */
    _Atomic uint64_t moving_rules;   /* by the record: what rules of up to this epoch routed may have to wait */
    /* Since the last planned switch began: requests that have waited and go on, and the longest wait. */
    _Atomic uint64_t held, held_longest_us;
    struct color_facts colors;
    struct color_tally tallies[COLOR_COUNT];
};

struct view_unit {
    struct unit *unit;
    struct node **nodes[COLOR_COUNT]; /* as many as the table's */
};

struct view {
    _Atomic uint32_t references;
    struct table *table;     /* one reference */
    struct view_unit *units; /* [table->unit_count] */
    struct split *splits;    /* [table->unit_count]: how each unit's users share its colours */
    struct jwt_key *jwt_key; /* NULL where the rules configure none */
};

/* Owned by the gateway. Units are for any thread; views and nodes are the control thread's. */
struct registry;
struct registry *registry_create(void);
void registry_destroy(struct registry **registry);
/* Calls FN for each node ever named (probes, metrics, status). */
void registry_each_node(struct registry *registry, void (*fn)(struct node *node, void *arg), void *arg);
struct unit *registry_unit(struct registry *registry, struct str name); /* NULL: none was ever called so */
void registry_each_unit(struct registry *registry, void (*fn)(struct unit *unit, void *arg), void *arg);

/* The broker record that is in force for UNIT, without members where there is none; from any thread. */
void unit_record(struct unit *unit, struct broker_record *copy);
/* Puts RECORD in force, and calls registry_on_record()'s function, if it is newer than the one that is; from any
 * thread. A record of version 0 means that there is none any more. False: it is none that is news. */
bool unit_set_record(struct unit *unit, const struct broker_record *record);
/* A request of UNIT has waited for WAITED_US, and goes on. */
void unit_waited(struct unit *unit, uint64_t waited_us);
/* What runs, on any thread, when a record has come into force. Set before there are any. */
void registry_on_record(struct registry *registry, void (*changed)(void *arg, struct unit *unit), void *arg);

/* Whether what rules of epoch ROUTED sent to UNIT waits for newer ones, since the users of SLOT are leaving it.
 * UINT32_MAX: it is no user's. */
bool unit_moves(struct unit *unit, uint64_t routed, uint32_t slot);

/* The unit whose nodes take the requests of unit UNIT now, by its record: an index, or NO_UNIT where these rules do not
 * name it. */
uint32_t view_consumer(const struct view *view, uint32_t unit);

/* The newest state that decides about unit UNIT: of the rules, or of its record. */
uint64_t view_epoch(const struct view *view, uint32_t unit);

/* Takes over the reference to TABLE also when it fails: a node's host that does not resolve, a key file that cannot
 * be read. The result has one reference. */
struct view *view_create(struct registry *registry, struct table *table, struct error *err) MUST_CHECK;
/* The same table, nodes and key with the splits as they are now: cannot fail. For the control thread, as is the above.
 */
struct view *view_recolor(struct registry *registry, const struct view *view);
void view_ref(struct view *view);
void view_unref(struct view **view);

static inline bool node_usable(const struct node *node)
{
    return !atomic_load_explicit(&node->refused, memory_order_relaxed) &&
           !atomic_load_explicit(&node->reported, memory_order_relaxed);
}

#endif
