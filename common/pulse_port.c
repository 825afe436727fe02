/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* recvmmsg(2), sendmmsg(2) */
#include "common/pulse_port.h"

#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/measure.h"

#define BATCH        32   /* datagrams in one system call */
#define SENDERS      2048 /* places of the hash table, a power of two; three quarters are used at most */
#define FORGET_US    1000000
#define LATE_US      10000
#define SOCKET_BYTES (1 << 20)
#define GATHER_US    4000   /* what comes within so short a time is read together: waking up costs more than reading */
#define HURRIED_US   1000   /* the same where something waits for it, */
#define HURRY_US     200000 /* and for so long after that was said */

/* One who was heard: by hash of role and name. */
struct sender {
    uint64_t id; /* 0: a free place */
    uint64_t heard_us;
    struct pulse_window window;
};

struct pulse_port {
    struct pulse_port_config config;
    struct pulse_key *key;
    struct address address;
    char text[128]; /* of the address, for others */
    char name[PULSE_NAME_SIZE];
    uint64_t incarnation, seq;
    uint64_t due_us, read_us;    /* of the next tick; when datagrams may be read again */
    _Atomic uint64_t hurries_us; /* until then */
    int fd, bell_fd;
    _Atomic bool stopping;
    pthread_t thread;
    bool running;
    uint64_t now_us; /* of this turn */
    size_t sender_count;
    uint64_t forgot_us; /* when room was made for others */
    struct sender senders[SENDERS];
    uint8_t in[BATCH][PULSE_MOST + 1];
};

const struct stat_row pulse_stat_rows[] = {
#define STAT(name, kind, help) {#name, kind, help, offsetof(struct pulse_stats, name)},
#include "common/pulse_stats_tbl.h"
#undef STAT
};
const size_t pulse_stat_row_count = COUNT_OF(pulse_stat_rows);

/* --- who is heard ------------------------------------------------------------------------------------------------- */

/* Of ID, or free for it. */
static struct sender *place_of(struct pulse_port *port, uint64_t id)
{
    struct sender *sender = &port->senders[id & (SENDERS - 1)];
    while (sender->id != 0 && sender->id != id)
        sender = sender + 1 < port->senders + SENDERS ? sender + 1 : port->senders;
    return sender;
}

static bool is_full(const struct pulse_port *port)
{
    return port->sender_count >= SENDERS / 4 * 3;
}

/* In the life of this process there may be any number of names: who is silent gives way. */
static void forget_silent(struct pulse_port *port)
{
    if (port->forgot_us != 0 && port->now_us < port->forgot_us + FORGET_US)
        return;
    struct sender *before = mem_alloc(sizeof(port->senders));
    memcpy(before, port->senders, sizeof(port->senders));
    memset(port->senders, 0, sizeof(port->senders));
    port->sender_count = 0;
    port->forgot_us = port->now_us;
    for (size_t i = 0; i < SENDERS; i++)
        if (before[i].id != 0 && port->now_us <= before[i].heard_us + FORGET_US) {
            *place_of(port, before[i].id) = before[i];
            port->sender_count++;
        }
    free(before);
}

/* Agents and gateways may share a name. NULL: the table is full. */
static struct sender *find_sender(struct pulse_port *port, bool agent, const char *name)
{
    char text[PULSE_NAME_SIZE + 2];
    int len = snprintf(text, sizeof(text), "%c%s", agent ? 'a' : 'g', name);
    uint64_t id = pulse_hash((struct str){text, (size_t)len});
    struct sender *sender = place_of(port, id);
    if (sender->id == 0 && is_full(port)) {
        forget_silent(port);
        sender = place_of(port, id);
    }
    if (sender->id == 0 && is_full(port))
        return NULL;
    port->sender_count += sender->id == 0;
    sender->id = id;
    return sender;
}

bool pulse_port_registered(struct pulse_port *port, bool agent, const char *name, uint64_t incarnation)
{
    struct sender *sender = find_sender(port, agent, name);
    if (sender == NULL || incarnation >= sender->window.incarnation)
        return true;
    bool silent = port->now_us > sender->heard_us + FORGET_US;
    if (silent)
        sender->window = (struct pulse_window){0};
    return silent;
}

