/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/duty.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/agent.h"
#include "unit-agent/health.h"

#define ENDING_US  10000
#define LASTING_US 200000 /* attempts that take longer are traced before they end */

static bool is_own(const struct duty *duty)
{
    return strcmp(duty->unit, duty->agent->config.unit) == 0;
}

static void changed(struct duty *duty)
{
    if (is_own(duty) && duty->agent->health != NULL)
        health_changed(duty->agent->health);
}

/* --- what its parts ask and tell ---------------------------------------------------------------------------------- */

static void on_acknowledged(void *arg, struct partition *partition)
{
    inbox_record(((struct duty *)arg)->inbox, partition);
}

static void on_attempted(void *arg, const struct message *message, const struct delivery_attempt *attempt)
{
    traces_attempted(((struct duty *)arg)->traces, message, attempt);
}

static void on_settled(void *arg, const struct message *message, const struct http_response *response)
{
    replies_settle(((struct duty *)arg)->replies, message, response);
}

static void on_covered(void *arg, struct partition *partition, struct stream_id id)
{
    struct duty *duty = arg;
    if (keeper_record(duty->keeper)->member_count > 1) /* else there is nobody who could hold it */
        traces_covered(duty->traces, partition, id);
}

static void on_recorded(void *arg, const struct message *message)
{
    traces_recorded(((struct duty *)arg)->traces, message);
}

static void on_lasting(void *arg, struct message *message)
{
    traces_begun(((struct duty *)arg)->traces, message);
}

static void on_nodes_changed(void *arg)
{
    struct duty *duty = arg;
    if (duty->delivery != NULL)
        delivery_wake(duty->delivery);
    changed(duty);
}

static bool may_deliver(void *arg)
{
    return inbox_may_deliver(((struct duty *)arg)->inbox);
}

static struct nodes *more_nodes(void *arg)
{
    struct duty *duty = arg;
    return nodes_create(duty->agent->loop, &duty->options, on_nodes_changed, duty);
}

static const struct broker_record *broker_record(void *arg)
{
    return keeper_record(((struct duty *)arg)->keeper);
}

/* Agents agree by their beats in the primary. Where it takes none, each may act: of two records one is refused. */
static bool is_keeper(void *arg)
{
    const struct duty *duty = arg;
    const char *primary = keeper_primary_url(duty->keeper), *beaten = inbox_broker_url(duty->inbox);
    bool mute = primary != NULL && beaten != NULL && strcmp(primary, beaten) != 0;
    return inbox_is_keeper(duty->inbox) || mute || inbox_sees_fenced(duty->inbox) ||
           (primary != NULL && warden_sees_fenced(duty->agent->warden, primary));
}

static void on_confirmed(void *arg)
{
    delivery_wake(((struct duty *)arg)->delivery);
}

static void on_broker_changed(void *arg)
{
    changed(arg);
}

/* Faster than the store's watch. */
static void on_put(void *arg, const struct broker_record *record)
{
    struct duty *duty = arg;
    beacon_push(duty->agent->beacon, duty->unit, record);
    agent_overheard(duty->agent, duty->unit, record);
}

/* Told by the keeper from within its own work: what follows from it waits for the next turn. */
static void on_record_changed(void *arg)
{
    struct duty *duty = arg;
    changed(duty);
    loop_wake(duty->review);
}

static void on_arrivals_changed(void *arg)
{
    inbox_look_again(((struct duty *)arg)->inbox);
}

static void on_arrivals_waited(void *arg)
{
    inbox_park_barred(((struct duty *)arg)->inbox);
}

static const char *owner(void *arg)
{
    return inbox_owner(((struct duty *)arg)->inbox);
}

static bool chooses(void *arg, uint64_t hash)
{
    return inbox_chooses(((struct duty *)arg)->inbox, hash);
}

static void on_behind(void *arg)
{
    agent_hurry(((struct duty *)arg)->agent);
}

/* --- its parts -----------------------------------------------------------------------------------------------------
 */

