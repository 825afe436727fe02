/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/beacon.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/pulse_peers.h"

#define HURRY_US     1000
#define FORGIVEN_US  200000 /* at most so much of the loop's own lateness is not held against brokers */
#define SPARED_US    8000   /* a tick so soon after a pulse sends none */
#define RECORDS_MOST 16     /* that wait for the other thread; the store brings what is more */

/* Records on their way from one thread to the other, as they stand in pulses. */
struct mail {
    struct pulse items[RECORDS_MOST];
    unsigned count;
};

struct beacon {
    struct beacon_config config;
    char host[48];
    struct pulse_port *port;
    sd_event_source *look, *mail;
    struct pulse_peers peers; /* the loop's */
    bool hurries;             /* the loop's: the next look is near */
    uint64_t due_us;          /* the loop's: of the next look, monotonic */
    int mail_fd;

    pthread_mutex_t lock; /* what follows is of both threads */
    struct pulse told;
    uint64_t told_us, sent_us; /* monotonic */
    bool news;                 /* `told` was not sent yet */
    struct pulse_peer *all;    /* a copy of the peers; those of `gateways` first */
    struct address *to;        /* the same, addresses alone */
    size_t all_count, gateway_count;
    bool peers_changed;
    struct mail in, out;
};

/* --- the thread of the pulses ------------------------------------------------------------------------------------- */

/* With BEACON locked. Who is not believed yet is looked at again at the next tick. */
static void admit_peers(struct beacon *beacon)
{
    bool all = true;
    for (size_t i = 0; i < beacon->all_count; i++)
        all &= pulse_port_registered(beacon->port, i >= beacon->gateway_count, beacon->all[i].member.name,
                                     beacon->all[i].member.incarnation);
    beacon->peers_changed = !all;
}

/* How much of SINCE_US is beyond DUE_US, as far as that is forgiven. */
static uint64_t lateness(uint64_t since_us, uint64_t due_us)
{
    uint64_t late_us = since_us > due_us ? since_us - due_us : 0;
    return late_us < FORGIVEN_US ? late_us : FORGIVEN_US;
}

/* With BEACON locked. */
static void send_records(struct beacon *beacon)
{
    for (unsigned i = 0; i < beacon->out.count; i++)
        pulse_port_send(beacon->port, &beacon->out.items[i], beacon->to, beacon->all_count);
    beacon->out.count = 0;
}

/* With BEACON locked, for nothing in it blocks. */
static void send_all(struct beacon *beacon, struct pulse *pulse, uint64_t now_us)
{
    uint64_t since_us = now_us > beacon->told_us ? now_us - beacon->told_us : 0;
    uint64_t late_us = lateness(since_us, PULSE_PERIOD_US);
    since_us -= late_us;
    if (late_us > pulse->loop_lag_us)
        pulse->loop_lag_us = (uint32_t)late_us;
    for (unsigned i = 0; i < pulse->agent.broker_count; i++) {
        uint64_t age_us = pulse->agent.brokers[i].age_us + since_us;
        pulse->agent.brokers[i].age_us = age_us < UINT32_MAX ? (uint32_t)age_us : UINT32_MAX;
    }
    pulse_port_send(beacon->port, pulse, beacon->to, beacon->gateway_count);
    beacon->sent_us = now_us;
    beacon->news = false;
}

static void on_rung(void *arg, uint64_t now_us)
{
    struct beacon *beacon = arg;
    pthread_mutex_lock(&beacon->lock);
    struct pulse pulse = beacon->told;
    send_records(beacon);
    if (beacon->news)
        send_all(beacon, &pulse, now_us);
    pthread_mutex_unlock(&beacon->lock);
}

