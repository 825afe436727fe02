/* SPDX-License-Identifier: Apache-2.0
 *
 * One ingress thread: an event loop, its listening sockets, its view of the rules, its connections to brokers and
 * nodes. Everything in it belongs to its thread alone; other threads talk to it through worker_post_*().
 */
#ifndef GATEWAY_WORKER_H
#define GATEWAY_WORKER_H

#include <h2o.h>
#include <pthread.h>

#include "common/stats.h"
#include "gateway/timers.h"
#include "gateway/view.h"

struct gateway;
struct queue;
struct copies;
struct replies;
struct holds;
struct watches;
struct proxy;
struct listener;
struct access_log;
struct sampler;

struct gateway_stats {
#define STAT(name, kind, help) stat_value name;
#include "gateway/gateway_stats_tbl.h"
#undef STAT
    stat_value verdicts[VERDICT_COUNT]; /* answers by verdict */
    struct stat_histogram queue_latency, reply_latency, proxy_latency, failover_held_time, collection_read_latency,
        collection_write_latency;
};

struct worker {
    struct gateway *gateway;
    unsigned index;
    pthread_t thread;
    h2o_globalconf_t h2o_config;
    h2o_context_t h2o; /* h2o.loop is the event loop */
    h2o_accept_ctx_t accept;
    h2o_multithread_queue_t *mail_queue;
    h2o_multithread_receiver_t mail;
    struct timers timers;
    struct view *view;      /* NULL until the first rules arrived */
    _Atomic uint64_t epoch; /* of `view`, for other threads */
    struct gateway_stats stats;
    struct queue *queue;
    struct copies *copies;
    struct replies *replies;
    struct holds *holds;
    struct watches *watches;
    struct proxy *proxy;
    struct listener *listener;
    struct access_log *access_log; /* NULL: off */
    struct sampler *sampler;
    uint64_t random[4];
    bool draining, stopping;
};

/* From the control thread, in this order. worker_start returns when the worker's sockets listen, or with *err. */
int worker_start(struct worker *worker, struct gateway *gateway, unsigned index, struct error *err) MUST_CHECK;
/* Swaps the view between two requests; takes a reference of its own. `epoch` follows when it is done. */
void worker_adopt(struct worker *worker, struct view *view);
/* Runs FN(worker, ARG) on the worker's thread, between two events. Posts are run in the order they were made. */
void worker_post(struct worker *worker, void (*fn)(struct worker *worker, void *arg), void *arg);
/* Hands libh2o what it keeps copies of, after a reload; while the worker stands still. */
void worker_reconfigure(struct worker *worker);
/* On the worker's thread: stops accepting; what is in flight goes on. */
void worker_drain(struct worker *worker, void *unused);
/* Ends the thread after its current turn, whatever is in flight, and releases all it owns. */
void worker_stop(struct worker *worker);

static inline struct worker *worker_of(h2o_req_t *req)
{
    return H2O_STRUCT_FROM_MEMBER(struct worker, h2o, req->conn->ctx);
}

/* 64 random bits (xoshiro256**), not for secrets. */
uint64_t worker_random(struct worker *worker);

#endif
