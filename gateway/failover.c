/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/measure.h"
#include "gateway/failover_state.h"
#include "router/core_evidence.h"
#include "router/core_state.h"
#include "router/core_text.h"

#define PUSH_EVERY_US 50000   /* to who goes by an older record */
#define HURRY_US      1000000 /* what is unheard for longer is no failover's concern any more */

const struct stat_row failover_stat_rows[] = {
#define STAT(name, kind, help) {#name, kind, help, offsetof(struct failover_stats, name)},
#include "gateway/failover_stats_tbl.h"
#undef STAT
};
const size_t failover_stat_row_count = COUNT_OF(failover_stat_rows);

/* --- finding ------------------------------------------------------------------------------------------------------ */

struct failover_unit *failover_find_unit(struct failover *failover, uint64_t id)
{
    for (unsigned i = 0; i < failover->unit_count; i++)
        if (failover->units[i].id == id)
            return &failover->units[i];
    return NULL;
}

const char *failover_name_of(void *arg, uint64_t id)
{
    const struct failover *failover = arg;
    for (size_t i = 0; i < failover->name_count; i++)
        if (failover->names[i].id == id)
            return failover->names[i].text;
    return "?";
}

static const struct address *address_of(const struct failover *failover, const struct pulse *pulse)
{
    for (size_t i = 0; i < failover->reach_count; i++)
        if ((i >= failover->gateway_count) == pulse->by_agent &&
            strcmp(failover->reach[i].member.name, pulse->name) == 0)
            return &failover->to[i];
    return NULL;
}

/* --- the core's conclusions --------------------------------------------------------------------------------------- */

static void propose(struct failover *failover, const struct core_proposal *proposal)
{
    struct buf why = {NULL, 0, 0};
    core_explain(proposal, failover_name_of, failover, &why);
    failover_log_add(&failover->log, FAILOVER_PROPOSED, failover_name_of(failover, proposal->unit),
                     proposal->from_epoch, buf_str(&why));
    stat_add(&failover->stats.failover_proposals_total, 1);
    failover_store_propose(failover->store, proposal, why.base);
    buf_free(&why);
}

static void alarm_or_calm(struct failover *failover, const struct core_action *action)
{
    bool alarm = action->kind == CORE_ALARM;
    const struct core_unit *unit = core_find_unit(&failover->core, action->unit);
    struct str text = str_of(alarm ? core_refusal_name(action->refusal) : "nothing is suspected any more");
    failover_log_add(&failover->log, alarm ? FAILOVER_ALARM : FAILOVER_CALM, failover_name_of(failover, action->unit),
                     unit != NULL ? unit->record.epoch : 0, text);
}

static void act(struct failover *failover, const struct core_action *action)
{
    switch (action->kind) {
    case CORE_PROPOSE:
        propose(failover, &action->proposal);
        break;
    case CORE_VOTE:
        failover->votes_due = true;
        break;
    case CORE_ASK:
        failover_store_ask(failover->store, action->unit);
        break;
    case CORE_ALARM:
    case CORE_CALM:
        alarm_or_calm(failover, action);
        break;
    }
}

/* --- a step ------------------------------------------------------------------------------------------------------- */

