/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment in one process: gateways with real cores (router/core.h), and models of agents, brokers, a store and the
 * network between them, driven by one seeded source of chance. The same seed gives the same run, to the last event.
 *
 * Each part acts only on what reached it by message; the checks alone (check.c) see everything. Times are microseconds
 * of the world; every gateway and agent has a clock of its own that differs from it.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "test/sim/event.h"

struct world {
    uint64_t seed, chance, now_us, order;
    struct sim_queue *queue;
    struct gateway *gateways; /* GATEWAYS_MOST; kept from seed to seed, for their size */
    struct agent agents[UNITS_MOST];
    struct unit units[UNITS_MOST];
    struct sim_record store[UNITS_MOST];
    uint64_t epoch; /* the store's one counter */
    uint64_t runs;  /* given out */
    struct table_failover policy;
    uint8_t gateway_count, unit_count, store_site;
    uint8_t cut[PLACES_MOST][PLACES_MOST];
    uint32_t loss_ppm, delay_us, jitter_us;
    bool store_away, noise_only, healed, trace;
    uint64_t lost_reply_ppm, chaos_us, end_us;
    enum mutant mutant;
    enum core_refusal waived;
    struct core_actions actions;
    char failure[400];
    uint64_t failovers, switches, acknowledged, events;
};

uint64_t sim_chance(struct world *world, uint64_t below);
bool sim_happens(struct world *world, uint64_t ppm);
struct sim_event *sim_plan(struct world *world, uint64_t in_us, enum sim_kind kind, uint8_t from, uint8_t to);
/* A datagram, which may be lost; NULL where it is. A message of a connection comes late instead, unless cut off. */
struct sim_event *sim_cast(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to);
struct sim_event *sim_send(struct world *world, enum sim_kind kind, uint8_t from, uint8_t to);
bool sim_reaches(const struct world *world, uint8_t from, uint8_t to);
void sim_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool sim_run(struct world *world, uint64_t seed);

static inline uint8_t place_of_gateway(uint8_t gateway)
{
    return gateway;
}

static inline uint8_t place_of_host(uint8_t unit)
{
    return GATEWAYS_MOST + unit;
}

#define PLACE_STORE (GATEWAYS_MOST + UNITS_MOST)

static inline bool is_gateway(uint8_t place)
{
    return place < GATEWAYS_MOST;
}

/* The unit on whose host broker INDEX of UNIT runs. */
static inline uint8_t host_of(const struct world *world, uint8_t unit, uint8_t index)
{
    return index == 0 || world->units[unit].standby == NONE ? unit : world->units[unit].standby;
}

static inline uint8_t place_of_broker(const struct world *world, uint8_t unit, uint8_t index)
{
    return place_of_host(host_of(world, unit, index));
}

static inline uint64_t broker_id(uint8_t unit, uint8_t index)
{
    return 1000 + unit * 10 + index;
}

static inline uint64_t unit_id(uint8_t unit)
{
    return 100 + unit;
}

static inline uint64_t gateway_id(uint8_t gateway)
{
    return 10 + gateway;
}

#endif
