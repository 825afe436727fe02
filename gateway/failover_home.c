/* SPDX-License-Identifier: Apache-2.0
 *
 * What the watch knows of a unit when an operator wants to work on it.
 */
#include "common/clock.h"
#include "gateway/failover_state.h"
#include "router/core_rules.h"

#define PATIENT_US 1000000 /* an operator can wait: nobody is gone for a pulse or two that did not come */

static void add_hands(struct unit_hands *hands, const struct pulse *pulse)
{
    unsigned up = 0, listed = 0;
    for (unsigned i = 0; i < PULSE_COLORS; i++) {
        up += pulse->agent.nodes[i].up;
        listed += pulse->agent.nodes[i].listed;
    }
    hands->agents++;
    hands->nodes_up = up > hands->nodes_up ? up : hands->nodes_up;
    hands->nodes_listed = listed > hands->nodes_listed ? listed : hands->nodes_listed;
}

struct unit_hands failover_hands(struct failover *failover, struct str unit)
{
    struct unit_hands hands = {0, 0, 0};
    pthread_mutex_lock(&failover->lock);
    uint64_t now_us = clock_monotonic_us(); /* behind all that was heard */
    for (size_t i = 0; i < failover->heard_count; i++) {
        const struct failover_heard *heard = &failover->heard[i];
        if (heard->pulse.by_agent && now_us - heard->at_us <= PATIENT_US && str_equal(str_of(heard->pulse.place), unit))
            add_hands(&hands, &heard->pulse);
    }
    pthread_mutex_unlock(&failover->lock);
    return hands;
}

bool failover_is_well(struct failover *failover, struct str unit, struct str url, struct str run_id)
{
    pthread_mutex_lock(&failover->lock);
    const struct core_unit *found = core_find_unit(&failover->core, pulse_hash(unit));
    const struct core_broker *broker = found != NULL ? core_find_broker(found, pulse_hash(url)) : NULL;
    uint64_t now_us = clock_monotonic_us();
    bool well = broker != NULL && broker->healthy && broker->run_id == pulse_hash(run_id) &&
                now_us < broker->pulse_us + PATIENT_US && now_us < broker->heard_us + PATIENT_US;
    pthread_mutex_unlock(&failover->lock);
    return well;
}

bool failover_has_room(struct failover *failover, struct str unit)
{
    pthread_mutex_lock(&failover->lock);
    const struct core_unit *found = core_find_unit(&failover->core, pulse_hash(unit));
    bool room = found != NULL && core_has_room(&failover->core, found);
    pthread_mutex_unlock(&failover->lock);
    return room;
}