void failover_step(struct failover *failover, struct core_event *event)
{
    uint64_t now_us = clock_monotonic_us();
    event->now_us = now_us > failover->core.now_us ? now_us : failover->core.now_us;
    core_step(&failover->core, event, &failover->actions);
    if (event->kind == CORE_BROKER)
        failover_tell_progress(failover, event->broker.unit);
    else if (event->kind == CORE_RECORD)
        failover_tell_progress(failover, event->record.unit);
    for (unsigned i = 0; i < failover->actions.count; i++)
        act(failover, &failover->actions.items[i]);
    if (event->kind == CORE_TICK || failover->actions.count > 0)
        failover_tell(failover);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void to_core(const struct failover_unit *unit, const struct broker_record *record, struct core_record *out)
{
    uint64_t wall_us = clock_wall_us();
    *out = (struct core_record){.unit = unit->id,
                                .epoch = record->version,
                                .primary = pulse_hash(str_of(record->primary)),
                                .consumer = pulse_hash(str_of(record->consumer)),
                                .target = pulse_hash(str_of(record->target)),
                                .target_consumer = pulse_hash(str_of(record->target_consumer)),
                                .hold = record->hold && record->target[0] != '\0',
                                .drained = record->drained.at_us != 0,
                                .moved_ago_us = UINT64_MAX};
    if (record->moved_us != 0)
        out->moved_ago_us = wall_us > record->moved_us ? wall_us - record->moved_us : 0;
    for (unsigned i = 0; i < record->member_count && i < CORE_BROKERS_MOST; i++)
        out->members[out->member_count++] = (struct core_member){pulse_hash(str_of(record->members[i].url)),
                                                                 pulse_hash(str_of(record->members[i].run_id))};
}

static void tell_record(struct failover *failover, const struct failover_unit *unit, const struct broker_record *record)
{
    struct buf text = {NULL, 0, 0};
    buf_printf(&text, "primary %s, %u in sync", record->primary, record->member_count);
    if (record->consumer[0] != '\0')
        buf_printf(&text, ", consumed by %s", record->consumer);
    buf_printf(&text, "%s, by %s%s%s", record->hold ? ", held" : "", record->by, record->why[0] != '\0' ? ": " : "",
               record->why);
    stat_add(&failover->stats.failover_records_total, 1);
    failover_log_add(&failover->log, FAILOVER_RECORD, unit->unit->name, record->version, buf_str(&text));
    buf_free(&text);
}

void failover_feed(struct failover *failover, struct failover_unit *unit, bool again)
{
    struct broker_record record;
    struct core_event event = {.kind = CORE_RECORD};
    bool news = atomic_load_explicit(&unit->unit->record_version, memory_order_acquire) != unit->fed;
    if (!news && !again)
        return;
    unit_record(unit->unit, &record);
    unit->fed = record.version;
    to_core(unit, &record, &event.record);
    if (news)
        pulse_port_hurry(failover->port);
    if (news && record.version > 0)
        tell_record(failover, unit, &record);
    failover_step(failover, &event);
}

void failover_adopt(struct failover *failover, const char *name, const struct broker_record *record)
{
    pthread_mutex_lock(&failover->lock);
    struct failover_unit *found = failover_find_unit(failover, pulse_hash(str_of(name)));
    struct unit *unit = found != NULL ? found->unit : NULL;
    pthread_mutex_unlock(&failover->lock);
    if (unit == NULL)
        return;
    bool taken = unit_set_record(unit, record); /* wakes the workers: not under our lock */
    pthread_mutex_lock(&failover->lock);
    stat_add(&failover->stats.failover_pushed_total, taken);
    found = failover_find_unit(failover, pulse_hash(str_of(name)));
    if (found != NULL)
        failover_feed(failover, found, true);
    pthread_mutex_unlock(&failover->lock);
}

/* RECORD is to be sent to everybody, at the next ring. */
static void push(struct failover *failover, const char *unit, const struct broker_record *record)
{
    struct buf text = {NULL, 0, 0};
    broker_record_format(record, &text);
    if (failover->out_count < FAILOVER_OUT_MOST)
        failover->out_count +=
            pulse_set_record(&failover->out[failover->out_count], unit, record->version, buf_str(&text));
    buf_free(&text);
}

void failover_announce(struct failover *failover, const char *unit, const struct broker_record *record)
{
    pthread_mutex_lock(&failover->lock);
    push(failover, unit, record);
    pthread_mutex_unlock(&failover->lock);
    pulse_port_ring(failover->port);
    failover_adopt(failover, unit, record);
}

static bool leads(const struct core_unit *unit, uint64_t epoch)
{
    const struct core_record *record = &unit->record;
    const struct core_broker *primary = core_find_broker(unit, record->primary);
    return primary != NULL && record->member_count > 0 && primary->primary && primary->epoch >= epoch &&
           primary->run_id == record->members[0].run_id && clock_monotonic_us() - primary->led_us < FAILOVER_HEARD_US;
}

bool failover_leads(struct failover *failover, const char *name, uint64_t epoch)
{
    pthread_mutex_lock(&failover->lock);
    const struct core_unit *unit = core_find_unit(&failover->core, pulse_hash(str_of(name)));
    bool does = unit != NULL && leads(unit, epoch);
    pthread_mutex_unlock(&failover->lock);
    return does;
}

/* Who goes by an older record than this gateway is told of it, which brings the news past a store that is away. */
static void push_to(struct failover *failover, const struct pulse *heard, struct failover_unit *unit, uint64_t epoch)
{
    struct broker_record record;
    struct pulse pulse;
    struct buf text = {NULL, 0, 0};
    const struct address *to = address_of(failover, heard);
    uint64_t now_us = clock_monotonic_us();
    if (epoch >= unit->fed || to == NULL || now_us - unit->pushed_us < PUSH_EVERY_US)
        return;
    unit->pushed_us = now_us;
    unit_record(unit->unit, &record);
    broker_record_format(&record, &text);
    if (pulse_set_record(&pulse, unit->unit->name, record.version, buf_str(&text)))
        pulse_port_send(failover->port, &pulse, to, 1);
    buf_free(&text);
}

/* --- pulses: heard ------------------------------------------------------------------------------------------------ */

/* Where PULSE is kept; where there is no room, in place of who was silent for longest. */
static struct failover_heard *place_of(struct failover *failover, const struct pulse *pulse)
{
    struct failover_heard *oldest = &failover->heard[0];
    for (size_t i = 0; i < failover->heard_count; i++) {
        struct failover_heard *heard = &failover->heard[i];
        if (heard->pulse.by_agent == pulse->by_agent && strcmp(heard->pulse.name, pulse->name) == 0)
            return heard;
        oldest = heard->at_us < oldest->at_us ? heard : oldest;
    }
    return failover->heard_count < FAILOVER_HEARD_MOST ? &failover->heard[failover->heard_count++] : oldest;
}

static void remember(struct failover *failover, const struct pulse *pulse)
{
    *place_of(failover, pulse) = (struct failover_heard){clock_monotonic_us(), *pulse};
}

/* An app without nodes asks nobody to deliver to it. */
static bool can_consume(const struct pulse *pulse)
{
    unsigned up = 0, listed = 0;
    for (unsigned i = 0; i < PULSE_COLORS; i++) {
        up += pulse->agent.nodes[i].up;
        listed += pulse->agent.nodes[i].listed;
    }
    return up > 0 || listed == 0;
}

static void hear_agent(struct failover *failover, const struct pulse *pulse)
{
    uint64_t id = pulse_hash(str_of(pulse->place));
    struct failover_unit *unit = failover_find_unit(failover, id);
    struct core_event event = {.kind = CORE_AGENT, .agent = {id, can_consume(pulse)}};
    failover_step(failover, &event);
    for (unsigned i = 0; i < pulse->agent.broker_count; i++) {
        const struct pulse_broker *broker = &pulse->agent.brokers[i];
        struct core_event seen = {.kind = CORE_BROKER,
                                  .broker = {.unit = broker->unit,
                                             .broker = broker->url,
                                             .run_id = broker->run_id,
                                             .epoch = broker->epoch,
                                             .offset = broker->offset,
                                             .age_us = broker->age_us < UINT32_MAX ? broker->age_us : UINT64_MAX,
                                             .healthy = broker->healthy,
                                             .primary = broker->primary,
                                             .sees_primary = broker->sees_primary,
                                             .gone = broker->gone}};
        failover_step(failover, &seen);
    }
    if (unit != NULL)
        push_to(failover, pulse, unit, pulse->agent.epoch);
}

static void hear_gateway(struct failover *failover, const struct pulse *pulse)
{
    for (unsigned i = 0; i < pulse->gateway.vote_count; i++) {
        const struct pulse_vote *vote = &pulse->gateway.votes[i];
        struct failover_unit *unit = failover_find_unit(failover, vote->unit);
        struct core_event event = {.kind = CORE_PEER,
                                   .peer = {.gateway = pulse_hash(str_of(pulse->name)),
                                            .unit = vote->unit,
                                            .epoch = vote->epoch,
                                            .abstains = vote->abstains,
                                            .standby_healthy = vote->standby_healthy}};
        for (enum core_matter matter = 0; matter < CORE_MATTERS; matter++)
            event.peer.reasons[matter] = (enum core_reason)vote->reasons[matter];
        failover_step(failover, &event);
        if (unit != NULL)
            push_to(failover, pulse, unit, vote->epoch);
    }
}

/* --- pulses: sent ------------------------------------------------------------------------------------------------- */

static void fill_vote(struct pulse_vote *vote, const struct core_unit *unit)
{
    *vote = (struct pulse_vote){.unit = unit->facts.id,
                                .epoch = unit->record.epoch,
                                .abstains = unit->vote.abstains,
                                .standby_healthy = unit->vote.standby_healthy};
    for (enum core_matter matter = 0; matter < CORE_MATTERS; matter++)
        vote->reasons[matter] = (uint8_t)unit->vote.reasons[matter];
}

/* All units where they fit; else those that are suspected, and the others in turn. */
static void fill_votes(struct failover *failover, struct pulse *pulse)
{
    const struct core *core = &failover->core;
    bool crowded = core->unit_count > PULSE_VOTES_MOST;
    unsigned *count = &pulse->gateway.vote_count;
    for (unsigned i = 0; i < core->unit_count && *count < PULSE_VOTES_MOST; i++)
        if (!crowded || core->units[i].suspected_us != 0)
            fill_vote(&pulse->gateway.votes[(*count)++], &core->units[i]);
    for (unsigned i = 0; crowded && i < core->unit_count && *count < PULSE_VOTES_MOST; i++) {
        unsigned turn = failover->next_vote++ % core->unit_count;
        if (core->units[turn].suspected_us == 0)
            fill_vote(&pulse->gateway.votes[(*count)++], &core->units[turn]);
    }
}

static void send_votes(struct failover *failover, uint64_t lag_us)
{
    struct pulse pulse = {.kind = PULSE_GATEWAY};
    pulse.loop_lag_us = lag_us < UINT32_MAX ? (uint32_t)lag_us : UINT32_MAX;
    fill_votes(failover, &pulse);
    pulse_port_send(failover->port, &pulse, failover->to, failover->gateway_count);
    failover->votes_due = false;
}

static void send_records(struct failover *failover)
{
    for (unsigned i = 0; i < failover->out_count; i++)
        pulse_port_send(failover->port, &failover->out[i], failover->to, failover->reach_count);
    failover->out_count = 0;
}

/* Who is not believed yet is looked at again at the next tick. */
static void admit(struct failover *failover)
{
    bool all = true;
    for (size_t i = 0; i < failover->reach_count; i++)
        all &= pulse_port_registered(failover->port, i >= failover->gateway_count, failover->reach[i].member.name,
                                     failover->reach[i].member.incarnation);
    failover->reach_changed = !all;
}

/* Those whose lines are to ask themselves. Nothing that may become a failover waits for others: neither the end of the
 * gap for a tick, nor votes and records for more datagrams. */
static void note_unheard(struct failover *failover, uint64_t now_us)
{
    for (unsigned i = 0; i < failover->unit_count; i++) {
        struct failover_unit *unit = &failover->units[i];
        const struct core_unit *known = core_find_unit(&failover->core, unit->id);
        bool unheard = known != NULL && core_is_unheard(&failover->core, known);
        atomic_store_explicit(&unit->unit->unheard, unheard, memory_order_relaxed);
        unit->unheard_us = !unheard ? 0 : unit->unheard_us != 0 ? unit->unheard_us : now_us;
        if (!unheard || now_us - unit->unheard_us >= HURRY_US)
            continue;
        pulse_port_hurry(failover->port);
        pulse_port_tick_by(failover->port, core_silent_us(&failover->core, known));
    }
}

static void on_tick(void *arg, uint64_t now_us, uint64_t lag_us)
{
    struct failover *failover = arg;
    struct core_event event = {.kind = CORE_TICK, .lag_us = lag_us};
    pthread_mutex_lock(&failover->lock);
    if (failover->reach_changed)
        admit(failover);
    for (unsigned i = 0; i < failover->unit_count; i++)
        failover_feed(failover, &failover->units[i], false);
    failover_step(failover, &event);
    note_unheard(failover, now_us);
    send_records(failover);
    send_votes(failover, lag_us);
    pthread_mutex_unlock(&failover->lock);
}

/* --- hooks of the pulses -------------------------------------------------------------------------------------- */

static void on_heard(void *arg, uint64_t now_us, const struct pulse *pulse)
{
    (void)now_us;
    struct failover *failover = arg;
    struct error ignored; /* it is authentic: a later version of the program may write what this one cannot read */
    struct broker_record record;
    _Static_assert(PULSE_MATTERS == CORE_MATTERS, "a pulse tells of each matter");
    if (pulse->kind == PULSE_RECORD) {
        struct str text = {pulse->record.text, pulse->record.text_len};
        if (broker_record_parse(text, &record, &ignored) != 0)
            return;
        record.version = pulse->record.version;
        failover_adopt(failover, pulse->record.unit, &record);
        return;
    }
    pthread_mutex_lock(&failover->lock);
    remember(failover, pulse);
    if (pulse->kind == PULSE_AGENT)
        hear_agent(failover, pulse);
    else
        hear_gateway(failover, pulse);
    if (failover->votes_due)
        send_votes(failover, stat_get(&failover->pulse_stats.pulse_lag_us));
    pthread_mutex_unlock(&failover->lock);
}

/* Something is to be said before the next tick. */
static void on_rung(void *arg, uint64_t now_us)
{
    (void)now_us;
    struct failover *failover = arg;
    pthread_mutex_lock(&failover->lock);
    send_records(failover);
    if (failover->votes_due)
        send_votes(failover, stat_get(&failover->pulse_stats.pulse_lag_us));
    pthread_mutex_unlock(&failover->lock);
}

/* --- from other threads ------------------------------------------------------------------------------------------- */

void failover_line(struct failover *failover, const struct unit *unit, struct str url, enum core_line_kind kind)
{
    struct core_event event = {.kind = CORE_LINE, .line = {pulse_hash(str_of(unit->name)), pulse_hash(url), kind}};
    if (kind != CORE_LINE_OK)
        pthread_mutex_lock(&failover->lock);
    else if (pthread_mutex_trylock(&failover->lock) != 0)
        return; /* the next request tells it again */
    failover_step(failover, &event);
    bool due = failover->votes_due || failover->out_count > 0;
    pthread_mutex_unlock(&failover->lock);
    if (due)
        pulse_port_ring(failover->port);
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

/* The pulses' thread must not wait for another one that holds the lock and is not given the processor. */
static void create_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    INVARIANT(pthread_mutex_init(lock, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
}

struct failover *failover_create(struct gateway *gateway, const char *secret, struct error *err)
{
    struct failover *failover = mem_calloc(1, sizeof(*failover));
    failover->gateway = gateway;
    pulse_peers_init(&failover->peers, gateway->config.store.cache);
    failover->heard = mem_calloc(FAILOVER_HEARD_MOST, sizeof(*failover->heard));
    gethostname(failover->host, sizeof(failover->host) - 1);
    create_lock(&failover->lock);
    failover->port = pulse_port_open(
        &(struct pulse_port_config){.listen = gateway->config.pulse.listen,
                                    .secret = secret,
                                    .host = failover->host,
                                    .period_us = PULSE_PERIOD_US,
                                    .place = gateway->config.datacenter ? gateway->config.datacenter : "",
                                    .stats = &failover->pulse_stats,
                                    .tick = on_tick,
                                    .heard = on_heard,
                                    .rung = on_rung,
                                    .arg = failover},
        err);
    if (failover->port == NULL)
        error_at(err, "pulse.listen");
    else
        failover->store = failover_store_create(failover, err);
    if (failover->store == NULL)
        failover_destroy(&failover);
    return failover;
}

int failover_start(struct failover *failover, struct store *store, struct error *err)
{
    return failover_store_start(failover->store, store, err) == 0
               ? pulse_port_start(failover->port, failover->gateway->name, err)
               : -1;
}

void failover_introduce(const struct failover *failover, struct store_member *self)
{
    snprintf(self->pulse, sizeof(self->pulse), "%s", pulse_port_address(failover->port));
    self->incarnation = pulse_port_incarnation(failover->port);
}

void failover_stop(struct failover *failover)
{
    if (failover == NULL)
        return;
    failover_store_stop(failover->store);
    pulse_port_stop(failover->port);
}

void failover_destroy(struct failover **failover_p)
{
    struct failover *failover = *failover_p;
    if (failover == NULL)
        return;
    *failover_p = NULL;
    failover_store_destroy(&failover->store);
    pulse_port_close(&failover->port);
    pthread_mutex_destroy(&failover->lock);
    pulse_peers_free(&failover->peers);
    for (size_t i = 0; i < failover->name_count; i++)
        free(failover->names[i].text);
    free(failover->names);
    free(failover->units);
    free(failover->reach);
    free(failover->to);
    free(failover->heard);
    free(failover);
}