static void take(struct pulse_port *port, const uint8_t *bytes, size_t len)
{
    struct pulse pulse;
    struct pulse_stats *stats = port->config.stats;
    stat_value *const counters[] = {[PULSE_FINE] = &stats->pulses_heard_total,
                                    [PULSE_FOREIGN] = &stats->pulses_foreign_total,
                                    [PULSE_MALFORMED] = &stats->pulses_malformed_total,
                                    [PULSE_FORGED] = &stats->pulses_forged_total};
    enum pulse_fault fault = pulse_decode(port->key, bytes, len, &pulse);
    stat_value *counter = counters[fault];
    struct sender *sender = fault == PULSE_FINE ? find_sender(port, pulse.by_agent, pulse.name) : NULL;
    bool fresh = sender != NULL && pulse_window_take(&sender->window, pulse.incarnation, pulse.seq);
    if (fault == PULSE_FINE && !fresh)
        counter = sender == NULL ? &stats->pulses_crowded_total : &stats->pulses_repeated_total;
    stat_add(counter, 1);
    if (!fresh)
        return;
    sender->heard_us = port->now_us;
    if (pulse.kind == PULSE_RECORD)
        pulse_port_hurry(port); /* what it leads to is waited for */
    port->config.heard(port->config.arg, port->now_us, &pulse);
}

/* Bounded: a flood of datagrams must not keep the ticks from coming. */
static void read_datagrams(struct pulse_port *port)
{
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH] = {0};
    for (unsigned i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){port->in[i], sizeof(port->in[i])};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int got = recvmmsg(port->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++)
        take(port, port->in[i], messages[i].msg_len);
    bool hurries = port->now_us < atomic_load_explicit(&port->hurries_us, memory_order_relaxed);
    port->read_us = port->now_us + (got == BATCH ? 0 : hurries ? HURRIED_US : GATHER_US);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

/* One system call for BATCH receivers; who cannot be sent to is passed over. */
static void send_batch(struct pulse_port *port, struct iovec *part, const struct address *to, unsigned count)
{
    struct mmsghdr messages[BATCH] = {0};
    unsigned done = 0, sent = 0;
    for (unsigned i = 0; i < count; i++)
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = (void *)&to[i].storage, .msg_namelen = to[i].len, .msg_iov = part, .msg_iovlen = 1};
    while (done < count) {
        int taken = sendmmsg(port->fd, messages + done, count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += taken > 0 ? (unsigned)taken : 0;
        done += taken > 0 ? (unsigned)taken : 1;
    }
    stat_add(&port->config.stats->pulses_sent_total, sent);
    stat_add(&port->config.stats->pulses_unsent_total, count - sent);
}

void pulse_port_send(struct pulse_port *port, struct pulse *pulse, const struct address *to, size_t count)
{
    uint8_t bytes[PULSE_MOST];
    snprintf(pulse->name, sizeof(pulse->name), "%s", port->name);
    snprintf(pulse->place, sizeof(pulse->place), "%s", port->config.place);
    pulse->by_agent = port->config.agent;
    pulse->incarnation = port->incarnation;
    pulse->seq = ++port->seq;
    pulse->sent_us = clock_wall_us();
    if (count == 0)
        return;
    struct iovec part = {bytes, pulse_encode(port->key, pulse, bytes)};
    for (size_t at = 0; at < count; at += BATCH)
        send_batch(port, &part, to + at, count - at < BATCH ? (unsigned)(count - at) : BATCH);
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void count_processor_time(struct pulse_port *port)
{
    struct timespec used;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0)
        stat_set(&port->config.stats->pulse_cpu_us_total,
                 (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000);
}

/* Ticks that were missed are not made up for. */
static void tick(struct pulse_port *port)
{
    uint64_t lag_us = port->now_us - port->due_us;
    stat_set(&port->config.stats->pulse_lag_us, lag_us);
    stat_add(&port->config.stats->pulse_lags_total, lag_us > LATE_US);
    port->due_us += port->config.period_us;
    if (port->due_us <= port->now_us)
        port->due_us = port->now_us + port->config.period_us;
    port->config.tick(port->config.arg, port->now_us, lag_us);
    count_processor_time(port);
}

void pulse_port_hurry(struct pulse_port *port)
{
    atomic_store_explicit(&port->hurries_us, clock_monotonic_us() + HURRY_US, memory_order_relaxed);
}

void pulse_port_tick_by(struct pulse_port *port, uint64_t at_us)
{
    if (at_us > port->now_us && at_us < port->due_us)
        port->due_us = at_us;
}

static void answer_bell(struct pulse_port *port)
{
    uint64_t times;
    if (read(port->bell_fd, &times, sizeof(times)) == sizeof(times))
        port->config.rung(port->config.arg, port->now_us);
}

void pulse_port_ring(struct pulse_port *port)
{
    INVARIANT(write(port->bell_fd, &(uint64_t){1}, sizeof(uint64_t)) == sizeof(uint64_t));
}

void pulse_hurry_thread(void)
{
    struct sched_param parameters = {.sched_priority = 1};
    if (pthread_setschedparam(pthread_self(), SCHED_RR, &parameters) != 0)
        log_debug("pulse.priority", "pulses and proposals have the priority of all else");
}

/* Until the next tick, or until something comes that may be read by then. */
static void wait_for_events(struct pulse_port *port, struct pollfd *waiting)
{
    bool reads = port->now_us >= port->read_us;
    uint64_t until_us = reads || port->due_us < port->read_us ? port->due_us : port->read_us;
    uint64_t for_us = until_us > port->now_us ? until_us - port->now_us : 0;
    struct timespec timeout = {(time_t)(for_us / 1000000), (long)(for_us % 1000000 * 1000)};
    waiting[0] = (struct pollfd){.fd = port->bell_fd, .events = POLLIN};
    waiting[1] = (struct pollfd){.fd = reads ? port->fd : -1, .events = POLLIN};
    if (ppoll(waiting, 2, &timeout, NULL) <= 0)
        waiting[0].revents = waiting[1].revents = 0;
    port->now_us = clock_monotonic_us();
}

static void *run(void *arg)
{
    struct pulse_port *port = arg;
    struct pollfd waiting[2];
    pthread_setname_np(pthread_self(), "pulse");
    pulse_hurry_thread();
    port->now_us = clock_monotonic_us();
    port->due_us = port->now_us + port->config.period_us;
    while (!port->stopping) {
        wait_for_events(port, waiting);
        if (waiting[1].revents != 0)
            read_datagrams(port);
        if (port->now_us >= port->due_us)
            tick(port);
        if (waiting[0].revents != 0)
            answer_bell(port);
    }
    return NULL;
}

int pulse_port_start(struct pulse_port *port, const char *name, struct error *err)
{
    sigset_t all, before;
    snprintf(port->name, sizeof(port->name), "%s", name);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&port->thread, NULL, run, port);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    port->running = failed == 0;
    return failed == 0 ? 0 : error_set_errno(err, failed, "cannot start the thread of the pulses");
}