static void create_outbox(struct duty *duty)
{
    duty->outbox = outbox_create(duty->agent->loop, &duty->options, duty->agent->broker_password);
    duty->replies =
        replies_create(duty->agent->loop, &(struct replies_config){&duty->options, &duty->stats, duty->outbox});
    duty->traces = traces_create(
        duty->agent->loop, &(struct traces_config){&duty->options, duty->agent->name, &duty->stats, duty->outbox});
    duty->observer = (struct observer){on_covered, on_recorded, duty};
}

static void create_arrivals(struct duty *duty)
{
    duty->arrivals =
        arrivals_create(duty->agent->loop, &(struct arrivals_config){.options = &duty->options,
                                                                     .password = duty->agent->broker_password,
                                                                     .stats = &duty->stats,
                                                                     .documents = duty->agent->documents,
                                                                     .is_keeper = is_keeper,
                                                                     .changed = on_arrivals_changed,
                                                                     .waited = on_arrivals_waited,
                                                                     .behind = on_behind,
                                                                     .arg = duty});
    duty->guard = (struct partition_guard){arrivals_admit, duty->arrivals};
}

static void create_chores(struct duty *duty)
{
    duty->chores = collection_chores_create(duty->agent->loop,
                                            &(struct collection_chores_config){.options = &duty->options,
                                                                               .password = duty->agent->broker_password,
                                                                               .stats = &duty->stats,
                                                                               .is_keeper = is_keeper,
                                                                               .record = broker_record,
                                                                               .arg = duty});
}

static void create_parts(struct duty *duty)
{
    create_outbox(duty);
    create_arrivals(duty);
    create_chores(duty);
    duty->nodes = nodes_create(duty->agent->loop, &duty->options, on_nodes_changed, duty);
    duty->delivery = delivery_create(duty->agent->loop, &(struct delivery_config){.options = &duty->options,
                                                                                  .unit = str_of(duty->unit),
                                                                                  .nodes = duty->nodes,
                                                                                  .stats = &duty->stats,
                                                                                  .acknowledged = on_acknowledged,
                                                                                  .attempted = on_attempted,
                                                                                  .settled = on_settled,
                                                                                  .may_begin = may_deliver,
                                                                                  .arg = duty});
    duty->valves =
        valves_create(duty->agent->loop, (struct partition_hooks){delivery_ready, delivery_withdraw, duty->delivery});
    duty->inbox = inbox_create(duty->agent->loop, &(struct inbox_config){
                                                      .options = &duty->options,
                                                      .password = duty->agent->broker_password,
                                                      .name = str_of(duty->agent->name),
                                                      .stats = &duty->stats,
                                                      .hooks = {valves_ready, valves_withdraw, duty->valves},
                                                      .nodes = more_nodes,
                                                      .record = broker_record,
                                                      .observer = &duty->observer,
                                                      .guard = &duty->guard,
                                                      .changed = on_broker_changed,
                                                      .confirmed = on_confirmed,
                                                      .arg = duty,
                                                  });
    duty->operations =
        operations_create(duty->agent->loop, &(struct operations_config){.options = &duty->options,
                                                                         .password = duty->agent->broker_password,
                                                                         .valves = duty->valves,
                                                                         .record = broker_record,
                                                                         .arg = duty});
    duty->clockwork =
        clockwork_create(duty->agent->loop, &(struct clockwork_config){.options = &duty->options,
                                                                       .password = duty->agent->broker_password,
                                                                       .stats = &duty->stats,
                                                                       .is_keeper = is_keeper,
                                                                       .record = broker_record,
                                                                       .arg = duty});
    duty->copies = copies_create(duty->agent->loop, &(struct copies_config){.options = &duty->options,
                                                                            .password = duty->agent->broker_password,
                                                                            .agent = str_of(duty->agent->name),
                                                                            .stats = &duty->stats,
                                                                            .record = broker_record,
                                                                            .owner = owner,
                                                                            .chooses = chooses,
                                                                            .arg = duty});
}

