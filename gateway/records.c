/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/records.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/invariant.h"
#include "common/log.h"
#include "gateway/collection_watch.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "gateway/queue.h"
#include "gateway/reply.h"

static void tell(const struct unit *unit, const struct broker_record *record)
{
    if (record->member_count > 0)
        log_info("record.followed", "%s: version %llu, primary %s, %u in sync", unit->name,
                 (unsigned long long)record->version, record->primary, record->member_count);
    else
        log_warning("record.gone", "%s: the store has no broker record any more", unit->name);
}

struct following {
    struct store *store;
    struct document_cache *cache;
};

static void follow(struct unit *unit, void *arg)
{
    const struct following *following = arg;
    struct broker_record record = {0}, before;
    struct buf text = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    char name[96];
    uint64_t version;
    broker_record_name(name, sizeof(name), str_of(unit->name));
    int failed = document_cache_get(following->cache, following->store, name, &text, &version, &err);
    unit_record(unit, &before);
    if (failed == 0 && version > 0 && version != before.version)
        failed = broker_record_parse(buf_str(&text), &record, &err);
    record.version = version;
    if (failed == 0 && unit_set_record(unit, &record))
        tell(unit, &record);
    if (failed != 0 && strcmp(err.text, unit->record_fault) != 0)
        log_warning("record.kept", "%s: %s; the last record stays in force", unit->name, err.text);
    snprintf(unit->record_fault, sizeof(unit->record_fault), "%s", err.text);
    buf_free(&text);
}

void records_sync(struct registry *registry, struct store *store, struct document_cache *cache)
{
    registry_each_unit(registry, follow, &(struct following){store, cache});
}

static void restore(struct unit *unit, void *arg)
{
    const struct following *following = arg;
    struct broker_record record;
    struct buf text = {NULL, 0, 0};
    struct error ignored;
    char name[96];
    uint64_t version;
    broker_record_name(name, sizeof(name), str_of(unit->name));
    document_cache_recall(following->cache, name, &text, &version);
    if (version > 0 && broker_record_parse(buf_str(&text), &record, &ignored) == 0) {
        record.version = version;
        if (unit_set_record(unit, &record))
            tell(unit, &record);
    }
    buf_free(&text);
}

void records_restore(struct registry *registry, const struct document_cache *cache)
{
    registry_each_unit(registry, restore, &(struct following){NULL, (struct document_cache *)cache});
}

/* --- workers and the control thread tell each other --------------------------------------------------------------- */

static void on_worker(struct worker *worker, void *arg)
{
    queue_follow(worker->queue, arg);
    replies_follow(worker->replies, arg);
    holds_follow(worker->holds);
    watches_follow(worker->watches, arg);
}

static void on_record(void *arg, struct unit *unit)
{
    struct gateway *gateway = arg;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_post(&gateway->workers[i], on_worker, unit);
}

void records_ask(struct gateway *gateway)
{
    eventfd_write(gateway->record_wanted, 1);
}

void records_open(struct gateway *gateway)
{
    gateway->record_wanted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    INVARIANT(gateway->record_wanted != -1);
    registry_on_record(gateway->registry, on_record, gateway);
}

void records_close(struct gateway *gateway)
{
    if (gateway->registry != NULL)
        close(gateway->record_wanted);
}