static void on_tick(void *arg, uint64_t now_us, uint64_t lag_us)
{
    struct beacon *beacon = arg;
    pthread_mutex_lock(&beacon->lock);
    struct pulse pulse = beacon->told;
    if (beacon->peers_changed)
        admit_peers(beacon);
    pulse.loop_lag_us = lag_us < UINT32_MAX ? (uint32_t)lag_us : UINT32_MAX;
    if (now_us - beacon->sent_us >= SPARED_US)
        send_all(beacon, &pulse, now_us);
    pthread_mutex_unlock(&beacon->lock);
}

static void on_heard(void *arg, uint64_t now_us, const struct pulse *pulse)
{
    (void)now_us;
    struct beacon *beacon = arg;
    if (pulse->kind != PULSE_RECORD)
        return;
    pthread_mutex_lock(&beacon->lock);
    bool room = beacon->in.count < RECORDS_MOST;
    if (room)
        beacon->in.items[beacon->in.count++] = *pulse;
    pthread_mutex_unlock(&beacon->lock);
    if (room && write(beacon->mail_fd, &(uint64_t){1}, sizeof(uint64_t)) != sizeof(uint64_t))
        INVARIANT(!"an event counter takes one more");
}

/* --- the agent's loop --------------------------------------------------------------------------------------------- */

