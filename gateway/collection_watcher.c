/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_watcher.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "gateway/collection_audience.h"
#include "gateway/collection_watch.h"
#include "gateway/gateway.h"

#define VECTORS    28   /* a piece: libh2o's answers take few without memory of their own */
#define AHEAD_MS   5000 /* for which who knows more than the copy is waited with */
#define RETRY_LOW  200  /* ms that a client waits before it comes again: not all at once */
#define RETRY_SPAN 1000

static struct worker *worker_of_watcher(const struct watcher *watcher)
{
    return watcher->exchange->worker;
}

static struct gateway_stats *stats_of(const struct watcher *watcher)
{
    return &watcher->exchange->worker->stats;
}

static uint64_t now_ms(const struct watcher *watcher)
{
    return h2o_now(worker_of_watcher(watcher)->h2o.loop);
}

static void move_to(struct watcher *watcher, h2o_linklist_t *list)
{
    if (h2o_linklist_is_linked(&watcher->link))
        h2o_linklist_unlink(&watcher->link);
    h2o_linklist_insert(list, &watcher->link);
}

static void arm(struct watcher *watcher, uint64_t delay_ms)
{
    timers_arm(&worker_of_watcher(watcher)->timers, &watcher->timer, delay_ms);
}

static void arm_heartbeat(struct watcher *watcher)
{
    arm(watcher, (uint64_t)worker_of_watcher(watcher)->gateway->config.watch.heartbeat);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void release_pages(struct watcher *watcher)
{
    while (watcher->held_count > 0)
        page_unref(&watcher->held[--watcher->held_count]);
}

/* May end the request: it comes last in whatever calls it. */
static void tell(struct watcher *watcher, h2o_iovec_t *vectors, unsigned count)
{
    watcher->sending = true;
    watcher->sent_ms = now_ms(watcher);
    move_to(watcher, &watcher->audience->busy);
    arm_heartbeat(watcher);
    h2o_send(watcher->exchange->req, vectors, count, H2O_SEND_STATE_IN_PROGRESS);
}

static void send_text(struct watcher *watcher, int len)
{
    INVARIANT(len > 0 && (size_t)len < sizeof(watcher->text));
    h2o_iovec_t vector = h2o_iovec_init(watcher->text, (size_t)len);
    tell(watcher, &vector, 1);
}

/* How old the copy may be; 0 where nobody knows. */
static uint64_t lag_ms(const struct feed *feed)
{
    uint64_t wall_us = clock_wall_us();
    return feed->beat_us != 0 && feed->beat_us < wall_us ? (wall_us - feed->beat_us) / 1000 : 0;
}

/* The client knows from `id` where to go on, also where none of its prefix has changed for long. */
static void send_heartbeat(struct watcher *watcher)
{
    send_text(watcher, snprintf(watcher->text, sizeof(watcher->text), ": lag %" PRIu64 " ms\nid: %" PRIu64 "\n\n",
                                lag_ms(watcher->audience->feed), watcher->seq));
}

static void send_reset(struct watcher *watcher)
{
    watcher->reset = false;
    watcher->ahead_ms = 0;
    watcher->seq = watcher->audience->feed->seq;
    watcher->placed = true;
    watcher->page = watcher->audience->feed->end;
    watcher->event = 0;
    page_unref(&watcher->past);
    stat_add(&stats_of(watcher)->watch_resets_total, 1);
    send_text(watcher, snprintf(watcher->text, sizeof(watcher->text),
                                "event: reset\nid: %" PRIu64 "\ndata: {\"sequence\":%" PRIu64 "}\n\n", watcher->seq,
                                watcher->seq));
}

static void end(struct watcher *watcher)
{
    watcher->over = true;
    watcher->sending = true; /* the last: what comes of a look that is under way is not for it */
    h2o_linklist_unlink(&watcher->link);
    timers_disarm(&watcher->timer);
    h2o_send(watcher->exchange->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* --- what comes next ---------------------------------------------------------------------------------------------- */

static void hold(struct watcher *watcher, struct page *page)
{
    page_ref(page);
    watcher->held[watcher->held_count++] = page;
}

/* What WATCHER was told all up to, where event AT of PAGE comes next. */
static void note_seq(struct watcher *watcher, const struct page *page, unsigned at)
{
    const struct page_event *next = page->events + at;
    if (at == page->count)
        watcher->seq = page->until;
    else if (at > 0)
        watcher->seq = next->seq - !next->repair;
}

/* From its own page. */
static unsigned gather_past(struct watcher *watcher, h2o_iovec_t *vectors, uint64_t *told)
{
    struct page *page = watcher->past;
    if (page == NULL)
        return 0;
    unsigned count = page_select(page, &watcher->past_event, watcher->prefix, vectors, VECTORS, told);
    if (count > 0)
        hold(watcher, page);
    note_seq(watcher, page, watcher->past_event);
    if (watcher->past_event == page->count)
        page_unref(&watcher->past);
    return count;
}

static unsigned gather_pages(struct watcher *watcher, h2o_iovec_t *vectors, uint64_t *told)
{
    const struct feed *feed = watcher->audience->feed;
    unsigned count = 0;
    while (watcher->page < feed->end && watcher->held_count < WATCHER_PAGES && count < VECTORS) {
        struct page *page = feed_page(feed, watcher->page);
        unsigned more = page_select(page, &watcher->event, watcher->prefix, vectors + count, VECTORS - count, told);
        if (more > 0)
            hold(watcher, page);
        count += more;
        note_seq(watcher, page, watcher->event);
        if (watcher->event < page->count)
            break;
        watcher->page++;
        watcher->event = 0;
    }
    return count;
}

/* Where WATCHER stands in the pages. False: it is behind them, or ahead of them. */
static bool find_place(struct watcher *watcher)
{
    const struct feed *feed = watcher->audience->feed;
    if (watcher->placed && watcher->page >= feed->first)
        return true;
    watcher->placed = watcher->seq <= feed->seq && feed_find(feed, watcher->seq, &watcher->page, &watcher->event);
    if (watcher->placed)
        watcher->ahead_ms = 0;
    return watcher->placed;
}

static void wait_ahead(struct watcher *watcher)
{
    uint64_t now = now_ms(watcher);
    if (watcher->ahead_ms == 0) {
        watcher->ahead_ms = now;
        arm(watcher, AHEAD_MS);
    }
    if (now - watcher->ahead_ms >= AHEAD_MS)
        send_reset(watcher);
    else
        move_to(watcher, &watcher->audience->idle);
}

/* Without a place in the pages. */
static void go_elsewhere(struct watcher *watcher)
{
    struct audience *audience = watcher->audience;
    if (watcher->seq > audience->feed->seq) {
        wait_ahead(watcher);
        return;
    }
    move_to(watcher, &audience->behind);
    audience_ask_log(audience);
}

static void answer(struct watcher *watcher);

static void go_on_telling(struct watcher *watcher)
{
    h2o_iovec_t vectors[VECTORS];
    uint64_t told = 0;
    unsigned count = gather_past(watcher, vectors, &told);
    if (count == 0 && !find_place(watcher)) {
        go_elsewhere(watcher);
        return;
    }
    if (count == 0)
        count = gather_pages(watcher, vectors, &told);
    stat_add(&stats_of(watcher)->watch_events_total, told);
    if (count > 0)
        tell(watcher, vectors, count);
    else
        move_to(watcher, &watcher->audience->idle);
}

void watcher_go_on(struct watcher *watcher)
{
    if (!watcher->answered)
        answer(watcher);
    else if (watcher->ending)
        end(watcher);
    else if (watcher->reset)
        send_reset(watcher);
    else
        go_on_telling(watcher);
}

static void on_stop(h2o_generator_t *generator, h2o_req_t *req)
{
    (void)generator, (void)req; /* the exchange is disposed */
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct watcher *watcher = (struct watcher *)generator;
    (void)req;
    watcher->sending = false;
    release_pages(watcher);
    if (!watcher->over)
        watcher_go_on(watcher);
}

/* A copy that was mended may have more entries behind one change than a look shows. */
struct stream_id watcher_place(const struct watcher *watcher)
{
    return watcher->looked.ms == watcher->seq ? watcher->looked : (struct stream_id){watcher->seq, 0};
}

void watcher_follow(struct watcher *watcher)
{
    watcher->looked = (struct stream_id){0, 0};
}

/* As much of what LOOK shows as goes into one. */
static void take_page(struct watcher *watcher, const struct look *look)
{
    struct page *page = page_create(watcher->seq);
    unsigned taken = 0;
    while (taken < look->count && page_add(page, &look->changes[taken]))
        taken++;
    watcher->looked = taken < look->count ? look->changes[taken - 1].id : look->last;
    page_unref(&watcher->past);
    watcher->past = page;
    watcher->past_event = 0;
}

bool watcher_take_past(struct watcher *watcher, const struct look *look)
{
    if (look == NULL || look->standing == LOOK_UNMADE)
        return false;
    struct stream_id place = watcher_place(watcher);
    bool gapless = feed_is_gapless(look, place, watcher->seq);
    bool on = gapless && stream_id_compare(look->last, place) > 0;
    watcher->reset |= !gapless && look->standing == LOOK_OPEN;
    if (on)
        take_page(watcher, look);
    return watcher->reset || on;
}

/* --- a watcher's life --------------------------------------------------------------------------------------------- */

/* In no audience any more. */
static void leave(struct watcher *watcher)
{
    if (h2o_linklist_is_linked(&watcher->link))
        h2o_linklist_unlink(&watcher->link);
    timers_disarm(&watcher->timer);
    release_pages(watcher);
    page_unref(&watcher->past);
    stat_set(&stats_of(watcher)->watchers, stat_get(&stats_of(watcher)->watchers) - 1);
    audience_left(watcher->audience, watcher);
}

static void fail(struct watcher *watcher, enum verdict verdict, const char *detail)
{
    watcher->exchange->detach = NULL;
    leave(watcher);
    exchange_fail(watcher->exchange, verdict, detail);
}

static void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, value, strlen(value));
}

static void add_number(h2o_req_t *req, const char *name, uint64_t number)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 21);
    text[str_from_u64(number, text)] = '\0';
    add_header(req, name, text);
}

