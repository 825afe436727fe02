/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/inbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/broker_event.h"
#include "common/invariant.h"
#include "common/log.h"
#include "unit-agent/gate.h"
#include "unit-agent/lease.h"
#include "unit-agent/ledger.h"
#include "unit-agent/listeners.h"
#include "unit-agent/reader.h"

#define UNNAMED_RETENTION_MS 300000 /* of topics that the rules do not name */

struct inbox {
    sd_event *loop;
    struct inbox_config config;
    struct broker_loop broker_loop;
    struct partition_list partitions;
    struct subscription *subscriptions;
    char *url;
    struct broker_config broker;
    char owner[160], incarnation[17]; /* "AGENT/INCARNATION", of this process */
    struct leases *leases;
    struct roster *roster;
    struct listeners listeners;
    struct gate *gate;
    bool replicated;       /* the unit has more than one broker */
    struct ledger *ledger; /* NULL: no broker is known yet */
    struct reader *reader; /* NULL as well when stopped */
    bool stopped;
};

/* --- partitions -------------------------------------------------------------------------------------------------- */

static struct partition *find(const struct lease *lease, const struct subscription *subscription)
{
    struct partition *partition = lease->first;
    while (partition != NULL && partition->rules != subscription)
        partition = partition->sibling;
    return partition;
}

static struct partition *add(struct inbox *inbox, struct lease *lease, const struct subscription *subscription)
{
    struct partition_name name = {.unit = str_of(inbox->config.options->unit),
                                  .topic = str_of(lease->topic),
                                  .subscription = str_of(subscription->name),
                                  .number = lease->number,
                                  .listener = {NULL, 0}};
    struct partition_list *list = &inbox->partitions;
    if (subscription->broadcast)
        name.listener = inbox->config.name;
    if ((list->count & (list->count - 1)) == 0)
        list->items = mem_realloc(list->items, (list->count * 2 + 1) * sizeof(struct partition *));
    struct partition *partition = partition_create(&name, inbox->config.hooks);
    partition->gated = true;
    partition->observer = inbox->config.observer;
    partition->guard = inbox->config.guard;
    partition->rules = subscription;
    lease_add(lease, partition);
    return list->items[list->count++] = partition;
}

static bool on_found(void *arg, struct str key)
{
    struct inbox *inbox = arg;
    struct protocol_id parts;
    struct str suffix;
    if (!protocol_key_parse(key, &parts, &suffix) || !str_equal(suffix, STR_LIT("stream")) ||
        !str_equal(parts.unit, str_of(inbox->config.options->unit)))
        return false;
    struct lease *lease = leases_get(inbox->leases, parts.topic, parts.partition);
    if (lease->first != NULL)
        return false;
    log_warning("stream.unnamed", "%.*s is not of the rules in force, and is delivered all the same", STR_ARG(key));
    struct subscription *subscription =
        subscription_get(&inbox->subscriptions, parts.topic, STR_LIT(PROTOCOL_DEFAULT_SUBSCRIPTION), false);
    subscription->listed = true;
    add(inbox, lease, subscription)->retention_ms = UNNAMED_RETENTION_MS;
    return true;
}

/* --- the broker -------------------------------------------------------------------------------------------------- */

static void on_progress(void *arg)
{
    struct inbox *inbox = arg;
    if (inbox->reader != NULL)
        reader_wake(inbox->reader);
}

static void on_read(void *arg, struct partition *partition)
{
    struct inbox *inbox = arg;
    gate_pass(inbox->gate, partition);
    if (partition->dirty)
        inbox_record(inbox, partition);
}

/* Who follows a user to its park does so when covered. */
static void on_covered(void *arg, struct partition *partition)
{
    if (partition->dirty)
        inbox_record(arg, partition);
}

static void on_written(void *arg, struct partition *partition)
{
    gate_prove(((struct inbox *)arg)->gate, partition);
}

static void on_proven(void *arg, struct partition *partition)
{
    ledger_proven(((struct inbox *)arg)->ledger, partition);
}

