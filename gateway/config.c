/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/measure.h"
#include "common/process_check.h"
#include "common/store_options.h"
#include "gateway/peer.h"

#define AT(field) offsetof(struct gateway_config, field)

const struct option gateway_options[] = {
    {"name", option_set_string, AT(name), 0, 0, "", false,
     "This gateway's name in logs, Via, Proxy-Status and the store; the host name and the admin port where empty."},
    {"datacenter", option_set_string, AT(datacenter), 0, 0, "", false,
     "The datacentre that this gateway stands in; decides what `on_missing: local` means."},
    {"threads", option_set_int, AT(threads), 0, 256, "0", false,
     "Ingress threads, each with its own event loop and listening sockets; 0 means one a processor."},
    {"drain_timeout", option_set_duration, AT(drain_timeout), 0, 3600000, "10s", true,
     "How long SIGTERM lets requests in flight finish."},

    {"ingress.listen", option_set_strings, AT(ingress.listen), 0, 0, "127.0.0.1:8080", false,
     "Addresses for clear-text HTTP, as HOST:PORT."},
    {"ingress.http2_clear", option_set_bool, AT(ingress.http2_clear), 0, 0, "false", false,
     "Speak HTTP/2 with prior knowledge on the clear-text listeners."},
    {"ingress.tls_listen", option_set_strings, AT(ingress.tls_listen), 0, 0, "", false,
     "Addresses for HTTPS; HTTP/2 is offered by ALPN."},
    {"ingress.tls_certificate", option_set_string, AT(ingress.tls_certificate), 0, 0, "", true,
     "PEM file with the certificate chain; read again at SIGHUP."},
    {"ingress.tls_key", option_set_string, AT(ingress.tls_key), 0, 0, "", true,
     "PEM file with the private key; read again at SIGHUP."},
    {"ingress.trusted_peers", option_set_strings, AT(ingress.trusted_peers), 0, 0, "127.0.0.0/8,::1/128", true,
     "Networks whose LDC-* and X-Forwarded-* request headers are believed; from others they are dropped."},

    {"limits.head", option_set_size, AT(limits.head), KIB, MIB, "16KiB", true, "Longest request head; 431 beyond."},
    {"limits.uri", option_set_size, AT(limits.uri), 128, MIB, "8KiB", true, "Longest request target; 414 beyond."},
    {"limits.body", option_set_size, AT(limits.body), 0, GIB, "1MiB", true, "Longest request body; 413 beyond."},
    {"limits.bodies_total", option_set_size, AT(limits.bodies_total), MIB, 64 * GIB, "256MiB", true,
     "Bytes of request bodies that all connections may hold together, and of values of collections that wait for their "
     "clients; 503 beyond."},
    {"limits.connections", option_set_int, AT(limits.connections), 1, 10000000, "20000", true,
     "Client connections at once, and no more than half the file descriptors; further ones wait in the listen queue."},
    {"limits.connections_each_peer", option_set_int, AT(limits.connections_each_peer), 0, 10000000, "0", true,
     "Client connections of one untrusted address at once; further ones are closed; 0 means no such limit."},
    {"limits.head_timeout", option_set_duration, AT(limits.head_timeout), 100, DAY_MS, "10s", true,
     "Time from a request's first byte to the end of its head; 408 beyond."},
    {"limits.body_timeout", option_set_duration, AT(limits.body_timeout), 100, DAY_MS, "30s", true,
     "Time from the end of the head to the end of the body; 408 beyond."},
    {"limits.idle_timeout", option_set_duration, AT(limits.idle_timeout), 100, DAY_MS, "75s", true,
     "How long a connection may wait for its next request."},
    {"limits.send_timeout", option_set_duration, AT(limits.send_timeout), 100, DAY_MS, "30s", true,
     "How long a client may take none of an answer's bytes before it is cut off."},
    {"limits.requests_each_connection", option_set_int, AT(limits.requests_each_connection), 0, 1000000000, "0", true,
     "Requests on one HTTP/1 connection before it is closed; 0 means no limit."},
    {"limits.in_flight_each_unit", option_set_int, AT(limits.in_flight_each_unit), 1, 10000000, "10000", true,
     "Requests in flight to one unit (its bulkhead) where its rules give no `max_in_flight`; 503 beyond."},
    {"limits.http2_streams", option_set_int, AT(limits.http2_streams), 1, 10000, "100", false,
     "Concurrent streams on one HTTP/2 connection."},
    {"limits.http2_cancels", option_set_int, AT(limits.http2_cancels), 1, 1000000, "200", true,
     "Streams that one HTTP/2 connection may cancel in ten seconds, beyond as many as it completed; GOAWAY beyond."},
    {"limits.http2_frames", option_set_int, AT(limits.http2_frames), 100, 10000000, "2000", true,
     "PING, SETTINGS, PRIORITY, WINDOW_UPDATE and empty frames that one HTTP/2 connection may send in ten seconds; "
     "GOAWAY beyond."},

    {"batch.items", option_set_int, AT(batch.items), 1, 1000000, "10000", true,
     "Most items of a batch (CloudEvents or NDJSON on a queue route); 413 beyond."},
    {"batch.bytes", option_set_size, AT(batch.bytes), KIB, GIB, "1MiB", true,
     "Longest batch, within `limits.body`; a route's `max_body` counts for each of its items."},

    {"timers.longest", option_set_duration, AT(timers.longest), 1000, 400 * DAY_MS, "40d", true,
     "How far ahead `LDC-Delay` and `LDC-Deliver-At` may reach; 400 beyond."},
    {"timers.near", option_set_duration, AT(timers.near), 0, DAY_MS, "1h", true,
     "Messages that are due within this time stand in the broker's sorted set, later ones in a hash for each hour; the "
     "agents' option of that name should say the same."},
    {"transactions.first_check", option_set_duration, AT(transactions.first_check), 100, DAY_MS, "6s", true,
     "How long after `LDC-Transaction: prepare` the agent asks `LDC-Check-Url` for the first time."},
    {"transactions.remember", option_set_duration, AT(transactions.remember), 1000, 400 * DAY_MS, "24h", true,
     "How long the end of a transaction or a cancelled timer is remembered, for clients that repeat themselves."},

    {"broker.timeout", option_set_duration, AT(broker.timeout), 10, 600000, "2s", true,
     "How long a broker may take to confirm a message; 503 beyond, with the outcome unknown."},
    {"broker.commit_connections", option_set_int, AT(broker.commit_connections), 1, 4, "2", false,
     "Connections of each thread to a broker with replicas, on each of which one batch of messages waits for them."},
    {"broker.commit_batch", option_set_int, AT(broker.commit_batch), 1, 1000, "128", false,
     "Messages that may share one wait for the replicas."},
    {"broker.memory_limit", option_set_int, AT(broker.memory_limit), 1, 100, "70", true,
     "Percent of a broker's maxmemory from which on messages are refused; 503 beyond."},
    {"broker.must_be_durable", option_set_bool, AT(broker.must_be_durable), 0, 0, "true", false,
     "Refuse brokers that keep no append-only file."},
    {"broker.user", option_set_string, AT(broker.user), 0, 0, "", false, "User name for the brokers."},
    {"broker.password_file", option_set_string, AT(broker.password_file), 0, 0, "", false,
     "File with the brokers' password."},

    {"failover.hold", option_set_duration, AT(failover.hold), 0, 60000, "2s", true,
     "How long a request may wait while its unit changes its broker or its nodes; 503 beyond."},

    {"collections.wait", option_set_duration, AT(collections.wait), 1, 60000, "250ms", true,
     "How long a read of a collection waits for its unit's broker to answer, and for its copy to catch up with what it "
     "must have applied; then the core unit is asked."},
    {"collections.core_wait", option_set_duration, AT(collections.core_wait), 1, 60000, "1s", true,
     "How long a read waits for the core unit, where it goes there."},

    {"reply.max_wait", option_set_duration, AT(reply.max_wait), 0, 3600000, "60s", true,
     "Longest time that `Prefer: wait=N` may make a client wait for the app's answer; 0 lets nobody wait."},

    {"watch.clients", option_set_int, AT(watch.clients), 0, 1000000, "5000", true,
     "Clients of one thread that may watch collections at once; 503 beyond."},
    {"watch.heartbeat", option_set_duration, AT(watch.heartbeat), 100, DAY_MS, "15s", true,
     "How long a client that watches a collection may hear nothing: then it gets a comment, and the number to go on "
     "from."},

    {"proxy.connect_timeout", option_set_duration, AT(proxy.connect_timeout), 1, 600000, "1s", true,
     "How long connecting to a node may take."},
    {"proxy.timeout", option_set_duration, AT(proxy.timeout), 1, DAY_MS, "30s", true,
     "How long a node may take to begin its answer, or to go on with it; 504 beyond. A route's `timeout` wins."},
    {"proxy.idle_timeout", option_set_duration, AT(proxy.idle_timeout), 1, DAY_MS, "30s", true,
     "How long an idle connection to a node is kept."},
    {"proxy.idle_each_node", option_set_int, AT(proxy.idle_each_node), 0, 100000, "128", true,
     "Idle connections kept to one node by one thread."},
    {"proxy.probe_interval", option_set_duration, AT(proxy.probe_interval), 10, DAY_MS, "500ms", true,
     "How often a node that was taken out is tried again."},
    {"proxy.tunnel_timeout", option_set_duration, AT(proxy.tunnel_timeout), 100, DAY_MS, "10m", true,
     "How long an upgraded connection (WebSocket) may carry nothing either way before it is closed."},

    {"admin.listen", option_set_string, AT(admin.listen), 0, 0, "127.0.0.1:9080", false,
     "Address of the admin listener; anything but loopback wants a token."},
    {"admin.token_file", option_set_string, AT(admin.token_file), 0, 0, "", false,
     "File with the bearer token that the admin listener asks for."},

    {"store.location", option_set_string, AT(store.location), 0, 0, "dir:/var/lib/ldcgate/store", false,
     STORE_LOCATION_DOC},
    {"store.cache", option_set_string, AT(store.cache), 0, 0, "", false,
     "File that keeps the last rules in force, with `.documents` behind its name the units' records, and with "
     "`.members` the other gateways and agents, so that a gateway starts and routes while its store is away."},
    STORE_ACCESS_ROWS(AT(store.access)),

    {"agents.token_file", option_set_string, AT(agents.token_file), 0, 0, "", false,
     "File with the bearer token that the units' agents ask for; the admin listener's token where empty."},

    {"pulse.listen", option_set_string, AT(pulse.listen), 0, 0, "127.0.0.1:0", false,
     "Address (UDP) for pulses from agents and other gateways, and from which this gateway sends its own; port 0 means "
     "any. Beyond loopback it wants a key."},
    {"pulse.key_file", option_set_string, AT(pulse.key_file), 0, 0, "", false,
     "File with the key that authenticates pulses, the same for all gateways and agents; where empty, the token of "
     "`agents.token_file`, or else of `admin.token_file`."},

    {"log.access", option_set_string, AT(log.access), 0, 0, "", true,
     "File for the access log, one JSON object a line; reopened at SIGUSR1; empty means none."},
    {"log.level", option_set_string, AT(log.level), 0, 0, "info", true, "error, warning, info or debug."},
};

