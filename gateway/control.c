/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/file.h"
#include "common/invariant.h"
#include "common/log.h"
#include "gateway/access_log.h"
#include "gateway/admin.h"
#include "gateway/colors.h"
#include "gateway/copy_floor.h"
#include "gateway/failover.h"
#include "gateway/follow.h"
#include "gateway/moves.h"
#include "gateway/peer_counts.h"
#include "gateway/probes.h"
#include "gateway/ramps.h"
#include "gateway/records.h"
#include "gateway/tls.h"
#include "gateway/workers.h"

#define TICK_US  1000000
#define DRAIN_US 10000

/* --- following the store ------------------------------------------------------------------------------------------ */

static void enroll(struct control *control)
{
    struct error err = {ERROR_NONE, ""};
    if (control->rollout.state == ROLLOUT_STORE_AWAY)
        return;
    int failed = store_register(control->rollout.store, &control->self, &err);
    if (failed != 0 && strcmp(err.text, control->register_fault) != 0)
        log_warning("store.register", "%s", err.text);
    snprintf(control->register_fault, sizeof(control->register_fault), "%s", err.text);
}

/* A store that is behind tells of the past, or is empty. */
static void sync_records(struct control *control)
{
    if (control->rollout.state == ROLLOUT_STORE_UP)
        records_sync(control->gateway->registry, control->rollout.store, control->documents);
}

/* The units are those of the rules in force, and of rules before them. */
static void sync_units(struct control *control)
{
    struct registry *registry = control->gateway->registry;
    sync_records(control);
    if (control->rollout.state != ROLLOUT_STORE_UP)
        return;
    if (colors_sync(registry, control->rollout.store, control->documents))
        rollout_recolor(&control->rollout);
}

/* Before the first request: it finds its user's colour. */
static void know_units(struct control *control)
{
    control->documents = document_cache_beside(control->gateway->config.store.cache);
    if (control->rollout.state != ROLLOUT_STORE_UP) {
        records_restore(control->gateway->registry, control->documents);
        colors_restore(control->gateway->registry, control->documents);
        rollout_recolor(&control->rollout);
    }
    sync_units(control);
}

void control_sync(struct control *control)
{
    rollout_sync(&control->rollout);
    enroll(control);
    sync_units(control);
    failover_follow(control->gateway->failover, control->rollout.view, control->rollout.store,
                    control->rollout.state == ROLLOUT_STORE_UP);
    if (control->moves != NULL)
        moves_follow(control->moves);
    if (control->rollout.view == control->followed)
        return;
    control->followed = control->rollout.view;
    follow_adopt(control->follow, control->followed->table);
    probes_adopt(control->probes, control->followed);
}

void control_recolor(struct control *control)
{
    rollout_recolor(&control->rollout);
    control_sync(control); /* all who follow the view */
}

static int on_store(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)fd, (void)events;
    struct control *control = arg;
    store_drain(control->rollout.store);
    control_sync(control);
    return 0;
}

static int on_asked(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)events;
    struct control *control = arg;
    eventfd_t count;
    (void)!eventfd_read(fd, &count);
    sync_records(control);
    return 0;
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct control *control = arg;
    document_cache_save(control->documents);
    failover_save(control->gateway->failover);
    control_sync(control);
    sd_event_source_set_time_relative(source, TICK_US);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

bool control_ready(const struct control *control)
{
    return control->rollout.view != NULL && control->drain_until_us == 0 && rollout_epoch(&control->rollout) > 0;
}

