/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/config.h"

#include "common/log.h"
#include "common/measure.h"
#include "common/process_check.h"
#include "common/protocol.h"
#include "common/store_options.h"

#define AT(field) offsetof(struct agent_config, field)

const struct option agent_options[] = {
    {"name", option_set_string, AT(name), 0, 0, "", false,
     "This agent's name in logs, events and the store; `agent-` and the unit where empty."},
    {"unit", option_set_string, AT(unit), 0, 0, NULL, false, "The unit whose streams this agent delivers."},
    {"datacenter", option_set_string, AT(datacenter), 0, 0, "", false, "The datacentre that this agent stands in."},

    {"admin.listen", option_set_string, AT(admin.listen), 0, 0, "127.0.0.1:9180", false,
     "Address of the admin listener; anything but loopback wants a token."},
    {"admin.token_file", option_set_string, AT(admin.token_file), 0, 0, "", false,
     "File with the bearer token that the admin listener asks for."},

    {"store.location", option_set_string, AT(store.location), 0, 0, "dir:/var/lib/ldcgate/store", false,
     STORE_LOCATION_DOC},
    {"store.cache", option_set_string, AT(store.cache), 0, 0, "", false,
     "File that keeps the last rules in force, with `.members` behind its name the gateways and other agents, and with "
     "`.documents` what else it goes by, so that an agent starts, delivers and is heard while its store is away."},
    STORE_ACCESS_ROWS(AT(store.access)),

    {"pulse.listen", option_set_string, AT(pulse.listen), 0, 0, "127.0.0.1:0", false,
     "Address (UDP) for pulses from gateways and other agents, and from which this agent sends its own; port 0 means "
     "any. Beyond loopback it wants a key."},
    {"pulse.key_file", option_set_string, AT(pulse.key_file), 0, 0, "", false,
     "File with the key that authenticates pulses, the same for all gateways and agents; the admin listener's token "
     "where empty."},

    {"broker.user", option_set_string, AT(broker.user), 0, 0, "", false, "User name for the brokers."},
    {"broker.password_file", option_set_string, AT(broker.password_file), 0, 0, "", false,
     "File with the brokers' password."},
    {"broker.timeout", option_set_duration, AT(broker.timeout), 10, 10 * MINUTE_MS, "2s", false,
     "How long the broker may take to answer a command before the connection is given up."},
    {"broker.must_be_durable", option_set_bool, AT(broker.must_be_durable), 0, 0, "true", false,
     "Refuse brokers that keep no append-only file."},
    {"broker.look_interval", option_set_duration, AT(broker.look_interval), 10, MINUTE_MS, "100ms", true,
     "How often the keeper of the broker record looks at the primary and at each replica."},
    {"broker.replica_timeout", option_set_duration, AT(broker.replica_timeout), 200, MINUTE_MS, "1s", false,
     "How long a replica may fall behind before it is no longer in sync, and is detached."},

    {"guard.brokers", option_set_strings, AT(guard.brokers), 0, 0, "", false,
     "Brokers, as the rules write them, that this agent alone makes primaries or replicas as their records say. Where "
     "empty: the first of its unit, the others too where no unit stands by for it, and the others of each unit that "
     "its unit stands by for."},
    {"guard.interval", option_set_duration, AT(guard.interval), 1, MINUTE_MS, "10ms", true,
     "How often it looks at each of them."},

    {"delivery.concurrency", option_set_int, AT(delivery.concurrency), 1, 10000, "128", true,
     "Messages in flight to the app's nodes at once; never more than one of a user and topic."},
    {"delivery.timeout", option_set_duration, AT(delivery.timeout), 10, DAY_MS, "30s", true,
     "How long a node may take to answer; the message is then delivered again."},
    {"delivery.connect_timeout", option_set_duration, AT(delivery.connect_timeout), 1, 10 * MINUTE_MS, "1s", true,
     "How long connecting to a node may take."},
    {"delivery.window", option_set_int, AT(delivery.window), 1, 1000000, "1024", true,
     "Messages of one partition that are read ahead of their acknowledgement."},
    {"delivery.window_bytes", option_set_size, AT(delivery.window_bytes), 64 * KIB, 64 * GIB, "64MiB", true,
     "Memory for messages of all partitions; reading stops when it is used."},
    {"delivery.backoff_min", option_set_duration, AT(delivery.backoff_min), 1, DAY_MS, "10ms", true,
     "Wait before a message is sent again whose node was lost or asked for later; doubles each time, give or take a "
     "fifth."},
    {"delivery.backoff_max", option_set_duration, AT(delivery.backoff_max), 1, DAY_MS, "10s", true,
     "Longest such wait; a longer Retry-After wins. Failed attempts wait by their topic's `retry.ladder`."},
    {"delivery.park_after", option_set_duration, AT(delivery.park_after), 0, DAY_MS, "1s", true,
     "A message that is put off for longer waits in its user's park, out of the way of others."},
    {"delivery.stop_timeout", option_set_duration, AT(delivery.stop_timeout), 0, 60 * MINUTE_MS, "10s", true,
     "How long SIGTERM lets deliveries in flight finish and be recorded."},

    {"lease.beat", option_set_duration, AT(lease.beat), 10, MINUTE_MS, "200ms", false,
     "How often this agent tells the broker that it lives."},
    {"lease.ttl", option_set_duration, AT(lease.ttl), 30, 10 * MINUTE_MS, "800ms", false,
     "How long after its last beat an agent keeps its partitions; then others take them over. At least twice "
     "lease.beat, and the same for all agents of a unit."},
    {"lease.release_timeout", option_set_duration, AT(lease.release_timeout), 0, 60 * MINUTE_MS, "5s", true,
     "How long deliveries in flight may take when another agent is to have their partition."},
    {"lease.listener_timeout", option_set_duration, AT(lease.listener_timeout), 1000, 100 * DAY_MS, "1h", true,
     "How long an agent may say nothing before its cursors in broadcasts are removed; until then nothing is trimmed "
     "that they have not passed."},

    {"reply.max_body", option_set_size, AT(reply.max_body), 0, MIB, "256KiB", true,
     "Longest body of the app's answer that is passed on to a client that waits for it (`Prefer: wait=N`)."},

    {"trace.sample", option_set_int, AT(trace.sample), 0, 1000000, "1", true,
     "Messages of which one is traced: 1 traces all, 100 every hundredth, 0 none."},
    {"trace.max_entries", option_set_int, AT(trace.max_entries), 100, 10000000, "10000", true,
     "Trace records that a partition keeps; each one tells of the messages of one `trace.interval`."},
    {"trace.interval", option_set_duration, AT(trace.interval), 1, MINUTE_MS, "50ms", true,
     "How long traces are gathered before they are written."},

    {"timers.poll", option_set_duration, AT(timers.poll), 1, MINUTE_MS, "10ms", true,
     "How often the broker is asked for messages that are due, where it knows of none that is due sooner."},
    {"timers.near", option_set_duration, AT(timers.near), 0, DAY_MS, "1h", true,
     "How long before its hour begins a message that is due later is brought into the broker's sorted set."},
    {"transactions.checks", option_set_int, AT(transactions.checks), 1, 1000, "15", true,
     "How often a silent sender of a prepared message is asked before the message is parked."},
    {"transactions.longest_pause", option_set_duration, AT(transactions.longest_pause), 1, DAY_MS, "1h", true,
     "Longest pause between two checks; each is twice as long as the one before, from the gateway's "
     "`transactions.first_check` on."},
    {"transactions.check_timeout", option_set_duration, AT(transactions.check_timeout), 10, 10 * MINUTE_MS, "5s", true,
     "How long `LDC-Check-Url` may take to answer."},
    {"transactions.concurrency", option_set_int, AT(transactions.concurrency), 1, 10000, "32", false,
     "Checks under way at once."},

    {"health.interval", option_set_duration, AT(health.interval), 10, DAY_MS, "1s", true,
     "How often nodes are probed, lag is counted and health is told."},
    {"health.path", option_set_string, AT(health.path), 0, 0, "/healthz", true,
     "What is asked of a node; any answer below 500 means that it is up."},

    {"log.level", option_set_string, AT(log.level), 0, 0, "info", true, "error, warning, info or debug."},
};