static const struct broker_record *on_record(void *arg)
{
    const struct inbox *inbox = arg;
    return inbox->replicated ? inbox->config.record(inbox->config.arg) : NULL;
}

static void on_changed(void *arg)
{
    struct inbox *inbox = arg;
    inbox->config.changed(inbox->config.arg);
}

static void on_beaten(void *arg)
{
    leases_beaten(((struct inbox *)arg)->leases);
}

static void on_lapsed(void *arg, bool late)
{
    leases_lapsed(((struct inbox *)arg)->leases, late);
}

static void on_taken(void *arg)
{
    struct inbox *inbox = arg;
    if (inbox->ledger != NULL)
        ledger_link(inbox->ledger);
}

static void on_confirmed(void *arg)
{
    struct inbox *inbox = arg;
    inbox->config.confirmed(inbox->config.arg);
}

static void on_fenced(void *arg, struct partition *partition)
{
    leases_fenced(((struct inbox *)arg)->leases, partition);
}

static void disconnect(struct inbox *inbox)
{
    leases_attach(inbox->leases, NULL);
    inbox->listeners.roster = NULL;
    roster_destroy(&inbox->roster);
    reader_destroy(&inbox->reader);
    gate_destroy(&inbox->gate);
    ledger_destroy(&inbox->ledger);
    for (size_t i = 0; i < inbox->partitions.count; i++)
        partition_reset(inbox->partitions.items[i]);
    free(inbox->url);
    inbox->url = NULL;
}

static void connect_to(struct inbox *inbox, struct str url)
{
    const struct agent_config *options = inbox->config.options;
    inbox->url = str_dup(url);
    inbox->broker = (struct broker_config){.url = inbox->url,
                                           .user = options->broker.user,
                                           .password = inbox->config.password,
                                           .command_timeout_ms = options->broker.timeout,
                                           .must_be_durable = options->broker.must_be_durable,
                                           .must_be_primary = true,
                                           .functions = true};
    inbox->roster = roster_create(inbox->loop, &(struct roster_config){.broker_loop = &inbox->broker_loop,
                                                                       .broker = &inbox->broker,
                                                                       .options = options,
                                                                       .stats = inbox->config.stats,
                                                                       .unit = str_of(options->unit),
                                                                       .name = inbox->config.name,
                                                                       .incarnation = str_of(inbox->incarnation),
                                                                       .beaten = on_beaten,
                                                                       .lapsed = on_lapsed,
                                                                       .arg = inbox});
    leases_attach(inbox->leases, inbox->roster);
    inbox->listeners.roster = inbox->roster;
    inbox->gate = gate_create(inbox->loop, &(struct gate_config){.broker_loop = &inbox->broker_loop,
                                                                 .broker = &inbox->broker,
                                                                 .stats = inbox->config.stats,
                                                                 .record = on_record,
                                                                 .covered = on_covered,
                                                                 .proven = on_proven,
                                                                 .arg = inbox});
    inbox->ledger = ledger_create(inbox->loop, &(struct ledger_config){.broker_loop = &inbox->broker_loop,
                                                                       .broker = &inbox->broker,
                                                                       .partitions = &inbox->partitions,
                                                                       .stats = inbox->config.stats,
                                                                       .unit = str_of(options->unit),
                                                                       .owner = str_of(inbox->owner),
                                                                       .fenced = on_fenced,
                                                                       .found = on_found,
                                                                       .prove = on_written,
                                                                       .progress = on_progress,
                                                                       .changed = on_changed,
                                                                       .arg = inbox});
    if (!inbox->stopped)
        inbox->reader = reader_create(inbox->loop, &(struct reader_config){.broker_loop = &inbox->broker_loop,
                                                                           .broker = &inbox->broker,
                                                                           .partitions = &inbox->partitions,
                                                                           .options = options,
                                                                           .stats = inbox->config.stats,
                                                                           .read = on_read,
                                                                           .arg = inbox});
}

/* --- rules ------------------------------------------------------------------------------------------------------- */

