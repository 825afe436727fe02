/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "common/clock.h"
#include "gateway/failover_state.h"

#define LOAD_EVERY_US 1000000

/* What the rules and the members make of the watch; made apart, then swapped in under the lock. */
struct next {
    struct failover_unit *units;
    unsigned unit_count;
    struct failover_name *names;
    size_t name_count;
    struct pulse_peer *reach;
    struct address *to;
    size_t reach_count, gateway_count;
    struct core_unit_facts *facts;
    struct core_gateway gateways[CORE_GATEWAYS_MOST];
    unsigned gateways_known;
};

static uint64_t add_name(struct next *next, struct str text)
{
    uint64_t id = pulse_hash(text);
    next->names = mem_realloc(next->names, (next->name_count + 1) * sizeof(*next->names));
    next->names[next->name_count++] = (struct failover_name){id, str_dup(text)};
    return id;
}

static void add_unit(struct next *next, const struct view *view, uint32_t index)
{
    const struct table_unit *rules = &view->table->units[index];
    struct core_unit_facts *facts = &next->facts[next->unit_count];
    struct failover_unit *unit = &next->units[next->unit_count++];
    *facts = (struct core_unit_facts){.id = add_name(next, rules->name),
                                      .datacenter = pulse_hash(rules->datacenter),
                                      .capacity_rps = rules->capacity_rps};
    if (rules->standby != NO_UNIT)
        facts->standby = pulse_hash(view->table->units[rules->standby].name);
    for (uint32_t i = 0; i < rules->broker_count && i < CORE_BROKERS_MOST; i++)
        facts->brokers[facts->broker_count++] = add_name(next, rules->brokers[i]);
    *unit = (struct failover_unit){.unit = view->units[index].unit, .id = facts->id};
}

static void add_gateway(struct next *next, struct str name, struct str datacenter)
{
    if (next->gateways_known < CORE_GATEWAYS_MOST)
        next->gateways[next->gateways_known++] = (struct core_gateway){add_name(next, name), pulse_hash(datacenter)};
}

static void add_peers(struct next *next, const struct pulse_peers *peers, bool agents)
{
    for (size_t i = 0; i < peers->count; i++) {
        const struct pulse_peer *peer = &peers->items[i];
        if ((strcmp(peer->member.role, "agent") == 0) != agents)
            continue;
        next->to[next->reach_count] = peer->address;
        next->reach[next->reach_count++] = *peer;
        if (!agents)
            add_gateway(next, str_of(peer->member.name), str_of(peer->member.datacenter));
    }
    if (!agents)
        next->gateway_count = next->reach_count;
}

static void make_next(struct failover *failover, const struct view *view, struct next *next)
{
    const char *datacenter = failover->gateway->config.datacenter;
    uint32_t units = view != NULL ? view->table->unit_count : 0;
    next->units = mem_calloc(units + 1, sizeof(*next->units));
    next->facts = mem_calloc(units + 1, sizeof(*next->facts));
    for (uint32_t i = 0; i < units && i < CORE_UNITS_MOST; i++)
        add_unit(next, view, i);
    next->reach = mem_calloc(failover->peers.count + 1, sizeof(*next->reach));
    next->to = mem_calloc(failover->peers.count + 1, sizeof(*next->to));
    add_gateway(next, str_of(failover->gateway->name), str_of(datacenter ? datacenter : ""));
    add_peers(next, &failover->peers, false);
    add_peers(next, &failover->peers, true);
}

#define SWAP(a, b)                                                                                                     \
    do {                                                                                                               \
        __typeof__(a) kept = a;                                                                                        \
        a = b;                                                                                                         \
        b = kept;                                                                                                      \
    } while (0)

/* With the lock held. Units that stay keep what was told of them; the core keeps what it heard. */
static void swap_in(struct failover *failover, struct next *next)
{
    for (unsigned i = 0; i < next->unit_count; i++) {
        const struct failover_unit *before = failover_find_unit(failover, next->units[i].id);
        if (before != NULL)
            next->units[i] = *before;
    }
    SWAP(failover->units, next->units);
    SWAP(failover->unit_count, next->unit_count);
    SWAP(failover->names, next->names);
    SWAP(failover->name_count, next->name_count);
    SWAP(failover->reach, next->reach);
    SWAP(failover->to, next->to);
    failover->reach_count = next->reach_count;
    failover->gateway_count = next->gateway_count;
    failover->reach_changed = true;
}

static void configure(struct failover *failover, const struct view *view)
{
    struct next next = {.units = NULL};
    make_next(failover, view, &next);
    unsigned units = next.unit_count;
    struct core_config config = {.self = pulse_hash(str_of(failover->gateway->name)),
                                 .gateways = next.gateways,
                                 .gateway_count = next.gateways_known,
                                 .units = next.facts,
                                 .unit_count = units};
    struct core_event event = {.kind = CORE_CONFIG, .config = &config};
    if (view != NULL)
        config.policy = view->table->failover;
    pthread_mutex_lock(&failover->lock);
    swap_in(failover, &next);
    failover_step(failover, &event);
    for (unsigned i = 0; i < failover->unit_count; i++)
        failover_feed(failover, &failover->units[i], true);
    pthread_mutex_unlock(&failover->lock);
    for (size_t i = 0; i < next.name_count; i++)
        free(next.names[i].text);
    free(next.names);
    free(next.units);
    free(next.facts);
    free(next.reach);
    free(next.to);
}

/* This gateway's share, times the gateways: clients are spread over them. */
static void tell_load(struct failover *failover)
{
    uint64_t now_us = clock_monotonic_us(), since_us = now_us - failover->load_us;
    if (since_us < LOAD_EVERY_US)
        return;
    pthread_mutex_lock(&failover->lock);
    for (unsigned i = 0; i < failover->unit_count; i++) {
        struct failover_unit *unit = &failover->units[i];
        uint64_t requests = stat_get(&unit->unit->requests);
        double rps = (double)(requests - unit->requests) * 1e6 / (double)since_us;
        struct core_event event = {.kind = CORE_LOAD, .load = {unit->id, rps * failover->core.gateway_count}};
        unit->requests = requests;
        failover_step(failover, &event);
    }
    pthread_mutex_unlock(&failover->lock);
    failover->load_us = now_us;
}

void failover_follow(struct failover *failover, const struct view *view, struct store *store, bool store_up)
{
    struct core_event event = {.kind = CORE_STORE, .store_up = store_up};
    bool others = pulse_peers_follow(&failover->peers, store_up ? store : NULL, pulse_port_address(failover->port));
    if (others || view != failover->view || failover->core.gateway_count == 0)
        configure(failover, view);
    failover->view = view;
    pthread_mutex_lock(&failover->lock);
    failover_step(failover, &event);
    pthread_mutex_unlock(&failover->lock);
    tell_load(failover);
}

void failover_save(struct failover *failover)
{
    pulse_peers_save(&failover->peers);
}