static void answer(struct watcher *watcher)
{
    const struct feed *feed = watcher->audience->feed;
    h2o_req_t *req = watcher->exchange->req;
    if (!watcher->resumes)
        watcher->seq = feed->seq;
    watcher->answered = true;
    req->res.status = 200;
    req->res.reason = "OK";
    add_header(req, "content-type", "text/event-stream");
    add_header(req, "cache-control", "no-store");
    add_header(req, "x-accel-buffering", "no");
    add_number(req, "ldc-collection-sequence", feed->seq);
    exchange_add_headers(watcher->exchange);
    stat_add(&stats_of(watcher)->verdicts[VERDICT_OK], 1);
    h2o_start_response(req, &watcher->generator);
    send_text(watcher,
              snprintf(watcher->text, sizeof(watcher->text), ": lag %" PRIu64 " ms\nretry: %u\nid: %" PRIu64 "\n\n",
                       lag_ms(feed), RETRY_LOW + (unsigned)(worker_random(worker_of_watcher(watcher)) % RETRY_SPAN),
                       watcher->seq));
}

static void go_to_next_unit(struct watcher *watcher)
{
    struct exchange *exchange = watcher->exchange;
    exchange->detach = NULL;
    leave(watcher);
    if (!collection_watch_elsewhere(watcher))
        exchange_fail(exchange, VERDICT_STALE_COPY, "The copy of the collection cannot be read yet");
}

