/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "gateway/queue.h"

#define PRELOAD   2048 /* changes that are read again at the start */
#define RETRY_MS  25   /* where nobody can be asked, or the bell does not hear */
#define SAFETY_MS 2000 /* longer than the bell is ever silent */

static void look_on(struct feed *feed);

static struct gateway_stats *stats_of(const struct feed *feed)
{
    return &feed->bells->worker->stats;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static void drop_page(struct feed *feed)
{
    page_unref(&feed->pages[feed->first++ % FEED_PAGES]);
}

static struct page *add_page(struct feed *feed, uint64_t after)
{
    if (feed->end - feed->first == FEED_PAGES)
        drop_page(feed);
    return feed->pages[feed->end++ % FEED_PAGES] = page_create(after);
}

/* All that was read at once goes to pages of its own: those that stand are being sent. */
static void append(struct feed *feed, const struct look *look)
{
    struct page *page = NULL;
    for (unsigned i = 0; i < look->count; i++) {
        if (page == NULL || !page_add(page, &look->changes[i])) {
            page = add_page(feed, feed->seq);
            (void)!page_add(page, &look->changes[i]);
        }
        feed->seq = page->until;
    }
}

bool feed_find(const struct feed *feed, uint64_t seq, uint64_t *number, unsigned *event)
{
    uint64_t oldest = feed->first < feed->end ? feed_page(feed, feed->first)->after : feed->seq;
    *number = feed->end;
    *event = 0;
    if (seq < oldest)
        return false;
    for (uint64_t at = feed->first; at < feed->end; at++) {
        *event = page_seek(feed_page(feed, at), seq);
        *number = at;
        if (*event < feed_page(feed, at)->count)
            return true;
    }
    *number = feed->end;
    *event = 0;
    return true;
}

/* --- what a look says --------------------------------------------------------------------------------------------- */

/* What changes nothing stands behind its change: where that is gone, more may be. */
bool feed_is_gapless(const struct look *look, struct stream_id behind, uint64_t seq)
{
    for (unsigned i = 0; i < look->count; i++) {
        const struct change *change = &look->changes[i];
        if (!change->repair && change->id.ms != seq + 1)
            return false;
        seq = change->repair ? seq : seq + 1;
    }
    return look->seq <= seq || (stream_id_compare(look->last, behind) > 0 && look->last.ms <= seq);
}

static void skip_to(struct feed *feed, uint64_t seq)
{
    while (feed->first < feed->end)
        drop_page(feed);
    feed->seq = seq;
    feed->last = (struct stream_id){seq, 0};
}

static void reset(struct feed *feed, const struct look *look)
{
    skip_to(feed, look->seq);
    feed->target = look->seq;
    feed->events->reset(feed->arg);
}

/* Whether the copy was made anew since the last look. */
static bool is_remade(struct feed *feed, const struct look *look)
{
    bool first = feed->phase == FEED_STARTING;
    if (str_equal(look->made_from, str_of(feed->made_from)))
        return false;
    snprintf(feed->made_from, sizeof(feed->made_from), "%.*s", STR_ARG(look->made_from));
    return !first;
}

static void begin(struct feed *feed, const struct look *look)
{
    (void)is_remade(feed, look);
    feed->phase = FEED_LOADING;
    feed->target = look->seq;
    skip_to(feed, look->seq > PRELOAD ? look->seq - PRELOAD : 0);
}

/* Of what was before the start, it does not matter where it begins, but there is no gap in it. */
static void load_from(struct feed *feed, const struct look *look)
{
    const struct change *first = look->changes;
    uint64_t seq = stream_id_compare(look->last, feed->last) > 0 ? look->last.ms : look->seq;
    if (look->count > 0)
        seq = first->id.ms - !first->repair;
    if (seq > feed->seq)
        skip_to(feed, seq);
}

/* Nobody is told before all of the past is there: whoever comes new begins behind it. */
static void take_changes(struct feed *feed, const struct look *look)
{
    uint64_t end = feed->end;
    append(feed, look);
    feed->last = look->last;
    stat_add(&stats_of(feed)->watch_changes_total, look->count);
    bool begun = feed->phase == FEED_LOADING && feed->seq >= feed->target;
    if (begun)
        feed->phase = FEED_FOLLOWING;
    if (feed->phase == FEED_FOLLOWING && (begun || feed->end > end))
        feed->events->news(feed->arg);
}

/* Whether the copy is to be looked at again at once: there is more. */
static bool take(struct feed *feed, const struct look *look)
{
    bool open = look->standing == LOOK_OPEN;
    feed->beat_us = look->beat_us;
    if (look->standing == LOOK_UNMADE || (feed->phase == FEED_STARTING && !open))
        return false;
    if (feed->phase == FEED_STARTING) {
        begin(feed, look);
        return true;
    }
    if (feed->phase == FEED_LOADING)
        load_from(feed, look);
    bool known = look->seq >= feed->seq && feed_is_gapless(look, feed->last, feed->seq);
    if (is_remade(feed, look) || (!known && open))
        reset(feed, look);
    else if (known)
        take_changes(feed, look);
    return known && look->seq > feed->seq;
}

/* --- rounds ------------------------------------------------------------------------------------------------------- */

static void arm(struct feed *feed, uint64_t delay_ms)
{
    timers_arm(&feed->bells->brokers.timers, &feed->timer, delay_ms);
}

static void on_look(void *arg, const struct look *look)
{
    struct feed *feed = arg;
    feed->look = NULL;
    if (look != NULL && take(feed, look)) {
        look_on(feed);
        return;
    }
    feed->listener.behind = feed->last;
    bool heard = bell_answer(&feed->listener, look != NULL && feed->phase == FEED_FOLLOWING);
    arm(feed, heard && feed->listener.ready ? SAFETY_MS : RETRY_MS);
}

static void look_on(struct feed *feed)
{
    unsigned most = feed->phase == FEED_STARTING ? 0 : LOOK_MOST;
    if (feed->look != NULL)
        return;
    timers_disarm(&feed->timer);
    feed->look = look_start(feed->bells->worker, feed->unit, str_of(feed->collection), feed->last, most, on_look, feed);
    if (feed->look != NULL)
        return;
    (void)bell_answer(&feed->listener, false);
    arm(feed, RETRY_MS);
}

static void on_rung(struct bell_listener *listener)
{
    look_on(H2O_STRUCT_FROM_MEMBER(struct feed, listener, listener));
}

static void on_timer(h2o_timeout_entry_t *entry)
{
    look_on(H2O_STRUCT_FROM_MEMBER(struct feed, timer, entry));
}

/* Another broker numbers what stands behind a change in its own way: repairs of the last one may come twice. */
void feed_follow(struct feed *feed)
{
    feed->last.seq = 0;
    if (feed->look == NULL)
        arm(feed, 0);
}

struct feed *feed_open(struct bells *bells, struct unit *unit, struct str collection, const struct feed_events *events,
                       void *arg)
{
    struct feed *feed = mem_calloc(1, sizeof(*feed));
    feed->bells = bells;
    feed->unit = unit;
    feed->collection = str_dup(collection);
    feed->events = events;
    feed->arg = arg;
    feed->timer.cb = on_timer;
    feed->listener.collection = str_of(feed->collection);
    feed->listener.rung = on_rung;
    bell_join(bells, unit, &feed->listener);
    arm(feed, 0);
    return feed;
}

void feed_close(struct feed **slot)
{
    struct feed *feed = *slot;
    *slot = NULL;
    if (feed == NULL)
        return;
    if (feed->look != NULL)
        look_forget(feed->look);
    timers_disarm(&feed->timer);
    bell_leave(&feed->listener);
    skip_to(feed, 0);
    free(feed->collection);
    free(feed);
}