/* Takes back what is handed out while its way changes. */
static void adopt_subscription(struct inbox *inbox, struct subscription *subscription,
                               const struct table_subscription *rules)
{
    bool moves = subscription_moves(subscription, rules);
    for (size_t i = 0; moves && i < inbox->partitions.count; i++)
        if (inbox->partitions.items[i]->rules == subscription)
            partition_quiesce(inbox->partitions.items[i]);
    subscription_adopt(subscription, rules, inbox->config.nodes, inbox->config.arg);
    for (size_t i = 0; moves && i < inbox->partitions.count; i++)
        if (inbox->partitions.items[i]->rules == subscription && !lease_finishes(inbox->partitions.items[i]->lease))
            partition_resume(inbox->partitions.items[i]);
}

/* Those of TOPIC that the rules do not name any more. Their cursors stay as they are. */
static void retire(struct inbox *inbox, struct str topic)
{
    for (size_t i = 0; i < inbox->partitions.count; i++) {
        struct partition *partition = inbox->partitions.items[i];
        if (partition->rules->listed || !partition->owned || !str_equal(str_of(partition->topic), topic))
            continue;
        partition->owned = false;
        partition_reset(partition);
        if (partition->number == 0)
            log_warning("subscription.gone", "%s/%s is not of the rules in force, and is not delivered",
                        partition->topic, partition->subscription);
    }
}

static void adopt_topic(struct inbox *inbox, const struct table_topic *topic)
{
    for (struct subscription *at = inbox->subscriptions; at != NULL; at = at->next)
        at->listed = at->listed && !str_equal(str_of(at->topic), topic->name);
    for (uint32_t i = 0; i < topic->subscription_count; i++) {
        const struct table_subscription *rules = &topic->subscriptions[i];
        struct subscription *subscription =
            subscription_get(&inbox->subscriptions, topic->name, rules->name, rules->broadcast);
        adopt_subscription(inbox, subscription, rules);
        for (unsigned number = 0; number < topic->partitions; number++) {
            struct lease *lease = leases_get(inbox->leases, topic->name, number);
            struct partition *partition = find(lease, subscription);
            if (partition == NULL)
                partition = add(inbox, lease, subscription);
            lease_own(partition);
            partition->retention_ms = topic->retention_ms;
            retry_adopt(&partition->retry, &topic->retry);
        }
    }
    retire(inbox, topic->name);
}

void inbox_adopt(struct inbox *inbox, const struct table *table, const struct table_unit *unit)
{
    for (uint32_t i = 0; i < table->topic_count; i++)
        adopt_topic(inbox, &table->topics[i]);
    inbox->replicated = unit->broker_count > 1;
    struct str primary = unit->broker_count > 0 ? unit->brokers[0] : (struct str){NULL, 0};
    if (inbox->url != NULL && str_equal(primary, str_of(inbox->url))) {
        leases_beaten(inbox->leases); /* takes what was added */
        ledger_link(inbox->ledger);
        return;
    }
    if (inbox->url != NULL)
        log_warning("broker.replaced", "the primary broker is no longer %s", inbox->url);
    disconnect(inbox);
    if (primary.len > 0)
        connect_to(inbox, primary);
    on_changed(inbox);
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

void inbox_record(struct inbox *inbox, struct partition *partition)
{
    if (inbox->ledger != NULL)
        ledger_note(inbox->ledger, partition);
}

void inbox_look_again(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->partitions.count; i++) {
        struct partition *partition = inbox->partitions.items[i];
        partition_look_again(partition);
        if (partition->dirty)
            inbox_record(inbox, partition);
    }
}

void inbox_park_barred(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->partitions.count; i++) {
        struct partition *partition = inbox->partitions.items[i];
        if (partition->linked && !partition->broadcast)
            partition_park_barred(partition, PARK_BARRED_MS);
        if (partition->dirty)
            inbox_record(inbox, partition);
    }
}

