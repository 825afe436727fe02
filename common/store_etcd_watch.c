/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/store_etcd.h"

#define TICK_US      250000
#define REREAD_US    5000000 /* a watch may be dead without a word */
#define KEEPALIVE_US (STORE_ETCD_LEASE_S * 1000000 / 3)
#define RETRY_US     100000
#define RETRY_MOST   500000
#define LINE_MOST    ((size_t)16 << 20)

/* Lifecycle of the stream: none -> opened at the snapshot's revision + 1, at one member -> it ends, fails, says that
 * the revision was compacted, or a snapshot tells what it did not -> none, and the next member. All fields but the
 * first two are the thread's. */
struct store_etcd_watch {
    int stop; /* an eventfd */
    atomic_bool stopping;
    pthread_t thread;
    struct store_etcd *etcd;
    struct etcd_session session;
    sd_event *loop;
    sd_event_source *tick;
    struct http_client *client;
    struct http_transfer *stream;
    unsigned at; /* the member that is watched */
    struct buf line;
    char *live; /* the prefix */
    int64_t revision;
    bool known;            /* a snapshot stands, and what the stream says follows it */
    uint64_t lines;        /* that the stream said */
    uint64_t missed_lines; /* as many there were when a snapshot knew more than it; UINT64_MAX: none did */
    uint64_t reread_us, keepalive_us, retry_us;
};

static void tend_now(struct store_etcd_watch *watch)
{
    INVARIANT(sd_event_source_set_time(watch->tick, clock_monotonic_us()) >= 0);
    INVARIANT(sd_event_source_set_enabled(watch->tick, SD_EVENT_ONESHOT) >= 0);
}

/* --- the stream --------------------------------------------------------------------------------------------------- */

static void lose_stream(struct store_etcd_watch *watch, const char *why)
{
    log_info("store.watch", "%s: %s; the watch goes on elsewhere", watch->etcd->access.endpoints[watch->at], why);
    if (watch->stream != NULL)
        http_transfer_cancel(watch->stream);
    watch->stream = NULL;
    watch->line.len = 0;
    watch->known = false;
    watch->at = (watch->at + 1) % watch->etcd->access.endpoint_count;
    if (watch->lines > 0)
        tend_now(watch); /* what never said anything waits for the next tick */
}

static bool take_line(struct store_etcd_watch *watch, struct str line)
{
    struct etcd_answer answer;
    struct error err;
    if (etcd_answer_parse(line, &answer, &err) == -1) {
        lose_stream(watch, err.text);
        return false;
    }
    bool goes_on = answer.fault[0] == '\0';
    watch->lines++;
    if (goes_on)
        etcd_mirror_merge(&watch->etcd->mirror, &answer);
    else {
        if (strstr(answer.fault, "auth") != NULL || strstr(answer.fault, "token") != NULL)
            etcd_session_forget(&watch->session);
        lose_stream(watch, answer.fault);
    }
    etcd_answer_free(&answer);
    return goes_on;
}

static void on_piece(void *arg, struct str piece)
{
    struct store_etcd_watch *watch = arg;
    size_t done = 0;
    buf_append_str(&watch->line, piece);
    for (char *end; (end = memchr(watch->line.base + done, '\n', watch->line.len - done)) != NULL;) {
        struct str line = {watch->line.base + done, (size_t)(end - watch->line.base) - done};
        done += line.len + 1;
        if (line.len > 0 && !take_line(watch, line))
            return;
    }
    buf_consume(&watch->line, done);
    if (watch->line.len > LINE_MOST)
        lose_stream(watch, "what it says has no end");
}

static void on_done(void *arg, const struct http_response *response)
{
    struct store_etcd_watch *watch = arg;
    char why[200];
    watch->stream = NULL;
    if (response->status == 401)
        etcd_session_forget(&watch->session);
    snprintf(why, sizeof(why), "%s", response->error[0] != '\0' ? response->error : "it ended the watch");
    lose_stream(watch, why);
}

static void open_stream(struct store_etcd_watch *watch)
{
    const struct etcd_access *access = &watch->etcd->access;
    struct buf url = {NULL, 0, 0}, body = {NULL, 0, 0};
    struct etcd_head head;
    struct error err;
    if (etcd_session_head(&watch->session, &head, &err) == -1) {
        etcd_mirror_away(&watch->etcd->mirror, &err);
        watch->known = false;
        return;
    }
    for (unsigned i = 0; i < 3; i++) /* a member that has lost its leader would say nothing for ever */
        if (head.fields[i] == NULL) {
            head.fields[i] = "Grpc-Metadata-hasleader: true";
            break;
        }
    buf_printf(&url, "%s/v3/watch", access->endpoints[watch->at]);
    etcd_watch_format(watch->live, watch->revision + 1, &body);
    struct http_request request = {.method = "POST",
                                   .url = url.base,
                                   .headers = head.fields,
                                   .body = buf_str(&body),
                                   .connect_timeout_ms = access->try_ms * STORE_ETCD_CALM,
                                   .tls = &access->tls};
    watch->lines = 0;
    watch->missed_lines = UINT64_MAX;
    watch->stream = http_client_start(watch->client, &request, on_piece, on_done, watch);
    buf_free(&url);
    buf_free(&body);
}

/* --- snapshots and the lease -------------------------------------------------------------------------------------- */

