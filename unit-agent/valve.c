/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/valve.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"

#define BURST_US 50000 /* of its rate may pass at once */

/* `next_us` is when the next message is due if every message kept its distance; it may run ahead of the clock by the
 * burst (the generic cell rate algorithm, ITU-T I.371). */
struct valve {
    struct valve *next;
    struct valves *valves;
    char *topic, *subscription;
    uint32_t rate;
    uint64_t next_us;
    struct message_queue held;
    sd_event_source *timer;
    bool named; /* by the control hash that is being adopted */
};

struct valves {
    sd_event *loop;
    struct partition_hooks downstream;
    struct valve *first;
    bool known; /* what operators have set; nothing passes before */
};

struct valves *valves_create(sd_event *loop, struct partition_hooks downstream)
{
    struct valves *valves = mem_calloc(1, sizeof(*valves));
    valves->loop = loop;
    valves->downstream = downstream;
    return valves;
}

void valves_destroy(struct valves **valves)
{
    if (*valves == NULL)
        return;
    for (struct valve *valve; (valve = (*valves)->first) != NULL;) {
        INVARIANT(valve->held.count == 0);
        (*valves)->first = valve->next;
        sd_event_source_disable_unref(valve->timer);
        free(valve->topic);
        free(valve->subscription);
        free(valve);
    }
    free(*valves);
    *valves = NULL;
}

static struct valve *find(const struct valves *valves, struct str topic, struct str subscription)
{
    for (struct valve *valve = valves->first; valve != NULL; valve = valve->next)
        if (str_equal(str_of(valve->topic), topic) && str_equal(str_of(valve->subscription), subscription))
            return valve;
    return NULL;
}

static struct valve *add(struct valves *valves, struct str topic, struct str subscription, uint32_t rate)
{
    struct valve *valve = mem_calloc(1, sizeof(*valve));
    *valve = (struct valve){.next = valves->first,
                            .valves = valves,
                            .topic = str_dup(topic),
                            .subscription = str_dup(subscription),
                            .rate = rate};
    valves->first = valve;
    return valve;
}

/* How long until one more may pass; 0: it passes now, and counts. */
static uint64_t wait_us(struct valve *valve)
{
    uint64_t now_us = clock_monotonic_us();
    if (valve->rate == VALVE_OPEN)
        return 0;
    if (valve->rate == VALVE_CLOSED)
        return UINT64_MAX;
    if (valve->next_us < now_us)
        valve->next_us = now_us;
    if (valve->next_us > now_us + BURST_US)
        return valve->next_us - now_us - BURST_US;
    valve->next_us += 1000000 / valve->rate;
    return 0;
}

static void pass(struct valve *valve, struct message *message)
{
    message->valve = NULL;
    valve->valves->downstream.ready(valve->valves->downstream.arg, message);
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg);

static void let_through(struct valve *valve)
{
    while (valve->held.count > 0) {
        uint64_t us = wait_us(valve);
        if (us == UINT64_MAX)
            return;
        if (us > 0) {
            if (valve->timer == NULL)
                INVARIANT(sd_event_add_time_relative(valve->valves->loop, &valve->timer, CLOCK_MONOTONIC, us, 1000,
                                                     on_time, valve) >= 0);
            return;
        }
        pass(valve, message_queue_take(&valve->held));
    }
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct valve *valve = arg;
    valve->timer = sd_event_source_disable_unref(valve->timer);
    let_through(valve);
    return 0;
}

void valves_ready(void *arg, struct message *message)
{
    struct valves *valves = arg;
    const struct partition *partition = message->partition;
    struct valve *valve = find(valves, str_of(partition->topic), str_of(partition->subscription));
    if (valve == NULL && !valves->known)
        valve = add(valves, str_of(partition->topic), str_of(partition->subscription), VALVE_CLOSED);
    if (valve == NULL || (valve->held.count == 0 && wait_us(valve) == 0)) {
        valves->downstream.ready(valves->downstream.arg, message);
        return;
    }
    message->state = MESSAGE_READY;
    message->valve = valve;
    message_queue_put(&valve->held, message);
    let_through(valve);
}

void valves_withdraw(void *arg, struct message *message)
{
    struct valves *valves = arg;
    if (message->valve == NULL) {
        valves->downstream.withdraw(valves->downstream.arg, message);
        return;
    }
    message_queue_remove(&message->valve->held, message);
    message->valve = NULL;
}

static void set_rate(struct valve *valve, uint32_t rate)
{
    valve->named = true;
    if (valve->rate == rate)
        return;
    valve->rate = rate;
    valve->next_us = 0;
    valve->timer = sd_event_source_disable_unref(valve->timer);
    if (rate == VALVE_OPEN)
        log_info("valve.open", "%s/%s is delivered freely", valve->topic, valve->subscription);
    else if (rate == VALVE_CLOSED)
        log_warning("valve.closed", "%s/%s is paused by an operator", valve->topic, valve->subscription);
    else
        log_warning("valve.throttled", "%s/%s is throttled to %u messages a second", valve->topic, valve->subscription,
                    rate);
    let_through(valve);
}

static bool parse_rate(struct str setting, uint32_t *rate)
{
    uint64_t number = VALVE_CLOSED;
    if (!str_equal(setting, STR_LIT("paused")) && (!str_to_u64(setting, &number) || number == 0 || number > 1000000))
        return false;
    *rate = (uint32_t)number;
    return true;
}

void valves_adopt(struct valves *valves, const struct str *names, const struct str *settings, size_t count)
{
    valves->known = true;
    for (struct valve *valve = valves->first; valve != NULL; valve = valve->next)
        valve->named = false;
    for (size_t i = 0; i < count; i++) {
        struct str name = names[i], topic;
        uint32_t rate;
        if (!str_next(&name, '/', &topic) || name.base == NULL || !parse_rate(settings[i], &rate))
            continue;
        struct valve *valve = find(valves, topic, name);
        set_rate(valve != NULL ? valve : add(valves, topic, name, VALVE_OPEN), rate);
    }
    for (struct valve *valve = valves->first; valve != NULL; valve = valve->next)
        if (!valve->named)
            set_rate(valve, VALVE_OPEN);
}
