/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/hold.h"

#include <stdlib.h>

#include "common/clock.h"
#include "gateway/gateway.h"
#include "gateway/timers.h"

#define MOST_REQUESTS 20000
#define MOST_BYTES    (64u << 20)

struct holds {
    struct worker *worker;
    struct timers timers;
    h2o_linklist_t waiting; /* of struct held, in the order in which they came */
    size_t count, bytes;
};

/* In the request's pool. */
struct held {
    struct holds *holds;
    struct exchange *exchange;
    bool (*waits)(const struct exchange *exchange); /* still */
    void (*go_on)(struct exchange *exchange);
    uint64_t since_us;
    h2o_linklist_t link;
    h2o_timeout_entry_t timer;
};

static struct held *first_of(h2o_linklist_t *list)
{
    return H2O_STRUCT_FROM_MEMBER(struct held, link, list->next);
}

static void leave(struct held *held)
{
    h2o_linklist_unlink(&held->link);
    timers_disarm(&held->timer);
    held->holds->count--;
    held->holds->bytes -= held->exchange->req->entity.len;
    held->exchange->detach = NULL;
}

static void on_detach(struct exchange *exchange)
{
    leave(exchange->carrier);
}

static void on_timeout(h2o_timeout_entry_t *entry)
{
    struct held *held = H2O_STRUCT_FROM_MEMBER(struct held, timer, entry);
    leave(held);
    exchange_fail(held->exchange, VERDICT_SWITCHING, NULL);
}

static bool is_switched(const struct exchange *exchange)
{
    return atomic_load_explicit(&exchange->unit->hold, memory_order_relaxed);
}

static bool is_leaving(const struct exchange *exchange)
{
    uint64_t routed = exchange->view->table->epoch;
    return routed <= atomic_load_explicit(&exchange->unit->moving_rules, memory_order_relaxed) &&
           unit_moves(exchange->unit, routed, exchange_slot(exchange));
}

static bool has_newer_rules(const struct exchange *exchange)
{
    return exchange->worker->view->table->epoch > exchange->view->table->epoch;
}

static bool waits_for_rules(const struct exchange *exchange)
{
    return !has_newer_rules(exchange) && is_leaving(exchange);
}

static void wait(struct holds *holds, struct exchange *exchange, bool (*waits)(const struct exchange *exchange),
                 void (*go_on)(struct exchange *exchange))
{
    struct held *held = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*held));
    *held = (struct held){.holds = holds,
                          .exchange = exchange,
                          .waits = waits,
                          .go_on = go_on,
                          .since_us = clock_monotonic_us(),
                          .timer.cb = on_timeout};
    h2o_linklist_insert(&holds->waiting, &held->link);
    timers_arm(&holds->timers, &held->timer, (uint64_t)holds->worker->gateway->config.failover.hold);
    holds->count++;
    holds->bytes += exchange->req->entity.len;
    exchange->carrier = held;
    exchange->detach = on_detach;
    stat_add(&holds->worker->stats.failover_held_total, 1);
}

static void hold(struct exchange *exchange, bool (*waits)(const struct exchange *exchange),
                 void (*go_on)(struct exchange *exchange))
{
    struct holds *holds = exchange->worker->holds;
    if (holds->count >= MOST_REQUESTS || holds->bytes + exchange->req->entity.len > MOST_BYTES)
        exchange_fail(exchange, VERDICT_SWITCHING, "Too many requests wait for it");
    else
        wait(holds, exchange, waits, go_on);
}

bool hold_exchange(struct exchange *exchange, void (*go_on)(struct exchange *exchange))
{
    if (is_leaving(exchange))
        hold_leaving(exchange);
    else if (is_switched(exchange))
        hold(exchange, is_switched, go_on);
    else
        return false;
    return true;
}

void hold_leaving(struct exchange *exchange)
{
    if (has_newer_rules(exchange))
        exchange_route_again(exchange);
    else
        hold(exchange, waits_for_rules, exchange_route_again);
}

static void release(struct held *held)
{
    uint64_t waited_us = clock_monotonic_us() - held->since_us;
    stat_observe(&held->holds->worker->stats.failover_held_time, waited_us);
    unit_waited(held->exchange->unit, waited_us);
    leave(held);
    held->go_on(held->exchange);
}

/* Going on may end others of them, so they are taken one by one from where they unlink themselves. */
void holds_follow(struct holds *holds)
{
    h2o_linklist_t all = {NULL, NULL};
    h2o_linklist_init_anchor(&all);
    h2o_linklist_insert_list(&all, &holds->waiting);
    while (!h2o_linklist_is_empty(&all)) {
        struct held *held = first_of(&all);
        if (!held->waits(held->exchange)) {
            release(held);
        } else {
            h2o_linklist_unlink(&held->link);
            h2o_linklist_insert(&holds->waiting, &held->link);
        }
    }
}

struct holds *holds_create(struct worker *worker)
{
    struct holds *holds = mem_calloc(1, sizeof(*holds));
    holds->worker = worker;
    holds->timers.loop = worker->h2o.loop;
    h2o_linklist_init_anchor(&holds->waiting);
    return holds;
}

void holds_destroy(struct holds **slot)
{
    struct holds *holds = *slot;
    *slot = NULL;
    if (holds == NULL)
        return;
    while (!h2o_linklist_is_empty(&holds->waiting)) {
        struct held *held = first_of(&holds->waiting);
        leave(held);
        exchange_fail(held->exchange, VERDICT_DRAINING, NULL);
    }
    timers_dispose(&holds->timers);
    free(holds);
}
