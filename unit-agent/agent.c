/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/descriptors.h"
#include "common/file.h"
#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/admin.h"
#include "unit-agent/health.h"

#define STORE_TICK_US 1000000

/* --- duties ------------------------------------------------------------------------------------------------------- */

struct duty *agent_duty(const struct agent *agent, const char *unit)
{
    struct duty *duty = agent->duties;
    while (duty != NULL && strcmp(duty->unit, unit) != 0)
        duty = duty->next;
    return duty;
}

/* A unit whose consumer this agent's unit becomes when its own agents are gone. */
static void guard(struct agent *agent, const struct table *table, uint32_t unit)
{
    char name[64];
    snprintf(name, sizeof(name), "%.*s", STR_ARG(table->units[unit].name));
    if (agent_duty(agent, name) != NULL)
        return;
    struct duty *duty = duty_create(agent, name);
    duty->next = agent->duties->next;
    agent->duties->next = duty;
}

/* Guests that the rules no longer name keep what they have: the record may still say that they are served here. */
static void on_rules(void *arg, const struct table *table)
{
    struct agent *agent = arg;
    uint32_t own = table_unit_index(table, str_of(agent->config.unit));
    warden_adopt(agent->warden, table);
    agent->unit_fault[0] = '\0';
    if (own == NO_UNIT) {
        snprintf(agent->unit_fault, sizeof(agent->unit_fault), "the rules of epoch %lu name no unit %s",
                 (unsigned long)table->epoch, agent->config.unit);
        log_warning("unit.gone", "%s; what is in its streams is delivered as before", agent->unit_fault);
    }
    for (uint32_t i = 0; i < table->unit_count && own != NO_UNIT; i++)
        if (table->units[i].standby == own)
            guard(agent, table, i);
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_adopt(duty, table);
}

static void enroll(struct agent *agent)
{
    struct error err = {ERROR_NONE, ""};
    int failed = store_register(agent->rules.store, &agent->self, &err);
    if (failed != 0 && strcmp(err.text, agent->register_fault) != 0)
        log_warning("store.register", "%s", err.text);
    snprintf(agent->register_fault, sizeof(agent->register_fault), "%s", err.text);
}

/* A store that is behind tells of the past, or is empty. */
static void follow_store(struct agent *agent)
{
    uint64_t epoch = agent->rules.record.rules_epoch;
    rules_follow_sync(&agent->rules);
    if (agent->rules.behind) {
        beacon_follow(agent->beacon, NULL);
        return;
    }
    if (agent->rules.up)
        enroll(agent);
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_sync(duty, agent->rules.store);
    warden_sync(agent->warden, agent->rules.store);
    beacon_follow(agent->beacon, agent->rules.store);
    if (agent->rules.record.rules_epoch != epoch)
        health_changed(agent->health);
}

static int on_store(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)source, (void)fd, (void)events;
    struct agent *agent = arg;
    store_drain(agent->rules.store);
    follow_store(agent);
    return 0;
}

static int on_hurry(sd_event_source *source, void *arg)
{
    (void)source;
    follow_store(arg);
    return 0;
}

void agent_hurry(struct agent *agent)
{
    loop_wake(agent->hurry);
}

