/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/inbox.h"

#include <stdlib.h>

#include "common/broker_event.h"
#include "common/log.h"
#include "unit-agent/ledger.h"
#include "unit-agent/reader.h"

#define UNNAMED_RETENTION_MS 300000 /* of topics that the rules do not name */

struct inbox {
    sd_event *loop;
    struct inbox_config config;
    struct broker_loop broker_loop;
    struct partition_list partitions;
    char *url;
    struct broker_config broker;
    struct ledger *ledger; /* NULL: no broker is known yet */
    struct reader *reader; /* NULL as well when stopped */
    bool stopped;
};

/* --- partitions -------------------------------------------------------------------------------------------------- */

static struct partition *find(const struct inbox *inbox, const struct partition_name *name)
{
    for (size_t i = 0; i < inbox->partitions.count; i++) {
        struct partition *partition = inbox->partitions.items[i];
        if (partition->number == name->number && str_equal(str_of(partition->topic), name->topic) &&
            str_equal(str_of(partition->subscription), name->subscription))
            return partition;
    }
    return NULL;
}

static struct partition *add(struct inbox *inbox, const struct partition_name *name)
{
    struct partition_list *list = &inbox->partitions;
    list->items = mem_realloc(list->items, (list->count + 1) * sizeof(struct partition *));
    list->items[list->count] = partition_create(name, inbox->config.hooks);
    return list->items[list->count++];
}

static bool on_found(void *arg, struct str key)
{
    struct inbox *inbox = arg;
    struct protocol_id parts;
    struct str suffix;
    if (!protocol_key_parse(key, &parts, &suffix) || !str_equal(suffix, STR_LIT("stream")) ||
        !str_equal(parts.unit, str_of(inbox->config.options->unit)))
        return false;
    struct partition_name name = {.unit = parts.unit,
                                  .topic = parts.topic,
                                  .subscription = STR_LIT(PROTOCOL_DEFAULT_SUBSCRIPTION),
                                  .number = parts.partition};
    if (find(inbox, &name) != NULL)
        return false;
    log_warning("stream.unnamed", "%.*s is not of the rules in force, and is delivered all the same", STR_ARG(key));
    add(inbox, &name)->retention_ms = UNNAMED_RETENTION_MS;
    return true;
}

/* --- the broker -------------------------------------------------------------------------------------------------- */

static void on_progress(void *arg)
{
    struct inbox *inbox = arg;
    if (inbox->reader != NULL)
        reader_wake(inbox->reader);
}

static void on_skipped(void *arg, struct partition *partition)
{
    inbox_record(arg, partition);
}

static void on_changed(void *arg)
{
    struct inbox *inbox = arg;
    inbox->config.changed(inbox->config.arg);
}

static void disconnect(struct inbox *inbox)
{
    reader_destroy(&inbox->reader);
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
    inbox->ledger = ledger_create(inbox->loop, &(struct ledger_config){.broker_loop = &inbox->broker_loop,
                                                                       .broker = &inbox->broker,
                                                                       .partitions = &inbox->partitions,
                                                                       .stats = inbox->config.stats,
                                                                       .unit = str_of(options->unit),
                                                                       .found = on_found,
                                                                       .progress = on_progress,
                                                                       .changed = on_changed,
                                                                       .arg = inbox});
    if (!inbox->stopped)
        inbox->reader = reader_create(inbox->loop, &(struct reader_config){.broker_loop = &inbox->broker_loop,
                                                                           .broker = &inbox->broker,
                                                                           .partitions = &inbox->partitions,
                                                                           .options = options,
                                                                           .stats = inbox->config.stats,
                                                                           .skipped = on_skipped,
                                                                           .arg = inbox});
}

static void adopt_topic(struct inbox *inbox, const struct table_topic *topic, struct str unit)
{
    struct partition_name name = {.unit = unit, .topic = topic->name};
    for (uint32_t i = 0; i < topic->subscription_count; i++)
        for (name.number = 0; name.number < topic->partitions; name.number++) {
            name.subscription = topic->subscriptions[i].name;
            struct partition *partition = find(inbox, &name);
            if (partition == NULL)
                partition = add(inbox, &name);
            partition->retention_ms = topic->retention_ms;
        }
}

void inbox_adopt(struct inbox *inbox, const struct table *table, const struct table_unit *unit)
{
    for (uint32_t i = 0; i < table->topic_count; i++)
        adopt_topic(inbox, &table->topics[i], unit->name);
    struct str primary = unit->broker_count > 0 ? unit->brokers[0] : (struct str){NULL, 0};
    if (inbox->url != NULL && str_equal(primary, str_of(inbox->url))) {
        ledger_tick(inbox->ledger); /* links what was added */
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

void inbox_tick(struct inbox *inbox)
{
    if (inbox->ledger != NULL)
        ledger_tick(inbox->ledger);
}

void inbox_stop(struct inbox *inbox)
{
    inbox->stopped = true;
    reader_destroy(&inbox->reader);
}

bool inbox_idle(const struct inbox *inbox)
{
    return inbox->ledger == NULL || ledger_idle(inbox->ledger);
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
    return inbox->ledger != NULL ? ledger_fault(inbox->ledger) : "the rules name no broker";
}

struct inbox *inbox_create(sd_event *loop, const struct inbox_config *config)
{
    struct inbox *inbox = mem_calloc(1, sizeof(*inbox));
    inbox->loop = loop;
    inbox->config = *config;
    inbox->broker_loop = broker_loop_of_event(loop);
    return inbox;
}

void inbox_destroy(struct inbox **inbox_p)
{
    struct inbox *inbox = *inbox_p;
    if (inbox == NULL)
        return;
    *inbox_p = NULL;
    disconnect(inbox);
    for (size_t i = 0; i < inbox->partitions.count; i++)
        partition_destroy(&inbox->partitions.items[i]);
    free(inbox->partitions.items);
    free(inbox);
}