static void destroy_parts(struct duty *duty)
{
    collection_chores_destroy(&duty->chores);
    copies_destroy(&duty->copies);
    clockwork_destroy(&duty->clockwork);
    operations_destroy(&duty->operations);
    inbox_destroy(&duty->inbox); /* takes its messages back from the delivery */
    arrivals_destroy(&duty->arrivals);
    valves_destroy(&duty->valves);
    delivery_destroy(&duty->delivery);
    outbox_destroy(&duty->outbox);
    replies_destroy(&duty->replies);
    traces_destroy(&duty->traces);
    nodes_destroy(&duty->nodes);
}

/* --- serving and resting ------------------------------------------------------------------------------------------ */

static bool is_consumer(const struct duty *duty)
{
    const struct broker_record *record = keeper_record(duty->keeper);
    const char *consumer = record->consumer[0] != '\0' ? record->consumer : duty->unit;
    return strcmp(consumer, duty->agent->config.unit) == 0;
}

/* The unit with the record's primary before its other brokers; without any for who is not to serve. */
static struct table_unit led(struct duty *duty, const struct table_unit *unit)
{
    const char *known = keeper_primary_url(duty->keeper);
    struct table_unit led = *unit;
    led.brokers = duty->brokers;
    led.broker_count = 0;
    if (!duty->serves || known == NULL)
        return led;
    struct str primary = str_of(known);
    duty->brokers[led.broker_count++] = primary;
    for (uint32_t i = 0; i < unit->broker_count && led.broker_count < BROKER_MEMBERS_MOST; i++)
        if (!str_equal(unit->brokers[i], primary))
            duty->brokers[led.broker_count++] = unit->brokers[i];
    return led;
}

static void apply(struct duty *duty)
{
    struct table *table = duty->agent->rules.table;
    uint32_t index = table != NULL ? table_unit_index(table, str_of(duty->unit)) : NO_UNIT;
    if (index == NO_UNIT) {
        operations_adopt(duty->operations, NULL, STR_LIT(""));
        return;
    }
    struct table_unit unit = led(duty, &table->units[index]);
    uint32_t host = table_unit_index(table, str_of(duty->agent->config.unit));
    nodes_adopt(duty->nodes, &table->units[host != NO_UNIT ? host : index]);
    struct str primary = unit.broker_count > 0 ? unit.brokers[0] : STR_LIT("");
    const char *known = keeper_primary_url(duty->keeper); /* operators may ask one that does not serve, too */
    inbox_adopt(duty->inbox, table, &unit);
    operations_adopt(duty->operations, table, str_of(known != NULL ? known : ""));
    outbox_adopt(duty->outbox, primary);
    clockwork_adopt(duty->clockwork, primary);
    collection_chores_adopt(duty->chores, table, primary);
    copies_adopt(duty->copies, table, primary);
}

static void begin_serving(struct duty *duty)
{
    duty->serves = true;
    if (!is_own(duty))
        log_warning("duty.begun", "%s delivers for %s: %s", duty->agent->name, duty->unit,
                    keeper_record(duty->keeper)->why);
    apply(duty);
}

/* What it had is gone: it starts from nothing when its turn comes again. */
static void rest(struct duty *duty)
{
    log_warning("duty.ended", "%s no longer delivers for %s", duty->agent->name, duty->unit);
    duty->serves = false;
    duty->end_by_us = 0;
    destroy_parts(duty);
    create_parts(duty);
    loop_wake(duty->review);
}

/* What is still to be said while the duty ends is said where the unit is now. */
static void follow_moved(struct duty *duty)
{
    const char *primary = keeper_primary_url(duty->keeper);
    if (primary != NULL)
        outbox_adopt(duty->outbox, str_of(primary));
}

static int on_review(sd_event_source *source, void *arg)
{
    (void)source;
    struct duty *duty = arg;
    if (duty->end_by_us != 0) {
        follow_moved(duty);
        return 0;
    }
    bool serve = is_consumer(duty);
    if (serve && !duty->serves)
        begin_serving(duty);
    else if (!serve && duty->serves)
        duty_end(duty, rest);
    else
        apply(duty);
    return 0;
}

