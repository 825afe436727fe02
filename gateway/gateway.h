/* SPDX-License-Identifier: Apache-2.0
 *
 * The process: configuration, workers, registry and the control thread (which is the main thread). Owns them all.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdatomic.h>

#include "gateway/config.h"
#include "gateway/peer.h"
#include "gateway/view.h"
#include "gateway/worker.h"

struct control;
struct copy_floors;
struct failover;
struct peer_counts;
struct tls;

struct gateway {
    struct gateway_config config; /* what cannot be reloaded is read from here by every thread; the reloadable fields
                                     are written by the control thread while all workers stand still (worker_post) */
    char name[64];
    char *broker_password;              /* NULL: none */
    struct peer_networks trusted_peers; /* of ingress.trusted_peers */
    struct tls *tls;                    /* NULL: no HTTPS listener */
    struct peer_counts *peer_counts;    /* NULL until the first listener is made */
    struct registry *registry;
    struct copy_floors *copy_floors;
    struct view *view; /* the control thread's: the newest, which workers start with; NULL where there are no rules */
    struct worker *workers;
    unsigned worker_count;
    struct control *control;
    struct failover *failover;
    int record_wanted;             /* eventfd: a worker has heard of a newer broker record than it knows */
    _Atomic uint64_t body_bytes;   /* request bodies held by all threads */
    _Atomic uint64_t answer_bytes; /* of values that are on their way to clients, of all threads */
    _Atomic uint32_t connections;  /* client connections of all threads */
    uint32_t places;               /* for them, of the process's descriptors; the others are for all it talks to */
    _Atomic bool draining;
};

#endif
