/* SPDX-License-Identifier: Apache-2.0
 *
 * ldc-agent's own configuration: one row an option in config.c. Read and (the reloadable ones, at SIGHUP) written by
 * the one thread of the agent.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "common/options.h"
#include "common/store.h"

struct agent_config {
    char *name, *unit, *datacenter;
    struct {
        char *listen, *token_file;
    } admin;
    struct {
        char *location, *cache;
        struct store_access access;
    } store;
    struct {
        char *listen, *key_file;
    } pulse;
    struct {
        char *user, *password_file;
        int64_t timeout;
        bool must_be_durable;
        int64_t look_interval, replica_timeout;
    } broker;
    struct {
        struct option_strings brokers;
        int64_t interval;
    } guard;
    struct {
        int64_t concurrency, timeout, connect_timeout;
        int64_t window, window_bytes;
        int64_t backoff_min, backoff_max, park_after;
        int64_t stop_timeout;
    } delivery;
    struct {
        int64_t beat, ttl, release_timeout, listener_timeout;
    } lease;
    struct {
        int64_t max_body;
    } reply;
    struct {
        int64_t sample, max_entries, interval;
    } trace;
    struct {
        int64_t poll, near;
    } timers;
    struct {
        int64_t checks, longest_pause, check_timeout, concurrency;
    } transactions;
    struct {
        int64_t interval;
        char *path;
    } health;
    struct {
        char *level;
    } log;
};

/* Reads PATH (may be NULL) and OVERRIDES as options_load does, and checks what the rows cannot. Every fault goes to
 * DIAGS. */
int agent_config_load(const char *path, const char *const *overrides, struct agent_config *config,
                      struct diag_list *diags) MUST_CHECK;

extern const struct option agent_options[];
extern const size_t agent_option_count;

#endif
