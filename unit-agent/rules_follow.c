/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/rules_follow.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/rules_cache.h"
#include "rules/rules.h"

static void set_state(struct rules_follow *follow, bool up, const char *fault)
{
    if (up == follow->up && strcmp(fault, follow->fault) == 0)
        return;
    if (up)
        log_info("store.up", "the store answers");
    else
        log_warning("store.away", "%s; the rules in force stay", fault);
    if (up != follow->up)
        follow->since_us = clock_wall_us();
    if (follow->up && !up)
        stat_add(&follow->stats->store_faults_total, 1);
    follow->up = up;
    snprintf(follow->fault, sizeof(follow->fault), "%s", fault);
    stat_set(&follow->stats->store_up, up);
}

/* Takes over TABLE. */
static void put_in_force(struct rules_follow *follow, struct table *table, const struct store_record *record)
{
    table_unref(&follow->table);
    follow->table = table;
    follow->record = *record;
    stat_add(&follow->stats->rules_adopted_total, 1);
    stat_set(&follow->stats->rules_epoch, record->rules_epoch);
    stat_set(&follow->stats->rules_version, record->version);
    log_info("rules.adopted", "epoch %lu, version %lu, by %s: %s", (unsigned long)record->rules_epoch,
             (unsigned long)record->version, record->by, record->note);
    follow->adopted(follow->arg, table);
}

/* NULL with all faults, one a line, in FAULTS. */
static struct table *load(struct str text, uint64_t epoch, const char *file, struct buf *faults)
{
    struct diag_list diags = {.file = file};
    struct table *table = rules_load(text, epoch, &diags);
    if (table == NULL)
        diag_print(&diags, faults);
    diag_free(&diags);
    return table;
}

static void load_cache(struct rules_follow *follow)
{
    struct store_record record;
    struct buf text = {0}, faults = {0};
    struct error err;
    struct table *table = NULL;
    if (follow->cache == NULL || access(follow->cache, F_OK) != 0)
        return;
    if (rules_cache_read(follow->cache, &record, &text, &err) != 0)
        buf_printf(&faults, "%s", err.text);
    else
        table = load(buf_str(&text), record.rules_epoch, follow->cache, &faults);
    if (table != NULL) {
        put_in_force(follow, table, &record);
        stat_set(&follow->stats->rules_from_cache, 1);
    } else
        log_warning("rules.cache", "the cache of the rules is passed over: %s", buf_str(&faults).base);
    buf_free(&text);
    buf_free(&faults);
}

static void write_cache(struct rules_follow *follow, struct str text)
{
    struct error err;
    if (follow->cache == NULL || rules_cache_write(follow->cache, &follow->record, text, &err) == 0)
        return;
    stat_add(&follow->stats->rules_cache_faults_total, 1);
    log_warning("rules.cache", "%s; a restart while the store is away would find older rules", err.text);
}

static void refuse(struct rules_follow *follow, const struct store_record *record, const char *faults)
{
    log_error("rules.refused", "epoch %lu, version %lu: %s", (unsigned long)record->rules_epoch,
              (unsigned long)record->version, faults);
    stat_add(&follow->stats->rules_refused_total, 1);
    follow->refused = *record;
    snprintf(follow->refusal, sizeof(follow->refusal), "%s", faults);
}

static void adopt(struct rules_follow *follow, const struct store_record *record)
{
    struct buf text = {0}, faults = {0};
    struct error err;
    if (store_rules(follow->store, record->version, &text, &err) != 0) {
        set_state(follow, false, err.text); /* asked again at the next sync */
        buf_free(&text);
        return;
    }
    struct table *table = load(buf_str(&text), record->rules_epoch, "rules", &faults);
    if (table != NULL) {
        follow->refused.epoch = 0;
        put_in_force(follow, table, record);
        write_cache(follow, buf_str(&text));
        stat_set(&follow->stats->rules_from_cache, 0);
    } else
        refuse(follow, record, faults.base);
    buf_free(&text);
    buf_free(&faults);
}

void rules_follow_sync(struct rules_follow *follow)
{
    struct store_record record;
    struct error err;
    follow->behind = false;
    if (store_current(follow->store, &record, &err) != 0) {
        set_state(follow, false, err.text);
        return;
    }
    stat_set(&follow->stats->store_epoch, record.epoch);
    follow->behind = !store_record_follows(&follow->record, &record);
    if (follow->behind) {
        snprintf(err.text, sizeof(err.text),
                 "the store is at epoch %lu, which does not follow epoch %lu in force here: it was reset or restored",
                 (unsigned long)record.epoch, (unsigned long)follow->record.epoch);
        set_state(follow, false, err.text);
        return;
    }
    set_state(follow, true, "");
    if (record.rules_epoch == follow->record.rules_epoch) {
        follow->record.epoch = record.epoch;
        stat_set(&follow->stats->rules_from_cache, 0);
    } else if (follow->refused.rules_epoch != record.rules_epoch || strcmp(follow->refused.sha256, record.sha256) != 0)
        adopt(follow, &record);
}

int rules_follow_open(struct rules_follow *follow, const char *location, const struct store_access *access,
                      struct error *err)
{
    follow->since_us = clock_wall_us();
    follow->store = store_open_as(location, access, err);
    if (follow->store == NULL)
        return -1;
    load_cache(follow);
    rules_follow_sync(follow);
    return 0;
}

void rules_follow_close(struct rules_follow *follow)
{
    table_unref(&follow->table);
    store_close(&follow->store);
}
