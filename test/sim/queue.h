/* SPDX-License-Identifier: Apache-2.0
 *
 * What is to happen, by time and then by the order in which it was planned: a binary heap over a pool of events. Owned
 * by the world; an event that was taken is valid until the next one is taken.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include "test/sim/event.h"

struct sim_queue *queue_create(void);
void queue_destroy(struct sim_queue **queue);
void queue_clear(struct sim_queue *queue);

/* A zeroed event at AT_US, to be filled in before the next call. */
struct sim_event *queue_put(struct sim_queue *queue, uint64_t at_us, uint64_t order);

/* The next event; NULL where nothing is planned. */
struct sim_event *queue_take(struct sim_queue *queue);

#endif