static int on_look(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct beacon *beacon = arg;
    struct pulse pulse = {.kind = PULSE_AGENT};
    uint64_t now_us = clock_monotonic_us();
    beacon->config.look(beacon->config.arg, &pulse, lateness(now_us, beacon->due_us));
    pthread_mutex_lock(&beacon->lock);
    beacon->told = pulse;
    beacon->told_us = now_us;
    beacon->news = true;
    pthread_mutex_unlock(&beacon->lock);
    if (beacon->hurries)
        pulse_port_ring(beacon->port);
    beacon->hurries = false;
    beacon->due_us = now_us + PULSE_PERIOD_US;
    sd_event_source_set_time_relative(source, PULSE_PERIOD_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void beacon_hurry(struct beacon *beacon)
{
    if (beacon->hurries)
        return;
    beacon->hurries = true;
    beacon->due_us = clock_monotonic_us() + HURRY_US;
    sd_event_source_set_time_relative(beacon->look, HURRY_US);
}

static void read_record(struct beacon *beacon, const struct pulse *pulse)
{
    struct error ignored; /* it is authentic: a later version of the program may write what this one cannot read */
    struct broker_record record;
    if (broker_record_parse((struct str){pulse->record.text, pulse->record.text_len}, &record, &ignored) != 0)
        return;
    record.version = pulse->record.version;
    beacon->config.pushed(beacon->config.arg, pulse->record.unit, &record);
}

static int on_mail(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)events;
    struct beacon *beacon = arg;
    uint64_t rung;
    struct mail *mail = mem_alloc(sizeof(*mail));
    pthread_mutex_lock(&beacon->lock);
    ssize_t got = read(fd, &rung, sizeof(rung));
    *mail = beacon->in;
    beacon->in.count = 0;
    pthread_mutex_unlock(&beacon->lock);
    for (unsigned i = 0; got > 0 && i < mail->count; i++)
        read_record(beacon, &mail->items[i]);
    free(mail);
    return 0;
}

void beacon_push(struct beacon *beacon, const char *unit, const struct broker_record *record)
{
    struct buf text = {NULL, 0, 0};
    broker_record_format(record, &text);
    pthread_mutex_lock(&beacon->lock);
    if (beacon->out.count < RECORDS_MOST)
        beacon->out.count +=
            pulse_set_record(&beacon->out.items[beacon->out.count], unit, record->version, buf_str(&text));
    pthread_mutex_unlock(&beacon->lock);
    buf_free(&text);
    pulse_port_ring(beacon->port);
}

/* Gateways first, who hear every pulse. */
static void publish_peers(struct beacon *beacon)
{
    size_t count = 0, gateways = 0;
    struct pulse_peer *all = mem_calloc(beacon->peers.count + 1, sizeof(*all)), *old_all = beacon->all;
    struct address *to = mem_calloc(beacon->peers.count + 1, sizeof(*to)), *old_to = beacon->to;
    for (int agents = 0; agents < 2; agents++) {
        for (size_t i = 0; i < beacon->peers.count; i++) {
            const struct pulse_peer *peer = &beacon->peers.items[i];
            if ((strcmp(peer->member.role, "agent") == 0) == (agents == 1)) {
                to[count] = peer->address;
                all[count++] = *peer;
            }
        }
        gateways = agents == 0 ? count : gateways;
    }
    pthread_mutex_lock(&beacon->lock);
    beacon->all = all;
    beacon->to = to;
    beacon->all_count = count;
    beacon->gateway_count = gateways;
    beacon->peers_changed = true;
    pthread_mutex_unlock(&beacon->lock);
    free(old_all);
    free(old_to);
}

void beacon_follow(struct beacon *beacon, struct store *store)
{
    if (pulse_peers_follow(&beacon->peers, store, pulse_port_address(beacon->port)))
        publish_peers(beacon);
}

void beacon_save(struct beacon *beacon)
{
    pulse_peers_save(&beacon->peers);
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

struct beacon *beacon_create(sd_event *loop, const struct beacon_config *config, struct error *err)
{
    struct beacon *beacon = mem_calloc(1, sizeof(*beacon));
    beacon->config = *config;
    beacon->told = (struct pulse){.kind = PULSE_AGENT};
    pulse_peers_init(&beacon->peers, config->options->store.cache);
    beacon->due_us = clock_monotonic_us();
    beacon->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gethostname(beacon->host, sizeof(beacon->host) - 1);
    INVARIANT(beacon->mail_fd != -1 && pthread_mutex_init(&beacon->lock, NULL) == 0);
    beacon->port = pulse_port_open(&(struct pulse_port_config){.listen = config->options->pulse.listen,
                                                               .secret = config->secret,
                                                               .host = beacon->host,
                                                               .period_us = PULSE_PERIOD_US,
                                                               .agent = true,
                                                               .place = config->options->unit,
                                                               .stats = config->stats,
                                                               .tick = on_tick,
                                                               .heard = on_heard,
                                                               .rung = on_rung,
                                                               .arg = beacon},
                                   err);
    if (beacon->port == NULL) {
        error_at(err, "pulse.listen");
        beacon_destroy(&beacon);
        return NULL;
    }
    INVARIANT(sd_event_add_io(loop, &beacon->mail, beacon->mail_fd, EPOLLIN, on_mail, beacon) >= 0 &&
              sd_event_source_set_priority(beacon->mail, SD_EVENT_PRIORITY_IMPORTANT) >= 0 &&
              sd_event_add_time_relative(loop, &beacon->look, CLOCK_MONOTONIC, 0, 500, on_look, beacon) >= 0 &&
              sd_event_source_set_priority(beacon->look, SD_EVENT_PRIORITY_IMPORTANT) >= 0);
    return beacon;
}

int beacon_start(struct beacon *beacon, const char *name, struct error *err)
{
    return pulse_port_start(beacon->port, name, err);
}

void beacon_introduce(const struct beacon *beacon, struct store_member *self)
{
    snprintf(self->pulse, sizeof(self->pulse), "%s", pulse_port_address(beacon->port));
    self->incarnation = pulse_port_incarnation(beacon->port);
}

void beacon_destroy(struct beacon **beacon_p)
{
    struct beacon *beacon = *beacon_p;
    if (beacon == NULL)
        return;
    *beacon_p = NULL;
    pulse_port_close(&beacon->port);
    sd_event_source_disable_unref(beacon->look);
    sd_event_source_disable_unref(beacon->mail);
    close(beacon->mail_fd);
    pthread_mutex_destroy(&beacon->lock);
    pulse_peers_free(&beacon->peers);
    free(beacon->all);
    free(beacon->to);
    free(beacon);
}
