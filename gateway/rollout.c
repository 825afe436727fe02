/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/rollout.h"

#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/rules_cache.h"
#include "gateway/workers.h"
#include "rules/rules.h"

#define RETRY_US 5000000

const char *rollout_store_name(enum rollout_store state)
{
    static const char *const names[] = {"up", "away", "behind"};
    return names[state];
}

/* --- what the store is like --------------------------------------------------------------------------------------- */

static void set_state(struct rollout *rollout, enum rollout_store state, const char *fault)
{
    if (state == rollout->state && strcmp(fault, rollout->fault) == 0)
        return;
    if (state == ROLLOUT_STORE_UP)
        log_info("store.up", "the store answers");
    else
        log_warning(state == ROLLOUT_STORE_AWAY ? "store.away" : "store.behind", "%s; the rules in force stay", fault);
    if (state != rollout->state) {
        rollout->since_us = clock_wall_us();
        if (rollout->state == ROLLOUT_STORE_UP)
            stat_add(&rollout->stats->store_faults_total, 1);
    }
    rollout->state = state;
    snprintf(rollout->fault, sizeof(rollout->fault), "%s", fault);
    stat_set(&rollout->stats->store_up, state == ROLLOUT_STORE_UP);
}

/* --- from text to view -------------------------------------------------------------------------------------------- */

static struct view *make_view(const struct rollout *rollout, struct str text, uint64_t epoch, struct diag_list *diags,
                              bool *may_pass)
{
    struct error err;
    *may_pass = false;
    struct table *table = rules_load(text, epoch, diags);
    if (table == NULL)
        return NULL;
    struct view *view = view_create(rollout->gateway->registry, table, &err);
    if (view == NULL) {
        *may_pass = true;
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "%s", err.text);
    }
    return view;
}

struct table *rollout_try(const struct rollout *rollout, struct str text, struct diag_list *diags)
{
    bool may_pass;
    struct view *view = make_view(rollout, text, rollout->record.epoch + 1, diags, &may_pass);
    struct table *table = view != NULL ? view->table : NULL;
    if (table != NULL)
        table_ref(table);
    view_unref(&view);
    return table;
}

/* Takes over VIEW. */
static void put_in_force(struct rollout *rollout, struct view *view, const struct store_record *record)
{
    view_unref(&rollout->view);
    rollout->view = rollout->gateway->view = view;
    rollout->record = *record;
    workers_adopt(rollout->gateway, view);
    stat_add(&rollout->stats->rules_adopted_total, 1);
    stat_set(&rollout->stats->rules_version, record->version);
    log_info("rules.adopted", "epoch %llu, version %llu, by %s: %s", (unsigned long long)record->rules_epoch,
             (unsigned long long)record->version, record->by, record->note);
}

static void forget_refusal(struct rollout *rollout)
{
    diag_free(&rollout->refusal.diags);
    rollout->refusal = (struct rollout_refusal){.record = {.epoch = 0}};
}

/* Takes over DIAGS. A retry of the same version is neither counted nor told again, unless its fault is another. */
static void refuse(struct rollout *rollout, const struct store_record *record, struct diag_list *diags, bool may_pass)
{
    bool again = rollout->refusal.record.rules_epoch == record->rules_epoch;
    uint64_t at_us = again ? rollout->refusal.at_us : clock_wall_us();
    struct buf before = {NULL, 0, 0}, now = {NULL, 0, 0};
    diag_print(&rollout->refusal.diags, &before);
    diag_print(diags, &now);
    if (!again || !str_equal(buf_str(&before), buf_str(&now)))
        log_error("rules.refused", "epoch %llu, version %llu: %s", (unsigned long long)record->rules_epoch,
                  (unsigned long long)record->version, now.base ? now.base : "");
    stat_add(&rollout->stats->rules_refused_total, !again);
    buf_free(&before);
    buf_free(&now);
    diag_free(&rollout->refusal.diags);
    rollout->refusal = (struct rollout_refusal){*record, *diags, at_us, clock_monotonic_us(), may_pass};
}

/* --- the cache file ----------------------------------------------------------------------------------------------- */

static void write_cache(struct rollout *rollout, struct str text)
{
    const char *path = rollout->gateway->config.store.cache;
    struct error err = {ERROR_NONE, ""};
    if (path != NULL && rules_cache_write(path, &rollout->record, text, &err) == -1) {
        stat_add(&rollout->stats->rules_cache_faults_total, 1);
        log_warning("rules.cache", "%s; a restart while the store is away would find older rules", err.text);
    }
    snprintf(rollout->cache_fault, sizeof(rollout->cache_fault), "%s", err.text);
}

static void load_cache(struct rollout *rollout)
{
    const char *path = rollout->gateway->config.store.cache;
    struct store_record record;
    struct buf text = {NULL, 0, 0};
    struct diag_list diags = {.file = path};
    struct error err;
    if (path == NULL || access(path, F_OK) == -1)
        return;
    bool may_pass;
    struct view *view = NULL;
    if (rules_cache_read(path, &record, &text, &err) == -1)
        diag_add(&diags, DIAG_ERROR, 0, 0, NULL, "%s", err.text);
    else
        view = make_view(rollout, buf_str(&text), record.rules_epoch, &diags, &may_pass);
    if (view != NULL) {
        put_in_force(rollout, view, &record);
        stat_set(&rollout->stats->rules_from_cache, 1);
    } else {
        struct buf faults = {NULL, 0, 0};
        diag_print(&diags, &faults);
        log_warning("rules.cache", "the cache of the rules is passed over: %s", faults.base);
        buf_free(&faults);
    }
    diag_free(&diags);
    buf_free(&text);
}

