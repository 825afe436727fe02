/* SPDX-License-Identifier: Apache-2.0
 *
 * All ingress threads at once, for the control thread. The gateway owns the array.
 */
#ifndef GATEWAY_WORKERS_H
#define GATEWAY_WORKERS_H

#include "gateway/gateway.h"

/* Starts as many as `threads` asks for. With *err, those that started go on until workers_stop(). */
int workers_start(struct gateway *gateway, struct error *err) MUST_CHECK;

/* Hands VIEW to all; workers_epoch() tells when they have it. */
void workers_adopt(struct gateway *gateway, struct view *view);

/* The lowest epoch that any of them serves. */
uint64_t workers_epoch(const struct gateway *gateway);

/* Runs FN on the thread of each, and returns when all have: a loop turn, some milliseconds at worst. */
void workers_call(struct gateway *gateway, void (*fn)(struct worker *worker, void *arg), void *arg);

/* Runs FN on the control thread while all of them stand still between two events. */
void workers_pause(struct gateway *gateway, void (*fn)(struct gateway *gateway, void *arg), void *arg);

/* As worker_drain() and worker_stop() in gateway/worker.h, of all. They return when none accepts any more, and when all
 * have ended: who waited in a listen queue counts by then. */
void workers_drain(struct gateway *gateway);
void workers_stop(struct gateway *gateway);

/* The sum of the counter at OFFSET of their struct gateway_stats. */
uint64_t workers_sum(const struct gateway *gateway, size_t offset);

#endif