static int on_drain_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct control *control = arg;
    const struct gateway *gateway = control->gateway;
    uint64_t busy = workers_sum(gateway, offsetof(struct gateway_stats, requests_in_flight)) +
                    workers_sum(gateway, offsetof(struct gateway_stats, connections_open));
    if (busy == 0 || clock_monotonic_us() >= control->drain_until_us) {
        log_info("gateway.drained", busy == 0 ? "all requests are answered" : "drain_timeout is over");
        return sd_event_exit(control->loop, EXIT_SUCCESS);
    }
    sd_event_source_set_time_relative(source, DRAIN_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* A second signal ends it at once. */
static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source;
    struct control *control = arg;
    if (control->drain_until_us != 0)
        return sd_event_exit(control->loop, EXIT_SUCCESS);
    log_info("gateway.draining", "signal %u: no new connections, drain_timeout is %lld ms", info->ssi_signo,
             (long long)control->gateway->config.drain_timeout);
    sd_notify(0, "STOPPING=1");
    control->drain_until_us = clock_monotonic_us() + (uint64_t)control->gateway->config.drain_timeout * 1000;
    atomic_store(&control->gateway->draining, true);
    workers_drain(control->gateway);
    return sd_event_add_time_relative(control->loop, &control->drain_tick, CLOCK_MONOTONIC, 0, 0, on_drain_tick,
                                      control);
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source, (void)info;
    struct control *control = arg;
    struct error err = {ERROR_NONE, ""};
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_monotonic_us());
    bool taken = control_reload(control, &err) == 0;
    if (taken)
        log_info("config.reloaded", "the configuration was read again");
    else
        log_error("config.refused", "%s", err.text);
    stat_add(taken ? &control->stats.reloads_total : &control->stats.reloads_refused_total, 1);
    snprintf(control->reload_fault, sizeof(control->reload_fault), "%s", err.text);
    sd_notify(0, "READY=1");
    return 0;
}

static void reopen(struct worker *worker, void *arg)
{
    (void)arg;
    access_log_reopen(worker->access_log);
}

static int on_reopen(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source, (void)info;
    workers_call(((struct control *)arg)->gateway, reopen, NULL);
    return 0;
}

/* Before any thread starts: all inherit the mask, and signals reach the loop alone. */
static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    INVARIANT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log that hits a file size limit is a write that fails */
}

/* --- start and stop ----------------------------------------------------------------------------------------------- */

static int read_secrets(struct control *control, struct error *err)
{
    const struct gateway_config *config = &control->gateway->config;
    const char *broker = config->broker.password_file, *admin = config->admin.token_file;
    const char *agents = config->agents.token_file ? config->agents.token_file : admin;
    const char *pulse = config->pulse.key_file ? config->pulse.key_file : agents;
    bool all = file_take_secret("broker.password_file", broker, &control->gateway->broker_password, err) == 0 &&
               file_take_secret("admin.token_file", admin, &control->admin_token, err) == 0 &&
               file_take_secret("agents.token_file", agents, &control->agents_token, err) == 0 &&
               file_take_secret("pulse.key_file", pulse, &control->pulse_key, err) == 0;
    return all ? 0 : -1;
}

/* Who this process is, once its admin listener has a port. */
static void introduce(struct control *control)
{
    struct gateway *gateway = control->gateway;
    char host[48] = "";
    gethostname(host, sizeof(host) - 1);
    unsigned port = httpd_port(control->admin);
    if (gateway->config.name != NULL)
        snprintf(gateway->name, sizeof(gateway->name), "%s", gateway->config.name);
    else
        snprintf(gateway->name, sizeof(gateway->name), "%s-%ld", host, port != 0 ? (long)port : (long)getpid());
    struct store_member *self = &control->self;
    *self = (struct store_member){.role = "gateway", .pid = (long)getpid(), .alive = true};
    snprintf(self->name, sizeof(self->name), "%s", gateway->name);
    snprintf(self->datacenter, sizeof(self->datacenter), "%s",
             gateway->config.datacenter ? gateway->config.datacenter : "");
    httpd_admin_url(control->admin, gateway->config.admin.listen, host, self->admin, sizeof(self->admin));
    failover_introduce(gateway->failover, self);
}

static int add_sources(struct control *control)
{
    int fd = store_watch_fd(control->rollout.store);
    int failed = fd != -1 ? sd_event_add_io(control->loop, NULL, fd, EPOLLIN, on_store, control) : 0;
    failed |= sd_event_add_io(control->loop, NULL, control->gateway->record_wanted, EPOLLIN, on_asked, control);
    failed |= sd_event_add_time_relative(control->loop, NULL, CLOCK_MONOTONIC, TICK_US, 0, on_tick, control);
    failed |= sd_event_add_signal(control->loop, NULL, SIGTERM, on_end, control);
    failed |= sd_event_add_signal(control->loop, NULL, SIGINT, on_end, control);
    failed |= sd_event_add_signal(control->loop, NULL, SIGHUP, on_reload, control);
    failed |= sd_event_add_signal(control->loop, NULL, SIGUSR1, on_reopen, control);
    return failed;
}