void pulse_port_stop(struct pulse_port *port)
{
    if (port == NULL || !port->running)
        return;
    port->stopping = true;
    pulse_port_ring(port);
    pthread_join(port->thread, NULL);
    port->running = false;
}

/* --- opening and closing ------------------------------------------------------------------------------------------ */

static int open_socket(struct pulse_port *port, struct error *err)
{
    const char *listen = port->config.listen;
    struct address *address = &port->address;
    if (address_parse(listen, address, err) != 0)
        return -1;
    if (port->config.secret == NULL && !address_is_loopback(address))
        return error_set(err, ERROR_INPUT, "%s is not a loopback address: that needs pulse.key_file, or a token",
                         listen);
    port->fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (port->fd == -1 || bind(port->fd, (struct sockaddr *)&address->storage, address->len) != 0 ||
        getsockname(port->fd, (struct sockaddr *)&address->storage, &address->len) != 0)
        return address_refuse(err, errno, listen);
    setsockopt(port->fd, SOL_SOCKET, SO_RCVBUF, &(int){SOCKET_BYTES}, sizeof(int));
    return 0;
}

static void introduce(struct pulse_port *port)
{
    char bound[ADDRESS_TEXT_SIZE];
    address_format(&port->address, bound);
    bool any = str_starts(str_of(bound), STR_LIT("0.0.0.0:")) || str_starts(str_of(bound), STR_LIT("[::]:"));
    if (any && port->config.host != NULL)
        snprintf(port->text, sizeof(port->text), "%s:%u", port->config.host, address_port(&port->address));
    else
        snprintf(port->text, sizeof(port->text), "%s", bound);
}

struct pulse_port *pulse_port_open(const struct pulse_port_config *config, struct error *err)
{
    struct pulse_port *port = mem_calloc(1, sizeof(*port));
    port->config = *config;
    port->fd = -1;
    port->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    port->incarnation = clock_wall_us();
    port->now_us = clock_monotonic_us();
    port->key = pulse_key_create(str_of(config->secret));
    if (open_socket(port, err) != 0)
        pulse_port_close(&port);
    else
        introduce(port);
    return port;
}

void pulse_port_close(struct pulse_port **port)
{
    if (*port == NULL)
        return;
    pulse_port_stop(*port);
    if ((*port)->fd != -1)
        close((*port)->fd);
    if ((*port)->bell_fd != -1)
        close((*port)->bell_fd);
    pulse_key_destroy(&(*port)->key);
    free(*port);
    *port = NULL;
}

const char *pulse_port_address(const struct pulse_port *port)
{
    return port->text;
}

uint64_t pulse_port_incarnation(const struct pulse_port *port)
{
    return port->incarnation;
}
