/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_audience.h"

#include <stdlib.h>

#include "common/invariant.h"
#include "common/measure.h"
#include "gateway/gateway.h"

#define IDLE_MS   10000 /* for which the pages are kept when nobody watches */
#define TURN_MOST 200   /* who are served before others of the worker have their turn */
#define TURN_MS   1     /* and after what time the next of them are */
#define AGAIN_MS  25    /* until a log that could not be read is asked again */

static struct watcher *watcher_at(h2o_linklist_t *link)
{
    return H2O_STRUCT_FROM_MEMBER(struct watcher, link, link);
}

static void arm_turn(struct audience *audience, uint64_t delay_ms)
{
    timers_arm(&audience->bells->worker->timers, &audience->turn, delay_ms);
}

/* --- the log ------------------------------------------------------------------------------------------------------ */

static void on_past(void *arg, const struct look *look)
{
    struct audience *audience = arg;
    struct watcher *watcher = audience->past_for;
    audience->past = NULL;
    audience->past_for = NULL;
    if (watcher->sending || watcher_take_past(watcher, look)) {
        if (!watcher->sending)
            watcher_go_on(watcher);
        audience_ask_log(audience);
    } else {
        arm_turn(audience, AGAIN_MS);
    }
}

/* One after the other: those who come back with an old place cost the broker little. */
void audience_ask_log(struct audience *audience)
{
    if (audience->past != NULL || h2o_linklist_is_empty(&audience->behind))
        return;
    struct watcher *watcher = watcher_at(audience->behind.next);
    struct feed *feed = audience->feed;
    stat_add(&audience->bells->worker->stats.watch_past_reads_total, 1);
    audience->past_for = watcher;
    audience->past = look_start(audience->bells->worker, feed->unit, str_of(feed->collection), watcher_place(watcher),
                                LOOK_MOST, on_past, audience);
    if (audience->past == NULL)
        arm_turn(audience, AGAIN_MS);
}

static void forget_past(struct audience *audience)
{
    if (audience->past != NULL)
        look_forget(audience->past);
    audience->past = NULL;
    audience->past_for = NULL;
}

/* --- who comes and goes ------------------------------------------------------------------------------------------- */

void audience_join(struct audience *audience, struct watcher *watcher)
{
    watcher->audience = audience;
    audience->feed->listener.audience = ++audience->count;
    timers_disarm(&audience->idling);
    watcher_begin(watcher);
    if (audience->feed->phase == FEED_FOLLOWING)
        watcher_go_on(watcher);
}

void audience_left(struct audience *audience, const struct watcher *watcher)
{
    audience->feed->listener.audience = --audience->count;
    if (audience->past_for == watcher) {
        forget_past(audience);
        audience_ask_log(audience);
    }
    if (audience->count == 0)
        timers_arm(&audience->bells->worker->timers, &audience->idling, IDLE_MS);
}

/* --- all of them -------------------------------------------------------------------------------------------------- */

static void serve_due(struct audience *audience)
{
    for (unsigned i = 0; i < TURN_MOST && !h2o_linklist_is_empty(&audience->due); i++)
        watcher_go_on(watcher_at(audience->due.next));
    if (!h2o_linklist_is_empty(&audience->due))
        arm_turn(audience, TURN_MS);
}

static void on_turn(h2o_timeout_entry_t *entry)
{
    struct audience *audience = H2O_STRUCT_FROM_MEMBER(struct audience, turn, entry);
    serve_due(audience);
    audience_ask_log(audience);
}

static void on_news(void *arg)
{
    struct audience *audience = arg;
    h2o_linklist_insert_list(&audience->due, &audience->waiting);
    h2o_linklist_insert_list(&audience->due, &audience->idle);
    if (!h2o_timeout_is_linked(&audience->turn))
        serve_due(audience);
}

static void each(h2o_linklist_t *list, void (*fn)(struct watcher *watcher))
{
    for (h2o_linklist_t *link = list->next, *next; link != list; link = next) {
        next = link->next;
        fn(watcher_at(link));
    }
}

static void each_of(struct audience *audience, void (*fn)(struct watcher *watcher))
{
    each(&audience->idle, fn);
    each(&audience->due, fn);
    each(&audience->busy, fn);
    each(&audience->behind, fn);
}

static void on_reset(void *arg)
{
    struct audience *audience = arg;
    forget_past(audience);
    each_of(audience, watcher_reset);
    h2o_linklist_insert_list(&audience->idle, &audience->behind);
    on_news(audience);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void audience_end(struct audience *audience)
{
    each(&audience->waiting, watcher_end);
    each_of(audience, watcher_end);
}

void audience_renew(struct audience *audience)
{
    each(&audience->waiting, watcher_renew);
    each_of(audience, watcher_renew);
}

void audience_follow(struct audience *audience)
{
    forget_past(audience);
    each_of(audience, watcher_follow);
    feed_follow(audience->feed);
    audience_ask_log(audience);
}

static void on_idling(h2o_timeout_entry_t *entry)
{
    struct audience *audience = H2O_STRUCT_FROM_MEMBER(struct audience, idling, entry);
    audience_destroy(&audience);
}

bool audience_is(const struct audience *audience, const struct unit *unit, struct str collection)
{
    return audience->feed->unit == unit && str_equal(str_of(audience->feed->collection), collection);
}

static const struct feed_events feed_events = {.news = on_news, .reset = on_reset};

struct audience *audience_create(struct bells *bells, struct unit *unit, struct str collection, struct audience **list)
{
    struct audience *audience = mem_calloc(1, sizeof(*audience));
    h2o_linklist_t *lists[] = {&audience->waiting, &audience->idle, &audience->due, &audience->busy, &audience->behind};
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        h2o_linklist_init_anchor(lists[i]);
    audience->bells = bells;
    audience->turn.cb = on_turn;
    audience->idling.cb = on_idling;
    audience->feed = feed_open(bells, unit, collection, &feed_events, audience);
    audience->list = list;
    audience->next = *list;
    return *list = audience;
}

void audience_destroy(struct audience **slot)
{
    struct audience *audience = *slot, **at = audience->list;
    *slot = NULL;
    INVARIANT(audience->count == 0);
    while (*at != audience)
        at = &(*at)->next;
    *at = audience->next;
    forget_past(audience);
    timers_disarm(&audience->turn);
    timers_disarm(&audience->idling);
    feed_close(&audience->feed);
    free(audience);
}