/* Clients must not take the descriptors that brokers, nodes, the store and the operator need. */
static void reserve_descriptors(struct gateway *gateway)
{
    uint32_t most = descriptors_raise();
    gateway->places = most / 2;
    if (gateway->config.limits.connections > gateway->places)
        log_info("gateway.descriptors",
                 "%u client connections at once, not the %lld of limits.connections: raise LimitNOFILE, now %u",
                 gateway->places, (long long)gateway->config.limits.connections, most);
}

static int start(struct control *control, struct error *err)
{
    struct gateway *gateway = control->gateway;
    reserve_descriptors(gateway);
    if (read_secrets(control, err) == -1 ||
        peer_networks_load(&gateway->trusted_peers, &gateway->config.ingress.trusted_peers, err) == -1)
        return -1;
    gateway->registry = registry_create();
    gateway->copy_floors = copy_floors_create();
    records_open(gateway);
    if ((gateway->failover = failover_create(gateway, control->pulse_key, err)) == NULL ||
        (control->admin = admin_create(control, err)) == NULL)
        return -1;
    introduce(control);
    if (tls_create(gateway, err) == -1 || rollout_open(&control->rollout, gateway, &control->stats, err) == -1)
        return -1;
    know_units(control);
    if (workers_start(gateway, err) == -1)
        return -1;
    control->follow = follow_create(control->loop, gateway->registry, control->agents_token);
    if (failover_start(gateway->failover, control->rollout.store, err) == -1)
        return -1;
    control->probes = probes_create(control->loop, &gateway->config, &control->stats);
    control->ramps = ramps_create(control);
    control->moves = moves_create(control);
    if (add_sources(control) < 0)
        return error_set(err, ERROR_SYSTEM, "cannot set up the control loop");
    control_sync(control);
    return 0;
}

static void stop(struct control *control)
{
    struct gateway *gateway = control->gateway;
    httpd_destroy(&control->admin);
    follow_destroy(&control->follow);
    probes_destroy(&control->probes);
    failover_stop(gateway->failover);
    ramps_destroy(&control->ramps);
    moves_destroy(&control->moves);
    document_cache_destroy(&control->documents);
    workers_stop(gateway);
    if (control->rollout.store != NULL)
        rollout_close(&control->rollout);
    sd_event_source_disable_unref(control->drain_tick);
    sd_event_unref(control->loop);
    failover_destroy(&gateway->failover);
    records_close(gateway);
    registry_destroy(&gateway->registry);
    copy_floors_destroy(&gateway->copy_floors);
    tls_destroy(&gateway->tls);
    peer_counts_destroy(&gateway->peer_counts);
    free(gateway->trusted_peers.items);
    free(gateway->broker_password);
    free(control->admin_token);
    free(control->agents_token);
    free(control->pulse_key);
    options_free(gateway_options, gateway_option_count, &gateway->config);
}

static int load_config(struct control *control)
{
    struct diag_list diags = {.file = control->config_path};
    struct buf faults = {NULL, 0, 0};
    int result = gateway_config_load(control->config_path, control->overrides, &control->gateway->config, &diags);
    diag_print(&diags, &faults);
    fputs(faults.base ? faults.base : "", stderr);
    buf_free(&faults);
    diag_free(&diags);
    return result;
}

static int serve(struct control *control)
{
    struct error err;
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(control->gateway->config.log.level, &level);
    log_setup("ldc-gateway", level);
    if (start(control, &err) == -1) {
        log_error("gateway.start", "%s", err.text);
        return EXIT_FAILURE;
    }
    if (control->rollout.record.rules_epoch > 0)
        log_info("gateway.ready", "%s serves epoch %llu with %u threads", control->gateway->name,
                 (unsigned long long)control->rollout.record.rules_epoch, control->gateway->worker_count);
    else
        log_warning("gateway.ready", "%s listens, and answers 503 until rules are applied (`ldcctl rules apply FILE`)",
                    control->gateway->name);
    sd_notify(0, "READY=1");
    return sd_event_loop(control->loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int control_run(const char *config_path, const char *const *overrides)
{
    static struct gateway gateway; /* its workers stay, with what libh2o cannot dispose of, for the process's exit */
    struct control control = {
        .gateway = &gateway, .config_path = config_path, .overrides = overrides, .started_us = clock_wall_us()};
    gateway.control = &control;
    stat_set(&control.stats.start_time_seconds, control.started_us / 1000000);
    int status = EXIT_FAILURE;
    block_signals();
    if (load_config(&control) == 0) {
        INVARIANT(sd_event_new(&control.loop) >= 0);
        status = serve(&control);
    }
    stop(&control);
    return status;
}