/* What a client does not take holds pages: a stream of HTTP/2 among others may rest for ever, unless all of them end.
 */
static void wait_for_client(struct watcher *watcher)
{
    h2o_conn_t *conn = watcher->exchange->req->conn;
    int64_t send_timeout = worker_of_watcher(watcher)->gateway->config.limits.send_timeout;
    arm_heartbeat(watcher);
    if (now_ms(watcher) - watcher->sent_ms > 2 * (uint64_t)send_timeout)
        shutdown(h2o_socket_get_fd(conn->callbacks->get_socket(conn)), SHUT_RDWR);
}

static void on_timer(h2o_timeout_entry_t *entry)
{
    struct watcher *watcher = H2O_STRUCT_FROM_MEMBER(struct watcher, timer, entry);
    if (!watcher->answered)
        go_to_next_unit(watcher);
    else if (watcher->sending)
        wait_for_client(watcher);
    else if (watcher->ahead_ms != 0)
        watcher_go_on(watcher);
    else
        send_heartbeat(watcher);
}

static void on_detach(struct exchange *exchange)
{
    leave(exchange->carrier);
}

void watcher_begin(struct watcher *watcher)
{
    struct exchange *exchange = watcher->exchange;
    watcher->generator = (h2o_generator_t){.proceed = on_proceed, .stop = on_stop};
    watcher->timer.cb = on_timer;
    exchange->carrier = watcher;
    exchange->detach = on_detach;
    stat_add(&stats_of(watcher)->watchers, 1);
    move_to(watcher, &watcher->audience->waiting);
    arm(watcher, (uint64_t)exchange->worker->gateway->config.failover.hold);
}

void watcher_reset(struct watcher *watcher)
{
    watcher->reset = watcher->answered;
    watcher->placed = false;
}

void watcher_end(struct watcher *watcher)
{
    watcher->ending = true;
    if (!watcher->answered)
        fail(watcher, VERDICT_DRAINING, NULL);
    else if (!watcher->sending)
        end(watcher);
}

void watcher_renew(struct watcher *watcher)
{
    struct exchange *exchange = watcher->exchange;
    const struct feed *feed = watcher->audience->feed;
    bool routed = exchange_renew(exchange) == VERDICT_OK && exchange->route->action == ACTION_ZONE_C;
    const struct table *table = exchange->view->table;
    watcher->rules = table_collection(table, str_of(feed->collection));
    watcher->unit = table_unit_index(table, str_of(feed->unit->name));
    if (routed && watcher->rules != NULL && watcher->unit != NO_UNIT)
        exchange->rules = &table->units[watcher->unit];
    else
        watcher_end(watcher);
}