void inbox_tick(struct inbox *inbox)
{
    if (inbox->ledger != NULL)
        ledger_tick(inbox->ledger);
    listeners_tick(&inbox->listeners);
}

void inbox_stop(struct inbox *inbox)
{
    inbox->stopped = true;
    reader_destroy(&inbox->reader);
    if (inbox->roster != NULL)
        roster_begin_leaving(inbox->roster);
    leases_stop(inbox->leases);
    for (size_t i = 0; i < inbox->partitions.count; i++)
        if (inbox->partitions.items[i]->broadcast)
            partition_quiesce(inbox->partitions.items[i]);
}

bool inbox_idle(const struct inbox *inbox)
{
    return inbox->ledger == NULL || ledger_idle(inbox->ledger);
}

bool inbox_returned(const struct inbox *inbox)
{
    return leases_idle(inbox->leases);
}

void inbox_leave(struct inbox *inbox, void (*done)(void *arg), void *arg)
{
    if (inbox->roster != NULL)
        roster_leave(inbox->roster, done, arg);
    else
        done(arg);
}

bool inbox_may_deliver(const struct inbox *inbox)
{
    return leases_sure(inbox->leases);
}

bool inbox_is_keeper(const struct inbox *inbox)
{
    return inbox->roster != NULL && roster_is_keeper(inbox->roster);
}

bool inbox_chooses(const struct inbox *inbox, uint64_t hash)
{
    return inbox->roster != NULL && roster_chooses(inbox->roster, hash);
}

const char *inbox_owner(const struct inbox *inbox)
{
    return inbox->owner;
}

const struct partition_list *inbox_partitions(const struct inbox *inbox)
{
    return &inbox->partitions;
}

const char *inbox_broker_url(const struct inbox *inbox)
{
    return inbox->url;
}

const char *inbox_broker_fault(const struct inbox *inbox)
{
    bool fenced;
    return inbox->ledger != NULL ? ledger_fault(inbox->ledger, &fenced) : "the rules name no broker";
}

bool inbox_sees_fenced(const struct inbox *inbox)
{
    bool fenced = false;
    return inbox->ledger != NULL && ledger_fault(inbox->ledger, &fenced) != NULL && fenced;
}

const char *inbox_fault(const struct inbox *inbox)
{
    const char *fault = inbox_broker_fault(inbox);
    return fault != NULL ? fault : roster_fault(inbox->roster);
}

struct inbox *inbox_create(sd_event *loop, const struct inbox_config *config)
{
    struct inbox *inbox = mem_calloc(1, sizeof(*inbox));
    inbox->loop = loop;
    inbox->config = *config;
    inbox->broker_loop = broker_loop_of_event(loop);
    uint64_t random;
    INVARIANT(getrandom(&random, sizeof(random), 0) == sizeof(random));
    snprintf(inbox->incarnation, sizeof(inbox->incarnation), "%016lx", (unsigned long)random);
    snprintf(inbox->owner, sizeof(inbox->owner), "%.*s/%s", STR_ARG(config->name), inbox->incarnation);
    inbox->leases = leases_create(loop, &(struct leases_config){.options = config->options,
                                                                .stats = config->stats,
                                                                .unit = str_of(config->options->unit),
                                                                .owner = str_of(inbox->owner),
                                                                .taken = on_taken,
                                                                .confirmed = on_confirmed,
                                                                .arg = inbox});
    inbox->listeners = (struct listeners){.options = config->options,
                                          .stats = config->stats,
                                          .unit = str_of(config->options->unit),
                                          .name = config->name,
                                          .subscriptions = (const struct subscription *const *)&inbox->subscriptions,
                                          .partitions = &inbox->partitions};
    return inbox;
}

void inbox_destroy(struct inbox **inbox_p)
{
    struct inbox *inbox = *inbox_p;
    if (inbox == NULL)
        return;
    *inbox_p = NULL;
    disconnect(inbox);
    leases_destroy(&inbox->leases);
    subscriptions_free(&inbox->subscriptions);
    free(inbox->partitions.items);
    free(inbox);
}