void duty_adopt(struct duty *duty, const struct table *table)
{
    uint32_t unit = table_unit_index(table, str_of(duty->unit));
    if (unit != NO_UNIT)
        keeper_adopt(duty->keeper, &table->units[unit]);
    on_review(NULL, duty);
}

void duty_sync(struct duty *duty, struct store *store)
{
    keeper_sync(duty->keeper, store);
    if (!duty->serves || duty->agent->rules.table == NULL)
        return;
    arrivals_sync(duty->arrivals, store, duty->agent->rules.table);
    collection_chores_sync(duty->chores, store);
    copies_sync(duty->copies, store);
}

void duty_heard(struct duty *duty, const struct broker_record *record)
{
    keeper_heard(duty->keeper, record);
}

void duty_overheard(struct duty *duty, const char *unit, const struct broker_record *record)
{
    if (duty->serves)
        copies_heard(duty->copies, unit, record);
}

/* --- its end ------------------------------------------------------------------------------------------------------ */

static int on_end(sd_event_source *source, void *arg)
{
    (void)source;
    struct duty *duty = arg;
    duty->ended(duty);
    return 0;
}

/* Told from within a connection that the end takes apart, where others may wait for their replies yet. They would be
 * called back behind it (broker_destroy): a turn of the loop later they are within it. */
static void on_left(void *arg)
{
    loop_wake(((struct duty *)arg)->end);
}

static void on_left_moved(void *arg, const redisReply *reply)
{
    (void)reply;
    on_left(arg);
}

/* The unit's broker is another one since this duty began to end: to the old one nothing can be written any more. */
static bool has_moved(const struct duty *duty)
{
    const char *primary = keeper_primary_url(duty->keeper), *beaten = inbox_broker_url(duty->inbox);
    return primary != NULL && beaten != NULL && strcmp(primary, beaten) != 0;
}

/* To the broker where the next consumers ask who lives: else they would wait until the last beat runs out. Nothing is
 * in flight, and what the old broker was told last they find there as far as it got, and deliver the rest once more. */
static void leave_moved(struct duty *duty)
{
    char key[PROTOCOL_KEY_MAX];
    const char *incarnation = strrchr(inbox_owner(duty->inbox), '/') + 1;
    const struct str args[] = {str_of(duty->agent->name), str_of(incarnation)};
    protocol_unit_key(key, str_of(duty->unit), "agents");
    if (!outbox_call(duty->outbox, "ldc1_leave", str_of(key), args, 2, on_left_moved, duty))
        on_left(duty);
}

static void leave(struct duty *duty)
{
    if (!has_moved(duty))
        inbox_leave(duty->inbox, on_left, duty);
    else if (duty->clean)
        leave_moved(duty);
    else
        on_left(duty); /* who waits for what is in flight yet waits for the end of the beat */
}

/* Until its beats have run out there is somebody to be told. */
static bool may_leave(const struct duty *duty)
{
    return !has_moved(duty) || outbox_ready(duty->outbox) || clock_monotonic_us() >= duty->lapsed_us;
}

static bool is_idle(struct duty *duty)
{
    bool recorded = has_moved(duty) || (inbox_idle(duty->inbox) && inbox_returned(duty->inbox));
    bool idle = recorded && stat_get(&duty->stats.agent_deliveries_in_flight) == 0;
    if (idle)
        traces_flush(duty->traces);
    return idle && replies_idle(duty->replies) && traces_idle(duty->traces) && may_leave(duty);
}

static int on_ending(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct duty *duty = arg;
    bool idle = is_idle(duty);
    if (idle || clock_monotonic_us() >= duty->end_by_us) {
        duty->clean = idle;
        leave(duty);
        return 0;
    }
    return loop_wake_in(source, ENDING_US);
}

