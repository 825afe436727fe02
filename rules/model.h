/* SPDX-License-Identifier: Apache-2.0
 *
 * What the operator wrote: the rule file as typed structs, each value with its place. Nothing is resolved or compared
 * here; that is the compiler's work. The model owns its document and arrays; all texts and nodes borrow the document.
 */
#ifndef RULES_MODEL_H
#define RULES_MODEL_H

#include "rules/schema.h"

struct model_top {
    struct schema_number version;
    const struct yaml_node *identity, *sharding, *units, *failover, *topics, *collections, *overrides, *routes;
};

struct model_identity {
    const struct yaml_node *sources, *jwt;
    struct schema_number on_missing;
};

struct model_jwt {
    struct schema_number algorithm, leeway;
    struct schema_text key_file, issuer, audience;
};

struct model_sharding {
    struct schema_number hash, slots, non_numeric;
    struct schema_text salt;
};

struct model_nodes {
    const struct yaml_node *blue, *green;
};

struct model_weights {
    struct schema_number blue, green;
};

struct model_unit {
    struct schema_text name; /* its key */
    struct schema_number kind, max_in_flight, capacity_rps;
    struct schema_text datacenter, standby;
    const struct yaml_node *slots, *brokers, *agents, *node_mapping, *weight_mapping;
    struct model_nodes nodes;
    struct model_weights weights;
};

struct model_failover {
    struct schema_number automatic, gap, cooldown, window, clean, max_units, max_share;
};

struct model_subscription {
    struct schema_text name; /* its key */
    struct schema_number mode;
    const struct yaml_node *filter, *nodes;
};

struct model_retry {
    struct schema_number attempts;
    struct schema_numbers ladder, dead_statuses;
};

struct model_topic {
    struct schema_text name; /* its key */
    struct schema_number partitions, retention, idempotency_window, max_backlog;
    const struct yaml_node *subscription_mapping, *retry_mapping;
    struct model_subscription *subscriptions; /* owned by the model */
    size_t subscription_count;
    struct model_retry retry;
};

struct model_collection {
    struct schema_text name; /* its key */
    struct schema_number replication, staleness, when_stale, writers, digest, keep, feed, interval;
    struct schema_text push;
};

struct model_override {
    struct place at;
    bool names_users, names_prefix; /* rightly or not */
    const struct yaml_node *users;
    struct schema_text prefix, unit;
};

struct model_match {
    struct schema_text path;
    const struct yaml_node *methods;
};

struct model_route {
    struct place at;
    const struct yaml_node *match_mapping, *participants;
    struct model_match match;
    struct schema_number zone, action, durability, cross_unit, timeout, retries, max_body;
    struct schema_text topic;
};

struct model {
    struct yaml_doc *doc;
    struct model_top top;
    struct model_identity identity;
    struct model_jwt jwt;
    struct model_sharding sharding;
    struct model_failover failover;
    struct model_unit *units;
    struct model_topic *topics;
    struct model_collection *collections;
    struct model_override *overrides;
    struct model_route *routes;
    size_t unit_count, topic_count, collection_count, override_count, route_count;
    bool units_faulty; /* what the units say together cannot be judged */
};

/* False where TEXT is no YAML mapping at all; other faults leave a model that can still be looked through for more. */
bool model_read(struct model *model, struct str text, struct diag_list *diags);
void model_free(struct model *model);

/* Every schema of the file, top down; NULL-terminated. */
extern const struct schema *const model_schemas[];

/* Choices, in the order of their schema. */
enum model_kind {
    MODEL_KIND_A = 0,
    MODEL_KIND_B,
    MODEL_KIND_CORE,
};
enum model_zone {
    MODEL_ZONE_A = 0,
    MODEL_ZONE_B,
    MODEL_ZONE_C,
    MODEL_ZONE_CORE,
};
enum model_mode {
    MODEL_MODE_SHARED = 0,
    MODEL_MODE_BROADCAST,
};
enum model_action {
    MODEL_ACTION_PROXY = 0,
    MODEL_ACTION_QUEUE,
};

/* What a topic is that a route names and `topics` does not list; it owns nothing. */
struct model_topic model_topic_preset(struct schema_text name);

#endif
