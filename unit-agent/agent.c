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
#include "unit-agent/admin.h"
#include "unit-agent/health.h"

#define STORE_TICK_US 1000000
#define ENDING_US     10000
#define LASTING_US    200000 /* attempts that take longer are traced before they end */

/* --- the rules --------------------------------------------------------------------------------------------------- */

static void on_rules(void *arg, const struct table *table)
{
    struct agent *agent = arg;
    uint32_t unit = table_unit_index(table, str_of(agent->config.unit));
    warden_adopt(agent->warden, table);
    if (unit == NO_UNIT) {
        snprintf(agent->unit_fault, sizeof(agent->unit_fault), "the rules of epoch %lu name no unit %s",
                 (unsigned long)table->epoch, agent->config.unit);
        log_warning("unit.gone", "%s; what is in its streams is delivered as before", agent->unit_fault);
        operations_adopt(agent->operations, NULL, STR_LIT(""));
        return;
    }
    struct str primary = table->units[unit].broker_count > 0 ? table->units[unit].brokers[0] : STR_LIT("");
    agent->unit_fault[0] = '\0';
    nodes_adopt(agent->nodes, &table->units[unit]);
    inbox_adopt(agent->inbox, table, &table->units[unit]);
    operations_adopt(agent->operations, table, primary);
    outbox_adopt(agent->outbox, primary);
    clockwork_adopt(agent->clockwork, primary);
    keeper_adopt(agent->keeper, &table->units[unit]);
}

static void enroll(struct agent *agent)
{
    struct error err = {ERROR_NONE, ""};
    int failed = store_register(agent->rules.store, &agent->self, &err);
    if (failed != 0 && strcmp(err.text, agent->register_fault) != 0)
        log_warning("store.register", "%s", err.text);
    snprintf(agent->register_fault, sizeof(agent->register_fault), "%s", err.text);
}