const size_t gateway_option_count = COUNT_OF(gateway_options);

/* Where it listens, whom it believes, where the store is. */
static void check_places(const struct gateway_config *config, struct diag_list *diags)
{
    struct peer_networks networks = {0};
    struct error err;
    bool has_token = config->admin.token_file != NULL;
    process_check_listen("ingress.listen", &config->ingress.listen, diags);
    process_check_listen("ingress.tls_listen", &config->ingress.tls_listen, diags);
    process_check_admin(config->admin.listen, has_token, diags);
    process_check_pulse(config->pulse.listen,
                        has_token || config->agents.token_file != NULL || config->pulse.key_file != NULL, diags);
    process_check_store(config->store.location, diags);
    if (peer_networks_load(&networks, &config->ingress.trusted_peers, &err) != 0)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "%s", err.text);
    free(networks.items);
}

static void check(const struct gateway_config *config, struct diag_list *diags)
{
    enum log_level level;
    if (!option_is_name(config->name, "._:-", 63) || !option_is_name(config->datacenter, "._:-", 63))
        diag_add(diags, DIAG_ERROR, 0, 0, NULL,
                 "name and datacenter must be letters, digits and . _ : -, fewer than 64 of them");
    if (config->log.level == NULL || !log_level_parse(config->log.level, &level))
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "log.level must be error, warning, info or debug");
    if (config->ingress.tls_listen.count > 0 &&
        (config->ingress.tls_certificate == NULL || config->ingress.tls_key == NULL))
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "ingress.tls_listen needs ingress.tls_certificate and ingress.tls_key");
    if (config->ingress.listen.count + config->ingress.tls_listen.count == 0)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "ingress.listen and ingress.tls_listen are both empty");
    if (config->limits.uri > config->limits.head)
        diag_add(diags, DIAG_ERROR, 0, 0, NULL, "limits.uri must not be above limits.head");
    check_places(config, diags);
}

int gateway_config_load(const char *path, const char *const *overrides, struct gateway_config *config,
                        struct diag_list *diags)
{
    if (options_load_file(gateway_options, gateway_option_count, config, path, overrides, diags) == 0)
        check(config, diags);
    return diags->errors == 0 ? 0 : -1;
}
