/* SPDX-License-Identifier: Apache-2.0
 *
 * ldc-gateway's own configuration: one row an option in config.c. Read by every thread, written at start and (the
 * reloadable ones) by the control thread at SIGHUP, while all workers stand still.
 */
#ifndef GATEWAY_CONFIG_H
#define GATEWAY_CONFIG_H

#include "common/options.h"
#include "common/store.h"

struct gateway_config {
    char *name, *datacenter;
    int64_t threads;
    struct {
        struct option_strings listen;
        bool http2_clear;
        struct option_strings tls_listen;
        char *tls_certificate, *tls_key;
        struct option_strings trusted_peers;
    } ingress;
    struct {
        int64_t head, uri, body, bodies_total, connections, connections_each_peer;
        int64_t head_timeout, body_timeout, idle_timeout, send_timeout;
        int64_t requests_each_connection, in_flight_each_unit;
        int64_t http2_streams, http2_cancels, http2_frames;
    } limits;
    struct {
        int64_t items, bytes;
    } batch;
    struct {
        int64_t longest, near;
    } timers;
    struct {
        int64_t first_check, remember;
    } transactions;
    struct {
        int64_t timeout, commit_connections, commit_batch, memory_limit;
        bool must_be_durable;
        char *user, *password_file;
    } broker;
    struct {
        int64_t hold;
    } failover;
    struct {
        int64_t wait, core_wait;
    } collections;
    struct {
        int64_t max_wait;
    } reply;
    struct {
        int64_t clients, heartbeat;
    } watch;
    struct {
        int64_t connect_timeout, timeout, idle_timeout, idle_each_node, probe_interval, tunnel_timeout;
    } proxy;
    struct {
        char *listen, *token_file;
    } admin;
    struct {
        char *location, *cache;
        struct store_access access;
    } store;
    struct {
        char *token_file;
    } agents;
    struct {
        char *listen, *key_file;
    } pulse;
    struct {
        char *access, *level;
    } log;
    int64_t drain_timeout;
};

/* Fills CONFIG (zeroed) from the file at PATH (NULL: none), from OVERRIDES and from the presets, and checks what no
 * single row can. Faults go to DIAGS; -1 where there was one. Free with options_free() either way. */
int gateway_config_load(const char *path, const char *const *overrides, struct gateway_config *config,
                        struct diag_list *diags) MUST_CHECK;

extern const struct option gateway_options[];
extern const size_t gateway_option_count;

#endif