/* --- following ---------------------------------------------------------------------------------------------------- */

static void adopt(struct rollout *rollout, const struct store_record *record)
{
    struct buf text = {NULL, 0, 0};
    struct diag_list diags = {.file = "rules"};
    struct error err;
    bool may_pass = true;
    struct view *view = NULL;
    if (store_rules(rollout->store, record->version, &text, &err) == -1)
        diag_add(&diags, DIAG_ERROR, 0, 0, NULL, "%s", err.text);
    else
        view = make_view(rollout, buf_str(&text), record->rules_epoch, &diags, &may_pass);
    if (view != NULL) {
        put_in_force(rollout, view, record);
        write_cache(rollout, buf_str(&text));
        stat_set(&rollout->stats->rules_from_cache, 0);
        forget_refusal(rollout);
        diag_free(&diags);
    } else {
        refuse(rollout, record, &diags, may_pass);
    }
    buf_free(&text);
}

static bool was_refused(const struct rollout *rollout, const struct store_record *record)
{
    const struct rollout_refusal *refusal = &rollout->refusal;
    return refusal->record.rules_epoch == record->rules_epoch && strcmp(refusal->record.sha256, record->sha256) == 0 &&
           (!refusal->may_pass || clock_monotonic_us() < refusal->mono_us + RETRY_US);
}

static void tell_behind(struct rollout *rollout, const struct store_record *record)
{
    char fault[480];
    const char *cache = rollout->gateway->config.store.cache;
    snprintf(fault, sizeof(fault),
             "the store is at epoch %llu, which does not follow epoch %llu in force here: it was reset or restored (to "
             "start over with it, stop the gateway%s%.200s)",
             (unsigned long long)record->epoch, (unsigned long long)rollout->record.epoch, cache ? " and remove " : "",
             cache ? cache : "");
    set_state(rollout, ROLLOUT_STORE_BEHIND, fault);
}

void rollout_sync(struct rollout *rollout)
{
    struct store_record record;
    struct error err;
    if (store_current(rollout->store, &record, &err) == -1) {
        set_state(rollout, ROLLOUT_STORE_AWAY, err.text);
        return;
    }
    stat_set(&rollout->stats->store_epoch, record.epoch);
    if (!store_record_follows(&rollout->record, &record)) {
        tell_behind(rollout, &record);
        return;
    }
    set_state(rollout, ROLLOUT_STORE_UP, "");
    if (record.rules_epoch == rollout->record.rules_epoch) {
        rollout->record.epoch = record.epoch;
        stat_set(&rollout->stats->rules_from_cache, 0);
    } else if (!was_refused(rollout, &record)) {
        adopt(rollout, &record);
    }
}

int rollout_renew_key(struct rollout *rollout, struct error *err)
{
    struct gateway *gateway = rollout->gateway;
    if (rollout->view == NULL || rollout->view->jwt_key == NULL)
        return 0;
    table_ref(rollout->view->table);
    struct view *renewed = view_create(gateway->registry, rollout->view->table, err);
    if (renewed == NULL)
        return -1;
    view_unref(&rollout->view);
    rollout->view = gateway->view = renewed;
    workers_adopt(gateway, renewed);
    return 0;
}

void rollout_recolor(struct rollout *rollout)
{
    struct gateway *gateway = rollout->gateway;
    if (rollout->view == NULL)
        return;
    struct view *recolored = view_recolor(gateway->registry, rollout->view);
    view_unref(&rollout->view);
    rollout->view = gateway->view = recolored;
    workers_adopt(gateway, recolored);
}

int rollout_open(struct rollout *rollout, struct gateway *gateway, struct control_stats *stats, struct error *err)
{
    *rollout = (struct rollout){.gateway = gateway, .stats = stats, .since_us = clock_wall_us()};
    rollout->store = store_open_as(gateway->config.store.location ? gateway->config.store.location : "",
                                   &gateway->config.store.access, err);
    if (rollout->store == NULL)
        return -1;
    stat_set(&stats->store_up, 1);
    load_cache(rollout);
    rollout_sync(rollout);
    return 0;
}

void rollout_close(struct rollout *rollout)
{
    rollout->gateway->view = NULL;
    view_unref(&rollout->view);
    diag_free(&rollout->refusal.diags);
    store_close(&rollout->store);
}

uint64_t rollout_epoch(const struct rollout *rollout)
{
    return workers_epoch(rollout->gateway);
}

int rollout_text(const struct rollout *rollout, struct buf *text, struct error *err)
{
    struct store_record cached;
    const char *cache = rollout->gateway->config.store.cache;
    if (rollout->record.version == 0)
        return error_set(err, ERROR_REFUSED, "no rules are in force");
    if (rollout->state == ROLLOUT_STORE_UP || cache == NULL)
        return store_rules(rollout->store, rollout->record.version, text, err);
    size_t before = text->len;
    if (rules_cache_read(cache, &cached, text, err) == -1)
        return -1;
    if (cached.rules_epoch == rollout->record.rules_epoch)
        return 0;
    text->len = before;
    return error_set(err, ERROR_SYSTEM, "the store is away, and %s holds other rules than those in force", cache);
}