static void follow_store(struct agent *agent)
{
    uint64_t epoch = agent->rules.record.rules_epoch;
    rules_follow_sync(&agent->rules);
    if (agent->rules.up)
        enroll(agent);
    keeper_sync(agent->keeper, agent->rules.store);
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

static int on_store_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    follow_store(arg);
    sd_event_source_set_time_relative(source, STORE_TICK_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- what happens ------------------------------------------------------------------------------------------------ */

static void on_acknowledged(void *arg, struct partition *partition)
{
    inbox_record(((struct agent *)arg)->inbox, partition);
}

static void on_attempted(void *arg, const struct message *message, const struct delivery_attempt *attempt)
{
    traces_attempted(((struct agent *)arg)->traces, message, attempt);
}

static void on_settled(void *arg, const struct message *message, const struct http_response *response)
{
    replies_settle(((struct agent *)arg)->replies, message, response);
}

static void on_covered(void *arg, struct partition *partition, struct stream_id id)
{
    struct agent *agent = arg;
    if (keeper_record(agent->keeper)->member_count > 1) /* else there is nobody who could hold it */
        traces_covered(agent->traces, partition, id);
}

static void on_recorded(void *arg, const struct message *message)
{
    traces_recorded(((struct agent *)arg)->traces, message);
}

static void on_lasting(void *arg, struct message *message)
{
    traces_begun(((struct agent *)arg)->traces, message);
}

static void on_nodes_changed(void *arg)
{
    struct agent *agent = arg;
    if (agent->delivery != NULL)
        delivery_wake(agent->delivery);
    if (agent->health != NULL)
        health_changed(agent->health);
}

static bool may_deliver(void *arg)
{
    return inbox_may_deliver(((struct agent *)arg)->inbox);
}

static struct nodes *more_nodes(void *arg)
{
    struct agent *agent = arg;
    return nodes_create(agent->loop, &agent->config, on_nodes_changed, agent);
}

static const struct broker_record *broker_record(void *arg)
{
    return keeper_record(((struct agent *)arg)->keeper);
}

/* Agents agree by their beats in the primary. Where it takes none, each may act: of two records one is refused. */
static bool is_keeper(void *arg)
{
    const struct agent *agent = arg;
    const char *primary = keeper_primary_url(agent->keeper), *beaten = inbox_broker_url(agent->inbox);
    bool mute = primary != NULL && beaten != NULL && strcmp(primary, beaten) != 0;
    return inbox_is_keeper(agent->inbox) || mute || (primary != NULL && warden_sees_fenced(agent->warden, primary));
}

/* --- pulses ------------------------------------------------------------------------------------------------------ */

static void tell_brokers(const struct agent *agent, struct pulse *pulse)
{
    unsigned count;
    const struct warden_broker *brokers = warden_brokers(agent->warden, &count);
    uint64_t now_us = clock_monotonic_us();
    for (unsigned i = 0; i < count && i < PULSE_BROKERS_MOST; i++) {
        const struct warden_broker *broker = &brokers[i];
        uint64_t age_us = broker->heard_us > 0 ? now_us - broker->heard_us : UINT32_MAX;
        if (broker->heard_us == 0 && !broker->gone)
            continue; /* an agent that has just begun knows nothing to condemn a broker for */
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

static void on_look(void *arg, struct pulse *pulse)
{
    const struct agent *agent = arg;
    _Static_assert(PULSE_COLORS == COLOR_COUNT, "a pulse tells of each colour");
    for (const struct node *node = nodes_first(agent->nodes); node != NULL; node = node->next) {
        struct pulse_nodes *nodes = &pulse->agent.nodes[node->color];
        nodes->listed += node->listed && nodes->listed < UINT16_MAX;
        nodes->up += node->listed && node->up && nodes->up < nodes->listed;
    }
    pulse->agent.epoch = keeper_record(agent->keeper)->version;
    tell_brokers(agent, pulse);
}

static void on_pushed(void *arg, const char *unit, const struct broker_record *record)
{
    struct agent *agent = arg;
    if (strcmp(unit, agent->config.unit) == 0)
        keeper_heard(agent->keeper, record);
    warden_heard(agent->warden, unit, record);
}

static void on_looked(void *arg)
{
    beacon_hurry(((struct agent *)arg)->beacon);
}

/* Faster than the store's watch. */
static void on_put(void *arg, const struct broker_record *record)
{
    struct agent *agent = arg;
    beacon_push(agent->beacon, agent->config.unit, record);
    warden_heard(agent->warden, agent->config.unit, record);
}

static void on_confirmed(void *arg)
{
    delivery_wake(((struct agent *)arg)->delivery);
}

static void on_broker_changed(void *arg)
{
    struct agent *agent = arg;
    if (agent->health != NULL)
        health_changed(agent->health);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct agent *agent = arg;
    inbox_tick(agent->inbox);
    delivery_each_lasting(agent->delivery, clock_wall_us() - LASTING_US, on_lasting, agent);
    operations_tick(agent->operations);
    clockwork_tick(agent->clockwork);
    health_tell(agent->health);
    sd_event_source_set_time_relative(source, (uint64_t)agent->config.health.interval * 1000);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

const char *agent_unready(const struct agent *agent)
{
    if (agent->end_by_us != 0)
        return "this agent is ending";
    if (agent->rules.table == NULL)
        return "this agent has no rules yet";
    if (agent->unit_fault[0] != '\0')
        return agent->unit_fault;
    const char *fault = inbox_fault(agent->inbox);
    return fault != NULL ? fault : keeper_alarm(agent->keeper);
}

static void refresh_held(struct agent *agent)
{
    const struct partition_list *partitions = inbox_partitions(agent->inbox);
    uint64_t held_now = 0, bytes = 0, users = 0, parked = 0, dead = 0;
    for (size_t i = 0; i < partitions->count; i++) {
        const struct partition *partition = partitions->items[i];
        held_now += partition->undone;
        bytes += partition->bytes;
        users += partition->park.user_count;
        parked += partition->park.messages;
        dead += partition->park.dead;
    }
    stat_set(&agent->stats.agent_messages_held, held_now);
    stat_set(&agent->stats.agent_message_bytes, bytes);
    stat_set(&agent->stats.agent_parked_users, users);
    stat_set(&agent->stats.agent_parked_messages, parked);
    stat_set(&agent->stats.agent_dead_letters, dead);
}

void agent_refresh(struct agent *agent)
{
    refresh_held(agent);
    uint64_t nodes = 0, up = 0;
    for (const struct node *node = nodes_first(agent->nodes); node != NULL; node = node->next) {
        nodes += node->listed;
        up += node->listed && node->up;
    }
    stat_set(&agent->stats.agent_nodes, nodes);
    stat_set(&agent->stats.agent_nodes_up, up);
    stat_set(&agent->stats.ready, agent_unready(agent) == NULL);
}

/* --- signals ----------------------------------------------------------------------------------------------------- */

static void on_left(void *arg)
{
    sd_event_exit(((struct agent *)arg)->loop, EXIT_SUCCESS);
}

static int on_ending(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct agent *agent = arg;
    bool idle = stat_get(&agent->stats.agent_deliveries_in_flight) == 0 && inbox_idle(agent->inbox) &&
                inbox_returned(agent->inbox);
    if (idle)
        traces_flush(agent->traces);
    idle = idle && replies_idle(agent->replies) && traces_idle(agent->traces);
    if (idle || clock_monotonic_us() >= agent->end_by_us) {
        log_info("agent.ended", idle ? "everything that was delivered is recorded" : "delivery.stop_timeout is over");
        inbox_leave(agent->inbox, on_left, agent);
        return 0;
    }
    sd_event_source_set_time_relative(source, ENDING_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* A second signal ends it at once. */
static int on_end(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
    (void)source;
    struct agent *agent = arg;
    if (agent->end_by_us != 0)
        return sd_event_exit(agent->loop, EXIT_SUCCESS);
    log_info("agent.ending", "signal %u: nothing more is read or begun", info->ssi_signo);
    sd_notify(0, "STOPPING=1");
    agent->end_by_us = clock_monotonic_us() + (uint64_t)agent->config.delivery.stop_timeout * 1000;
    inbox_stop(agent->inbox);
    clockwork_stop(agent->clockwork);
    delivery_stop(agent->delivery);
    return sd_event_add_time_relative(agent->loop, &agent->ending, CLOCK_MONOTONIC, 0, 0, on_ending, agent);
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

int agent_reload(struct agent *agent, struct error *err)
{
    struct agent_config config = {0};
    int result = read_config(agent, &config, err);
    if (result == 0) {
        options_exchange(agent_options, agent_option_count, &agent->config, &config);
        set_log_level(agent);
        follow_store(agent);
        delivery_wake(agent->delivery);
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
    bool taken = agent_reload(agent, &err) == 0;
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
    const char *broker = agent->config.broker.password_file, *admin = agent->config.admin.token_file;
    if ((broker != NULL && (agent->broker_password = file_read_secret(broker, err)) == NULL) ||
        (admin != NULL && (agent->admin_token = file_read_secret(admin, err)) == NULL))
        return -1;
    const char *pulse = agent->config.pulse.key_file ? agent->config.pulse.key_file : admin;
    return pulse == NULL || (agent->pulse_key = file_read_secret(pulse, err)) != NULL ? 0 : -1;
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

static void create_outbox(struct agent *agent)
{
    agent->outbox = outbox_create(agent->loop, &agent->config, agent->broker_password);
    agent->replies =
        replies_create(agent->loop, &(struct replies_config){&agent->config, &agent->stats, agent->outbox});
    agent->traces =
        traces_create(agent->loop, &(struct traces_config){&agent->config, agent->name, &agent->stats, agent->outbox});
    agent->observer = (struct observer){on_covered, on_recorded, agent};
}

static void create_parts(struct agent *agent)
{
    create_outbox(agent);
    agent->nodes = nodes_create(agent->loop, &agent->config, on_nodes_changed, agent);
    agent->delivery = delivery_create(agent->loop, &(struct delivery_config){.options = &agent->config,
                                                                             .unit = str_of(agent->config.unit),
                                                                             .nodes = agent->nodes,
                                                                             .stats = &agent->stats,
                                                                             .acknowledged = on_acknowledged,
                                                                             .attempted = on_attempted,
                                                                             .settled = on_settled,
                                                                             .may_begin = may_deliver,
                                                                             .arg = agent});
    agent->valves =
        valves_create(agent->loop, (struct partition_hooks){delivery_ready, delivery_withdraw, agent->delivery});
    agent->inbox = inbox_create(agent->loop, &(struct inbox_config){
                                                 .options = &agent->config,
                                                 .password = agent->broker_password,
                                                 .name = str_of(agent->name),
                                                 .stats = &agent->stats,
                                                 .hooks = {valves_ready, valves_withdraw, agent->valves},
                                                 .nodes = more_nodes,
                                                 .record = broker_record,
                                                 .observer = &agent->observer,
                                                 .changed = on_broker_changed,
                                                 .confirmed = on_confirmed,
                                                 .arg = agent,
                                             });
    agent->operations = operations_create(agent->loop, &(struct operations_config){.options = &agent->config,
                                                                                   .password = agent->broker_password,
                                                                                   .valves = agent->valves,
                                                                                   .record = broker_record,
                                                                                   .arg = agent});
    agent->keeper = keeper_create(agent->loop, &(struct keeper_config){.options = &agent->config,
                                                                       .password = agent->broker_password,
                                                                       .name = agent->name,
                                                                       .stats = &agent->stats,
                                                                       .is_keeper = is_keeper,
                                                                       .changed = on_broker_changed,
                                                                       .put = on_put,
                                                                       .arg = agent});
    agent->warden = warden_create(agent->loop, &(struct warden_config){.options = &agent->config,
                                                                       .password = agent->broker_password,
                                                                       .stats = &agent->stats,
                                                                       .looked = on_looked,
                                                                       .arg = agent});
    agent->clockwork = clockwork_create(agent->loop, &(struct clockwork_config){.options = &agent->config,
                                                                                .password = agent->broker_password,
                                                                                .stats = &agent->stats,
                                                                                .is_keeper = is_keeper,
                                                                                .record = broker_record,
                                                                                .arg = agent});
    agent->health = health_create(agent);
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
    create_parts(agent);
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
    clockwork_destroy(&agent->clockwork);
    operations_destroy(&agent->operations);
    httpd_destroy(&agent->admin);
    beacon_destroy(&agent->beacon);
    warden_destroy(&agent->warden);
    keeper_destroy(&agent->keeper);
    inbox_destroy(&agent->inbox); /* takes its messages back from the delivery */
    valves_destroy(&agent->valves);
    delivery_destroy(&agent->delivery);
    outbox_destroy(&agent->outbox);
    replies_destroy(&agent->replies);
    traces_destroy(&agent->traces);
    nodes_destroy(&agent->nodes);
    health_destroy(&agent->health);
    if (agent->rules.store != NULL)
        rules_follow_close(&agent->rules);
    sd_event_source_disable_unref(agent->tick);
    sd_event_source_disable_unref(agent->ending);
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