static int on_store_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct agent *agent = arg;
    beacon_save(agent->beacon);
    document_cache_save(agent->documents);
    follow_store(agent);
    sd_event_source_set_time_relative(source, STORE_TICK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- pulses ------------------------------------------------------------------------------------------------------ */

static void tell_brokers(const struct agent *agent, struct pulse *pulse, uint64_t late_us)
{
    unsigned count;
    const struct warden_broker *brokers = warden_brokers(agent->warden, late_us, &count);
    uint64_t now_us = clock_monotonic_us() - late_us;
    for (unsigned i = 0; i < count && i < PULSE_BROKERS_MOST; i++) {
        const struct warden_broker *broker = &brokers[i];
        uint64_t age_us = broker->heard_us == 0       ? UINT32_MAX
                          : broker->heard_us < now_us ? now_us - broker->heard_us
                                                      : 0;
        if (broker->heard_us == 0 && !broker->gone)
            continue; /* it had no time to answer yet */
        pulse->agent.brokers[pulse->agent.broker_count++] =
            (struct pulse_broker){.unit = pulse_hash(str_of(broker->unit)),
                                  .url = pulse_hash(str_of(broker->url)),
                                  .run_id = pulse_hash(str_of(broker->run_id)),
                                  .epoch = broker->stamp,
                                  .offset = broker->offset,
                                  .age_us = age_us < UINT32_MAX ? (uint32_t)age_us : UINT32_MAX,
                                  .healthy = broker->healthy,
                                  .primary = broker->is_primary,
                                  .link_up = broker->link_up,
                                  .sees_primary = broker->sees_primary,
                                  .gone = broker->gone};
    }
}

static void on_look(void *arg, struct pulse *pulse, uint64_t late_us)
{
    const struct agent *agent = arg;
    _Static_assert(PULSE_COLORS == COLOR_COUNT, "a pulse tells of each colour");
    for (const struct node *node = nodes_first(agent->duties->nodes); node != NULL; node = node->next) {
        struct pulse_nodes *nodes = &pulse->agent.nodes[node->color];
        nodes->listed += node->listed && nodes->listed < UINT16_MAX;
        nodes->up += node->listed && node->up && nodes->up < nodes->listed;
    }
    pulse->agent.epoch = keeper_record(agent->duties->keeper)->version;
    tell_brokers(agent, pulse, late_us);
}

void agent_overheard(struct agent *agent, const char *unit, const struct broker_record *record)
{
    warden_heard(agent->warden, unit, record);
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_overheard(duty, unit, record);
}

static void on_pushed(void *arg, const char *unit, const struct broker_record *record)
{
    struct agent *agent = arg;
    struct duty *duty = agent_duty(agent, unit);
    if (duty != NULL)
        duty_heard(duty, record);
    agent_overheard(agent, unit, record);
}

static void on_looked(void *arg)
{
    beacon_hurry(((struct agent *)arg)->beacon);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct agent *agent = arg;
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_tick(duty);
    health_tell(agent->health);
    sd_event_source_set_time_relative(source, (uint64_t)agent->config.health.interval * 1000);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

const char *agent_unready(const struct agent *agent)
{
    if (agent->ending > 0)
        return "this agent is ending";
    if (agent->rules.table == NULL)
        return "this agent has no rules yet";
    if (agent->unit_fault[0] != '\0')
        return agent->unit_fault;
    const char *fault = NULL;
    for (const struct duty *duty = agent->duties; duty != NULL && fault == NULL; duty = duty->next)
        fault = duty_fault(duty);
    return fault;
}

void agent_refresh(struct agent *agent)
{
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_refresh(duty);
    stat_set(&agent->stats.ready, agent_unready(agent) == NULL);
}

/* --- signals ----------------------------------------------------------------------------------------------------- */

static void on_ended(struct duty *duty)
{
    struct agent *agent = duty->agent;
    agent->unclean += !duty->clean;
    if (--agent->ending > 0)
        return;
    log_info("agent.ended",
             agent->unclean == 0 ? "everything that was delivered is recorded" : "delivery.stop_timeout is over");
    sd_event_exit(agent->loop, EXIT_SUCCESS);
}

/* A second signal ends it at once. */
static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source;
    struct agent *agent = arg;
    if (agent->ending > 0)
        return sd_event_exit(agent->loop, EXIT_SUCCESS);
    log_info("agent.ending", "signal %u: nothing more is read or begun", info->ssi_signo);
    sd_notify(0, "STOPPING=1");
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        agent->ending++;
    for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
        duty_end(duty, on_ended);
    return 0;
}

static int read_config(const struct agent *agent, struct agent_config *config, struct error *err)
{
    struct diag_list diags = {.file = agent->config_path ? agent->config_path : "options"};
    struct buf text = {0};
    int result = 0;
    if (agent_config_load(agent->config_path, agent->overrides, config, &diags) != 0) {
        diag_print(&diags, &text);
        result = error_set(err, ERROR_INPUT, "%s", buf_str(&text).base);
    } else if (options_unreloadable(agent_options, agent_option_count, &agent->config, config, &text) > 0)
        result = error_set(err, ERROR_REFUSED, "these options take effect at a restart only: %s", text.base);
    buf_free(&text);
    diag_free(&diags);
    return result;
}

static void set_log_level(const struct agent *agent)
{
    enum log_level level = LOG_LEVEL_INFO;
    log_level_parse(agent->config.log.level, &level);
    log_setup("ldc-agent", level);
}

/* What cannot be taken leaves everything as it is. */
static int reload(struct agent *agent, struct error *err)
{
    struct agent_config config = {0};
    int result = read_config(agent, &config, err);
    if (result == 0) {
        options_exchange(agent_options, agent_option_count, &agent->config, &config);
        set_log_level(agent);
        follow_store(agent);
        for (struct duty *duty = agent->duties; duty != NULL; duty = duty->next)
            duty_configure(duty);
    }
    options_free(agent_options, agent_option_count, &config);
    return result;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source, (void)info;
    struct agent *agent = arg;
    struct error err;
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lu", (unsigned long)clock_monotonic_us());
    bool taken = reload(agent, &err) == 0;
    if (taken)
        log_info("config.reloaded", "the configuration was read again");
    else
        log_error("config.refused", "%s", err.text);
    stat_add(taken ? &agent->stats.reloads_total : &agent->stats.reloads_refused_total, 1);
    sd_notify(0, "READY=1");
    return 0;
}

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    INVARIANT(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

/* --- start and stop ---------------------------------------------------------------------------------------------- */

static int read_secrets(struct agent *agent, struct error *err)
{
    const struct agent_config *config = &agent->config;
    const char *broker = config->broker.password_file, *admin = config->admin.token_file;
    const char *pulse = config->pulse.key_file ? config->pulse.key_file : admin;
    bool all = file_take_secret("broker.password_file", broker, &agent->broker_password, err) == 0 &&
               file_take_secret("admin.token_file", admin, &agent->admin_token, err) == 0 &&
               file_take_secret("pulse.key_file", pulse, &agent->pulse_key, err) == 0;
    return all ? 0 : -1;
}

static void take_name(struct agent *agent)
{
    snprintf(agent->name, sizeof(agent->name), "%s%s", agent->config.name ? "" : "agent-",
             agent->config.name ? agent->config.name : agent->config.unit);
}

/* Who this process is, once its admin listener has a port. */
static void introduce(struct agent *agent)
{
    char host[48] = "";
    gethostname(host, sizeof(host) - 1);
    struct store_member *self = &agent->self;
    *self = (struct store_member){.role = "agent", .pid = (long)getpid(), .alive = true};
    snprintf(self->name, sizeof(self->name), "%s", agent->name);
    snprintf(self->unit, sizeof(self->unit), "%s", agent->config.unit);
    snprintf(self->datacenter, sizeof(self->datacenter), "%s",
             agent->config.datacenter ? agent->config.datacenter : "");
    httpd_admin_url(agent->admin, agent->config.admin.listen, host, self->admin, sizeof(self->admin));
    beacon_introduce(agent->beacon, self);
}

static int create_beacon(struct agent *agent, struct error *err)
{
    agent->beacon = beacon_create(agent->loop,
                                  &(struct beacon_config){.options = &agent->config,
                                                          .secret = agent->pulse_key,
                                                          .stats = &agent->pulse_stats,
                                                          .look = on_look,
                                                          .pushed = on_pushed,
                                                          .arg = agent},
                                  err);
    return agent->beacon != NULL ? beacon_start(agent->beacon, agent->name, err) : -1;
}

static int add_sources(struct agent *agent)
{
    int fd = store_watch_fd(agent->rules.store);
    int failed = fd != -1 ? sd_event_add_io(agent->loop, NULL, fd, EPOLLIN, on_store, agent) : 0;
    failed |= sd_event_add_time_relative(agent->loop, NULL, CLOCK_MONOTONIC, STORE_TICK_US, 0, on_store_tick, agent);
    agent->hurry = loop_later(agent->loop, on_hurry, agent);
    failed |= sd_event_add_time_relative(agent->loop, &agent->tick, CLOCK_MONOTONIC,
                                         (uint64_t)agent->config.health.interval * 1000, 1000, on_tick, agent);
    failed |= sd_event_add_signal(agent->loop, NULL, SIGTERM, on_end, agent);
    failed |= sd_event_add_signal(agent->loop, NULL, SIGINT, on_end, agent);
    failed |= sd_event_add_signal(agent->loop, NULL, SIGHUP, on_reload, agent);
    return failed;
}

static int start(struct agent *agent, struct error *err)
{
    if (read_secrets(agent, err) != 0)
        return -1;
    descriptors_raise();
    take_name(agent);
    agent->warden = warden_create(agent->loop, &(struct warden_config){.options = &agent->config,
                                                                       .password = agent->broker_password,
                                                                       .stats = &agent->stats,
                                                                       .looked = on_looked,
                                                                       .arg = agent});
    agent->documents = document_cache_beside(agent->config.store.cache);
    agent->duties = duty_create(agent, agent->config.unit);
    agent->health = health_create(agent);
    if ((agent->admin = admin_create(agent, err)) == NULL || create_beacon(agent, err) != 0)
        return -1;
    introduce(agent);
    agent->rules = (struct rules_follow){
        .stats = &agent->stats, .cache = agent->config.store.cache, .adopted = on_rules, .arg = agent};
    if (rules_follow_open(&agent->rules, agent->config.store.location ? agent->config.store.location : "",
                          &agent->config.store.access, err) != 0)
        return -1;
    if (add_sources(agent) < 0)
        return error_set(err, ERROR_SYSTEM, "cannot set up the loop");
    follow_store(agent);
    return 0;
}

static void stop(struct agent *agent)
{
    beacon_destroy(&agent->beacon);
    warden_destroy(&agent->warden);
    for (struct duty *duty; (duty = agent->duties) != NULL;) {
        agent->duties = duty->next;
        duty_destroy(&duty);
    }
    document_cache_destroy(&agent->documents);
    httpd_destroy(&agent->admin);
    health_destroy(&agent->health);
    if (agent->rules.store != NULL)
        rules_follow_close(&agent->rules);
    sd_event_source_disable_unref(agent->tick);
    sd_event_source_disable_unref(agent->hurry);
    sd_event_unref(agent->loop);
    free(agent->admin_token);
    free(agent->broker_password);
    free(agent->pulse_key);
    options_free(agent_options, agent_option_count, &agent->config);
}

static int serve(struct agent *agent)
{
    struct error err;
    set_log_level(agent);
    INVARIANT(sd_event_new(&agent->loop) >= 0);
    if (start(agent, &err) != 0) {
        log_error("agent.start", "%s", err.text);
        return EXIT_FAILURE;
    }
    if (agent->rules.record.rules_epoch > 0)
        log_info("agent.ready", "%s delivers what is in the streams of %s, by epoch %lu", agent->name,
                 agent->config.unit, (unsigned long)agent->rules.record.rules_epoch);
    else
        log_warning("agent.ready", "%s waits for the first rules (`ldcctl rules apply FILE`)", agent->name);
    sd_notify(0, "READY=1");
    return sd_event_loop(agent->loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int load_config(struct agent *agent)
{
    struct diag_list diags = {.file = agent->config_path ? agent->config_path : "options"};
    struct buf faults = {0};
    int result = agent_config_load(agent->config_path, agent->overrides, &agent->config, &diags);
    diag_print(&diags, &faults);
    fputs(buf_str(&faults).base, stderr);
    buf_free(&faults);
    diag_free(&diags);
    return result;
}

int agent_run(const char *config_path, const char *const *overrides)
{
    struct agent agent = {.config_path = config_path, .overrides = overrides, .started_us = clock_wall_us()};
    stat_set(&agent.stats.start_time_seconds, agent.started_us / 1000000);
    block_signals();
    int status = load_config(&agent) == 0 ? serve(&agent) : EXIT_FAILURE;
    stop(&agent);
    return status;
}
