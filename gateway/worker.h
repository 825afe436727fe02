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
#include "gateway/view.h"

struct gateway;
struct queue;
struct proxy;
struct listener;
struct access_log;
struct sampler;

struct gateway_stats {
#define STAT(name, kind, help) stat_value name;
#include "gateway/gateway_stats_tbl.h"
#undef STAT
    stat_value verdicts[VERDICT_COUNT]; /* answers by verdict */
    struct stat_histogram queue_latency, proxy_latency;
};

struct worker {
    struct gateway *gateway;
    unsigned index;
    pthread_t thread;
    h2o_context_t h2o; /* h2o.loop is the event loop */
    h2o_accept_ctx_t accept;
    struct view *view; /* NULL until the first rules arrived */
    _Atomic uint64_t epoch; /* of `view`, for other threads */
    struct gateway_stats stats;
    struct queue *queue;
    struct proxy *proxy;
    struct listener *listener;
    struct access_log *access_log; /* NULL: off */
    struct sampler *sampler;
    uint64_t random[4];
    bool draining;
};

/* 64 random bits, not for secrets. */
uint64_t worker_random(struct worker *worker);

/* Microseconds of the wall clock, read once a loop turn or so: good for stamps. */
uint64_t worker_wall_us(struct worker *worker);

#endif