const size_t agent_option_count = COUNT_OF(agent_options);

static void check(const struct agent_config *config, struct diag_list *diags)
{
    enum log_level level;
    if (config->unit == NULL || !option_is_name(config->unit, "_-", PROTOCOL_NAME_MAX))
        diag_add(diags, DIAG_ERROR, 0, 0, "for example `unit: RZ01`", "unit: must be the name of a unit of the rules");
    if (!option_is_name(config->name, "._:-", 63) || !option_is_name(config->datacenter, "._:-", 63))
        diag_add(diags, DIAG_ERROR, 0, 0, NULL,
                 "name and datacenter: must be letters, digits and . _ : -, fewer than 64 of them");
    bool has_token = config->admin.token_file != NULL;
    process_check_admin(config->admin.listen, has_token, diags);
    process_check_pulse(config->pulse.listen, has_token || config->pulse.key_file != NULL, diags);
    process_check_store(config->store.location, diags);
    if (config->delivery.backoff_min > config->delivery.backoff_max)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "delivery.backoff_min: above delivery.backoff_max");
    if (config->lease.ttl < 2 * config->lease.beat)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "lease.ttl: below twice lease.beat");
    if (config->health.path == NULL || config->health.path[0] != '/' || strpbrk(config->health.path, " \r\n") != NULL)
        diag_add(diags, DIAG_ERROR, 0, 0, "for example /healthz", "health.path: must be an absolute path");
    if (config->log.level == NULL || !log_level_parse(config->log.level, &level))
        diag_add(diags, DIAG_ERROR, 0, 0, "error, warning, info or debug", "log.level: no such level");
}

int agent_config_load(const char *path, const char *const *overrides, struct agent_config *config,
                      struct diag_list *diags)
{
    if (options_load_file(agent_options, agent_option_count, config, path, overrides, diags) == 0)
        check(config, diags);
    return diags->errors == 0 ? 0 : -1;
}
