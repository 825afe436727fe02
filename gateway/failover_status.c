/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "gateway/failover_state.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *reasons_json(enum core_reason primary, enum core_reason consumers)
{
    return json_pack("{s:s,s:s}", "primary", core_reason_name(primary), "consumers", core_reason_name(consumers));
}

/* --- one unit ----------------------------------------------------------------------------------------------------- */

static json_t *votes_json(struct failover *failover, const struct core_unit *unit)
{
    json_t *votes = json_array();
    uint64_t now_us = clock_monotonic_us();
    for (unsigned i = 0; i < failover->core.gateway_count; i++) {
        const struct core_heard_vote *vote = &unit->heard[i];
        if (vote->at_us == 0)
            continue;
        json_t *json =
            reasons_json((enum core_reason)vote->reasons[CORE_PRIMARY], (enum core_reason)vote->reasons[CORE_CONSUMER]);
        json_object_set_new(json, "gateway", json_string(failover_name_of(failover, failover->core.gateways[i].id)));
        json_object_set_new(json, "epoch", number(vote->epoch));
        json_object_set_new(json, "abstains", json_boolean(vote->abstains));
        json_object_set_new(json, "standby_healthy", json_boolean(vote->standby_healthy));
        json_object_set_new(json, "age_ms", number((now_us - vote->at_us) / 1000));
        json_array_append_new(votes, json);
    }
    return votes;
}

static json_t *unit_json(struct failover *failover, const struct core_unit *unit)
{
    uint64_t now_us = clock_monotonic_us();
    json_t *vote = reasons_json(unit->vote.reasons[CORE_PRIMARY], unit->vote.reasons[CORE_CONSUMER]);
    json_object_set_new(vote, "abstains", json_boolean(unit->vote.abstains));
    json_object_set_new(vote, "standby_healthy", json_boolean(unit->vote.standby_healthy));
    const struct core_broker *primary = core_find_broker(unit, unit->record.primary);
    bool serves = primary != NULL && primary->primary && primary->epoch >= unit->record.epoch;
    return json_pack("{s:o,s:b,s:s,s:o,s:o,s:o,s:s,s:b,s:o}", "epoch", number(unit->record.epoch), "serves", serves,
                     "plan", core_plan_name(unit->plan), "suspicion",
                     reasons_json(unit->suspicion[CORE_PRIMARY], unit->suspicion[CORE_CONSUMER]), "suspected_ms",
                     number(unit->suspected_us != 0 ? (now_us - unit->suspected_us) / 1000 : 0), "vote", vote,
                     "refusal", core_refusal_name(unit->refusal), "alarmed", unit->alarmed, "votes",
                     votes_json(failover, unit));
}

json_t *failover_unit_status(struct failover *failover, const struct unit *unit)
{
    pthread_mutex_lock(&failover->lock);
    const struct core_unit *found = core_find_unit(&failover->core, pulse_hash(str_of(unit->name)));
    json_t *json = found != NULL ? unit_json(failover, found) : json_null();
    pthread_mutex_unlock(&failover->lock);
    return json;
}

/* --- who is heard ------------------------------------------------------------------------------------------------- */

static json_t *broker_json(struct failover *failover, const struct pulse_broker *broker)
{
    json_t *age = broker->age_us < UINT32_MAX ? number(broker->age_us / 1000) : json_null();
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:b,s:b,s:b,s:b}", "unit", failover_name_of(failover, broker->unit),
                     "url", failover_name_of(failover, broker->url), "role", broker->primary ? "primary" : "replica",
                     "epoch", number(broker->epoch), "offset", number(broker->offset), "answered_ms_ago", age,
                     "healthy", broker->healthy, "gone", broker->gone, "link_up", broker->link_up, "sees_primary",
                     broker->sees_primary);
}

static json_t *agent_json(struct failover *failover, const struct pulse *pulse)
{
    json_t *brokers = json_array();
    for (unsigned i = 0; i < pulse->agent.broker_count; i++)
        json_array_append_new(brokers, broker_json(failover, &pulse->agent.brokers[i]));
    return json_pack("{s:s,s:s,s:o,s:o}", "name", pulse->name, "unit", pulse->place, "epoch",
                     number(pulse->agent.epoch), "brokers", brokers);
}

static json_t *heard_json(struct failover *failover, const struct failover_heard *heard)
{
    const struct pulse *pulse = &heard->pulse;
    uint64_t age_us = clock_monotonic_us() - heard->at_us;
    json_t *json = pulse->by_agent ? agent_json(failover, pulse)
                                   : json_pack("{s:s,s:s}", "name", pulse->name, "datacenter", pulse->place);
    json_object_set_new(json, "age_ms", number(age_us / 1000));
    json_object_set_new(json, "heard", json_boolean(age_us <= FAILOVER_HEARD_US));
    json_object_set_new(json, "lag_us", number(pulse->loop_lag_us));
    return json;
}

json_t *failover_status(struct failover *failover)
{
    json_t *gateways = json_array(), *agents = json_array();
    pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < failover->heard_count; i++)
        json_array_append_new(failover->heard[i].pulse.by_agent ? agents : gateways,
                              heard_json(failover, &failover->heard[i]));
    const struct core *core = &failover->core;
    json_t *json = json_pack("{s:s,s:b,s:b,s:b,s:i,s:o,s:o}", "address", pulse_port_address(failover->port),
                             "automatic", core->policy.automatic, "doubts", core->now_us < core->doubts_us, "frozen",
                             core->now_us < core->frozen_us, "registered", (int)core->gateway_count, "gateways",
                             gateways, "agents", agents);
    pthread_mutex_unlock(&failover->lock);
    json_object_set_new(json, "lag_us", number(stat_get(&failover->pulse_stats.pulse_lag_us)));
    return json;
}

json_t *failover_transitions(struct failover *failover, size_t most)
{
    pthread_mutex_lock(&failover->lock);
    json_t *list = failover_log_json(&failover->log, most);
    pthread_mutex_unlock(&failover->lock);
    return list;
}

/* --- counters ----------------------------------------------------------------------------------------------------- */

static void count_heard(struct failover *failover)
{
    uint64_t now_us = clock_monotonic_us(), agents = 0, gateways = 0;
    for (size_t i = 0; i < failover->heard_count; i++) {
        bool there = now_us - failover->heard[i].at_us <= FAILOVER_HEARD_US;
        agents += there && failover->heard[i].pulse.by_agent;
        gateways += there && !failover->heard[i].pulse.by_agent;
    }
    stat_set(&failover->stats.failover_agents, agents);
    stat_set(&failover->stats.failover_peers, gateways);
}

const struct failover_stats *failover_stats(struct failover *failover)
{
    uint64_t suspected = 0, alarmed = 0;
    const struct core *core = &failover->core;
    pthread_mutex_lock(&failover->lock);
    count_heard(failover);
    for (unsigned i = 0; i < core->unit_count; i++) {
        suspected += core->units[i].suspected_us != 0;
        alarmed += core->units[i].alarmed;
    }
    stat_set(&failover->stats.failover_suspected_units, suspected);
    stat_set(&failover->stats.failover_alarmed_units, alarmed);
    stat_set(&failover->stats.failover_frozen, core->now_us < core->frozen_us);
    stat_set(&failover->stats.failover_doubts, core->now_us < core->doubts_us);
    pthread_mutex_unlock(&failover->lock);
    return &failover->stats;
}

const struct pulse_stats *failover_pulse_stats(const struct failover *failover)
{
    return &failover->pulse_stats;
}
