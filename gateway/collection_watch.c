/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_watch.h"

#include <stdlib.h>

#include "common/clock.h"
#include "gateway/collection_audience.h"
#include "gateway/copy_choice.h"
#include "gateway/field.h"
#include "gateway/gateway.h"

struct watches {
    struct bells bells;
    struct audience *audiences;
};

/* --- what is wanted ----------------------------------------------------------------------------------------------- */

/* A client that comes again says in the header what it was told; the first time it can only say so in the query. */
static bool read_place(struct watcher *watcher, const struct collection_path *path)
{
    h2o_req_t *req = watcher->exchange->req;
    struct str after = {NULL, 0};
    bool sound = collection_parameter(req, path->query, "after", &after);
    struct str told = field_of(req, STR_LIT("last-event-id"));
    if (told.len > 0)
        after = told;
    watcher->resumes = after.base != NULL;
    return sound && (after.base == NULL || str_to_u64(after, &watcher->seq));
}

/* The origin next door is as good as a copy; elsewhere it is asked by the rules. */
static bool may_go_to_origin(const struct exchange *exchange, const struct table_collection *rules)
{
    uint32_t core = exchange->view->table->core_unit;
    return core != NO_UNIT &&
           (rules->when_stale != COLLECTION_STALE_REFUSE || copy_is_near(exchange->worker, exchange->view, core));
}

/* As for reads: the first copy next door from unit FROM on, or the origin. */
static uint32_t choose_from(const struct watcher *watcher, uint32_t from)
{
    const struct exchange *exchange = watcher->exchange;
    uint32_t unit =
        copy_choose(exchange->worker->copies, exchange->view, watcher->rules->name, from, clock_monotonic_us());
    return unit == NO_UNIT && may_go_to_origin(exchange, watcher->rules) ? exchange->view->table->core_unit : unit;
}

static void choose(struct watcher *watcher)
{
    struct str named = field_of(watcher->exchange->req, STR_LIT("ldc-unit"));
    watcher->named = named.base != NULL;
    watcher->unit = watcher->named ? table_unit_index(watcher->exchange->view->table, named) : choose_from(watcher, 0);
}

static struct audience *find_or_create(struct watches *watches, struct unit *unit, struct str collection)
{
    for (struct audience *audience = watches->audiences; audience != NULL; audience = audience->next)
        if (audience_is(audience, unit, collection))
            return audience;
    return audience_create(&watches->bells, unit, collection, &watches->audiences);
}

static void join(struct watcher *watcher)
{
    struct exchange *exchange = watcher->exchange;
    struct unit *unit = exchange->view->units[watcher->unit].unit;
    exchange->rules = &exchange->view->table->units[watcher->unit];
    audience_join(find_or_create(exchange->worker->watches, unit, watcher->rules->name), watcher);
}

bool collection_watch_elsewhere(struct watcher *watcher)
{
    if (watcher->named || watcher->unit == watcher->exchange->view->table->core_unit)
        return false;
    watcher->unit = choose_from(watcher, watcher->unit + 1);
    if (watcher->unit == NO_UNIT)
        return false;
    join(watcher);
    return true;
}

static enum verdict check(struct watcher *watcher, const struct collection_path *path, const char **fault)
{
    const struct worker *worker = watcher->exchange->worker;
    if (worker->draining)
        return VERDICT_DRAINING;
    *fault = "The prefix has malformed escapes";
    if (!collection_parameter(watcher->exchange->req, path->query, "prefix", &watcher->prefix))
        return VERDICT_BAD_REQUEST;
    *fault = "Last-Event-ID, or `after`, is the number of a change";
    if (!read_place(watcher, path))
        return VERDICT_BAD_REQUEST;
    *fault = watcher->named ? "The rules name no such unit" : "No unit next door has a copy that can be read";
    if (watcher->unit == NO_UNIT)
        return watcher->named ? VERDICT_NOT_FOUND : VERDICT_STALE_COPY;
    *fault = NULL;
    bool full = stat_get(&worker->stats.watchers) >= (uint64_t)worker->gateway->config.watch.clients;
    return full ? VERDICT_WATCHERS_FULL : VERDICT_OK;
}

void collection_watch_serve(struct exchange *exchange, const struct collection_path *path)
{
    struct watcher *watcher = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*watcher));
    const char *fault = NULL;
    *watcher = (struct watcher){.exchange = exchange, .rules = path->rules, .prefix = STR_LIT("")};
    choose(watcher);
    enum verdict verdict = check(watcher, path, &fault);
    if (verdict == VERDICT_OK)
        join(watcher);
    else
        exchange_fail(exchange, verdict, fault);
}

/* --- all of a worker ---------------------------------------------------------------------------------------------- */

static void each(struct watches *watches, void (*fn)(struct audience *audience))
{
    for (struct audience *audience = watches->audiences; audience != NULL; audience = audience->next)
        fn(audience);
}

void watches_adopt(struct watches *watches)
{
    each(watches, audience_renew);
}

void watches_drain(struct watches *watches)
{
    each(watches, audience_end);
}

void watches_follow(struct watches *watches, const struct unit *unit)
{
    bells_follow(&watches->bells, unit);
    for (struct audience *audience = watches->audiences; audience != NULL; audience = audience->next)
        if (audience->feed->unit == unit)
            audience_follow(audience);
}

void watches_flush(struct watches *watches)
{
    bells_flush(&watches->bells);
}

struct watches *watches_create(struct worker *worker)
{
    struct watches *watches = mem_calloc(1, sizeof(*watches));
    bells_init(&watches->bells, worker);
    return watches;
}

void watches_destroy(struct watches **slot)
{
    struct watches *watches = *slot;
    *slot = NULL;
    if (watches == NULL)
        return;
    while (watches->audiences != NULL) {
        struct audience *audience = watches->audiences;
        audience_destroy(&audience);
    }
    bells_dispose(&watches->bells);
    free(watches);
}
