/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the watch share (failover*.c alone). All of it is guarded by `lock`, but for what is said to belong
 * to one thread; nothing that blocks is done under it.
 */
#ifndef GATEWAY_FAILOVER_STATE_H
#define GATEWAY_FAILOVER_STATE_H

#include <pthread.h>

#include "common/pulse_peers.h"
#include "gateway/failover.h"
#include "gateway/failover_log.h"
#include "gateway/failover_store.h"

#define FAILOVER_HEARD_US   100000 /* who was heard within it counts as there */
#define FAILOVER_HEARD_MOST 1024
#define FAILOVER_OUT_MOST   16 /* records that wait to be sent; the store brings what is more */

/* The text behind an id of the core. */
struct failover_name {
    uint64_t id;
    char *text;
};

struct failover_unit {
    struct unit *unit;
    uint64_t id;
    uint64_t fed; /* version of the record that the core knows */
    uint64_t led; /* and that its primary was heard to be stamped with */
    uint64_t pushed_us;
    uint64_t unheard_us;                  /* since when its primary is unheard; 0: it is not */
    uint64_t requests;                    /* of this gateway, when the load was told last */
    enum core_reason shown[CORE_MATTERS]; /* suspicion as the log told it last */
    enum core_plan planned;               /* as the log told it last */
    bool voted;
};

/* The last pulse of one process. */
struct failover_heard {
    uint64_t at_us;
    struct pulse pulse;
};

struct failover {
    struct gateway *gateway;
    char host[48];
    struct pulse_port *port;
    struct pulse_stats pulse_stats;
    struct failover_store *store;
    struct pulse_peers peers; /* the control thread's */
    const struct view *view;  /* the control thread's: borrowed, that which `units` were made from */
    uint64_t load_us;         /* the control thread's: when the units' load was told last */

    pthread_mutex_t lock;
    struct core core;
    struct core_actions actions; /* of one step */
    struct failover_stats stats;
    struct failover_unit *units; /* in the order of the view's */
    unsigned unit_count;
    struct failover_name *names;
    size_t name_count;
    struct pulse_peer *reach; /* a copy of the peers */
    struct address *to;       /* addresses of all of them, gateways first */
    size_t reach_count, gateway_count;
    bool reach_changed, votes_due;
    unsigned next_vote; /* of the units, where they do not fit one pulse */
    struct pulse out[FAILOVER_OUT_MOST];
    unsigned out_count;
    struct failover_heard *heard; /* [FAILOVER_HEARD_MOST] */
    size_t heard_count;
    struct failover_log log;
};

/* With the lock held. */

/* Lets the core take EVENT in, now, and does what it concludes. */
void failover_step(struct failover *failover, struct core_event *event);

struct failover_unit *failover_find_unit(struct failover *failover, uint64_t id);
/* The name of a unit, gateway or broker: "?" where none is known. A core_name_fn. */
const char *failover_name_of(void *failover, uint64_t id);

/* Tells the core of the record in force, where it does not know it yet, or AGAIN. */
void failover_feed(struct failover *failover, struct failover_unit *unit, bool again);

/* Logs what has changed since it was called last. */
void failover_tell(struct failover *failover);
/* The same for one unit, of what is to be told to the moment. */
void failover_tell_progress(struct failover *failover, uint64_t unit);

/* Without the lock: a record that came from elsewhere than the control thread's own watch. */
void failover_adopt(struct failover *failover, const char *unit, const struct broker_record *record);

#endif