void duty_end(struct duty *duty, void (*ended)(struct duty *duty))
{
    duty->ended = ended;
    if (duty->end_by_us != 0)
        return;
    uint64_t now_us = clock_monotonic_us();
    duty->end_by_us = now_us + (uint64_t)duty->options.delivery.stop_timeout * 1000;
    duty->lapsed_us = now_us + (uint64_t)duty->options.lease.ttl * 1000;
    follow_moved(duty);
    copies_stop(duty->copies);
    inbox_stop(duty->inbox);
    clockwork_stop(duty->clockwork);
    collection_chores_stop(duty->chores);
    delivery_stop(duty->delivery);
    loop_wake_in(duty->ending, 0);
}

/* --- the rest ----------------------------------------------------------------------------------------------------- */

void duty_tick(struct duty *duty)
{
    inbox_tick(duty->inbox);
    delivery_each_lasting(duty->delivery, clock_wall_us() - LASTING_US, on_lasting, duty);
    operations_tick(duty->operations);
    clockwork_tick(duty->clockwork);
}

const char *duty_fault(const struct duty *duty)
{
    const char *fault = duty->serves ? inbox_fault(duty->inbox) : NULL;
    return fault != NULL ? fault : keeper_alarm(duty->keeper);
}

static void refresh_held(struct duty *duty)
{
    const struct partition_list *partitions = inbox_partitions(duty->inbox);
    uint64_t held_now = 0, bytes = 0, users = 0, parked = 0, dead = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        held_now += partition->undone;
        bytes += partition->bytes;
        users += partition->park.user_count;
        parked += partition->park.messages;
        dead += partition->park.dead;
    }
    stat_set(&duty->stats.agent_messages_held, held_now);
    stat_set(&duty->stats.agent_message_bytes, bytes);
    stat_set(&duty->stats.agent_parked_users, users);
    stat_set(&duty->stats.agent_parked_messages, parked);
    stat_set(&duty->stats.agent_dead_letters, dead);
}

void duty_refresh(struct duty *duty)
{
    unsigned owned, open;
    refresh_held(duty);
    copies_count(duty->copies, &owned, &open);
    stat_set(&duty->stats.agent_copies_owned, owned);
    stat_set(&duty->stats.agent_copies_open, open);
    uint64_t nodes = 0, up = 0;
    for (const struct node *node = nodes_first(duty->nodes); node != NULL; node = node->next) {
        nodes += node->listed;
        up += node->listed && node->up;
    }
    stat_set(&duty->stats.agent_nodes, nodes);
    stat_set(&duty->stats.agent_nodes_up, up);
}

void duty_configure(struct duty *duty)
{
    duty->options = duty->agent->config;
    duty->options.unit = duty->unit;
    delivery_wake(duty->delivery);
}

struct duty *duty_create(struct agent *agent, const char *unit)
{
    struct duty *duty = mem_calloc(1, sizeof(*duty));
    duty->agent = agent;
    snprintf(duty->unit, sizeof(duty->unit), "%s", unit);
    duty->options = agent->config;
    duty->options.unit = duty->unit;
    duty->review = loop_later(agent->loop, on_review, duty);
    duty->ending = loop_timer(agent->loop, on_ending, duty);
    duty->end = loop_later(agent->loop, on_end, duty);
    create_parts(duty);
    duty->keeper = keeper_create(duty->agent->loop, &(struct keeper_config){.options = &duty->options,
                                                                            .password = duty->agent->broker_password,
                                                                            .name = duty->agent->name,
                                                                            .stats = &duty->stats,
                                                                            .documents = duty->agent->documents,
                                                                            .is_keeper = is_keeper,
                                                                            .changed = on_record_changed,
                                                                            .put = on_put,
                                                                            .arg = duty});
    return duty;
}

void duty_destroy(struct duty **duty_p)
{
    struct duty *duty = *duty_p;
    if (duty == NULL)
        return;
    *duty_p = NULL;
    destroy_parts(duty);
    keeper_destroy(&duty->keeper);
    sd_event_source_disable_unref(duty->review);
    sd_event_source_disable_unref(duty->ending);
    sd_event_source_disable_unref(duty->end);
    free(duty);
}