/* What a snapshot knows before the stream may be on its way; what is still not told at the next one never will be. */
static void take_snapshot(struct store_etcd_watch *watch, const struct etcd_answer *answer, uint64_t now_us)
{
    bool news = etcd_mirror_replace(&watch->etcd->mirror, answer) > 0;
    watch->reread_us = now_us + REREAD_US;
    watch->retry_us = 0;
    watch->revision = answer->revision;
    if (watch->stream != NULL && watch->missed_lines == watch->lines)
        lose_stream(watch, "it did not tell what had changed");
    watch->missed_lines = news ? watch->lines : UINT64_MAX;
    watch->known = true;
}

static void read_all(struct store_etcd_watch *watch)
{
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    struct error err = {ERROR_NONE, ""};
    etcd_range_format(&(struct etcd_range){.key = watch->live, .below = true}, &body);
    int result = etcd_call(&watch->session, ETCD_RANGE, buf_str(&body), STORE_ETCD_CALM, &answer, &err);
    uint64_t now_us = clock_monotonic_us();
    if (result == 0)
        take_snapshot(watch, &answer, now_us);
    else {
        etcd_mirror_away(&watch->etcd->mirror, &err);
        watch->known = false;
        watch->retry_us = watch->retry_us == 0               ? RETRY_US
                          : watch->retry_us * 2 > RETRY_MOST ? RETRY_MOST
                                                             : watch->retry_us * 2;
        watch->reread_us = now_us + watch->retry_us;
    }
    etcd_answer_free(&answer);
    buf_free(&body);
}

/* A lease that is lost is forgotten: who registers again gets another. */
static void keep_lease(struct store_etcd_watch *watch)
{
    struct store_etcd *etcd = watch->etcd;
    struct buf body = {NULL, 0, 0};
    struct etcd_answer answer;
    struct error err;
    int64_t lease = atomic_load(&etcd->lease);
    watch->keepalive_us = clock_monotonic_us() + KEEPALIVE_US;
    if (lease == 0)
        return;
    etcd_lease_format(lease, &body);
    if (etcd_call(&watch->session, ETCD_KEEPALIVE, buf_str(&body), STORE_ETCD_CALM, &answer, &err) == 0 &&
        answer.ttl_s <= 0)
        atomic_compare_exchange_strong(&etcd->lease, &lease, 0);
    etcd_answer_free(&answer);
    buf_free(&body);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    struct store_etcd_watch *watch = arg;
    uint64_t now_us = clock_monotonic_us();
    (void)at_us;
    INVARIANT(sd_event_source_set_time_relative(source, TICK_US) >= 0);
    INVARIANT(sd_event_source_set_enabled(source, SD_EVENT_ONESHOT) >= 0);
    bool due = now_us >= watch->reread_us;
    if (due || (!watch->known && watch->retry_us == 0))
        read_all(watch);
    if (!watch->known && watch->stream != NULL) {
        http_transfer_cancel(watch->stream);
        watch->stream = NULL;
    }
    if (watch->known && watch->stream == NULL)
        open_stream(watch);
    if (watch->known && now_us >= watch->keepalive_us)
        keep_lease(watch);
    if (watch->retry_us != 0)
        INVARIANT(sd_event_source_set_time_relative(source, watch->retry_us) >= 0);
    return 0;
}

static int on_stop(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    struct store_etcd_watch *watch = arg;
    (void)source, (void)fd, (void)events;
    return sd_event_exit(watch->loop, 0);
}

static void *run(void *arg)
{
    struct store_etcd_watch *watch = arg;
    INVARIANT(sd_event_new(&watch->loop) >= 0);
    INVARIANT(sd_event_add_io(watch->loop, NULL, watch->stop, EPOLLIN, on_stop, watch) >= 0);
    INVARIANT(sd_event_add_time_relative(watch->loop, &watch->tick, CLOCK_MONOTONIC, 0, 1000, on_tick, watch) >= 0);
    watch->client = http_client_create(watch->loop, 2);
    INVARIANT(sd_event_loop(watch->loop) >= 0);
    http_client_destroy(&watch->client);
    sd_event_source_disable_unref(watch->tick);
    sd_event_unref(watch->loop);
    return NULL;
}

struct store_etcd_watch *store_etcd_watch_start(struct store_etcd *etcd)
{
    struct store_etcd_watch *watch = mem_calloc(1, sizeof(*watch));
    watch->etcd = etcd;
    watch->stop = eventfd(0, EFD_CLOEXEC);
    INVARIANT(watch->stop != -1);
    watch->live = store_etcd_key(etcd, "live/");
    etcd_session_open(&watch->session, &etcd->access, &watch->stopping);
    sigset_t all, before; /* signals are the caller's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    INVARIANT(pthread_create(&watch->thread, NULL, run, watch) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return watch;
}

void store_etcd_watch_stop(struct store_etcd_watch **watch_p)
{
    struct store_etcd_watch *watch = *watch_p;
    const uint64_t one = 1;
    if (watch == NULL)
        return;
    atomic_store(&watch->stopping, true);
    INVARIANT(write(watch->stop, &one, sizeof(one)) == sizeof(one));
    pthread_join(watch->thread, NULL);
    etcd_session_close(&watch->session);
    close(watch->stop);
    buf_free(&watch->line);
    free(watch->live);
    free(watch);
    *watch_p = NULL;
}
