/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/model.h"

#include <stdlib.h>

#include "common/measure.h"
#include "router/hash.h"
#include "router/table.h"

#define CHOICES(...)                                                                                                   \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
#define REQUIRED true
#define OPTIONAL false

#define AT(field) offsetof(struct model_top, field)
static const struct schema_key top_keys[] = {
    {"version", SCHEMA_NUMBER, AT(version), REQUIRED, 1, 1, NULL, NULL, "The version of this format."},
    {"identity", SCHEMA_MAPPING, AT(identity), OPTIONAL, 0, 0, NULL, NULL, "Where a request's user ID comes from."},
    {"sharding", SCHEMA_MAPPING, AT(sharding), REQUIRED, 0, 0, NULL, NULL, "How a user ID becomes a slot."},
    {"units", SCHEMA_MAPPING, AT(units), REQUIRED, 0, 1024, NULL, NULL,
     "The units by name: letters, digits, `-` and `_`, 64 at most."},
    {"failover", SCHEMA_MAPPING, AT(failover), OPTIONAL, 0, 0, NULL, NULL,
     "When gateways may move a failed unit to its standby by themselves."},
    {"topics", SCHEMA_MAPPING, AT(topics), OPTIONAL, 0, 1024, NULL, NULL,
     "The topics by name, where they differ from the defaults."},
    {"collections", SCHEMA_MAPPING, AT(collections), OPTIONAL, 0, 256, NULL, NULL,
     "The collections of global data by name: written in the core unit, read in every unit."},
    {"overrides", SCHEMA_LIST, AT(overrides), OPTIONAL, 0, 0, NULL, NULL, "Users who do not live where they hash to."},
    {"routes", SCHEMA_LIST, AT(routes), OPTIONAL, 0, 1000, NULL, NULL,
     "What happens to which request; the first route that matches wins."},
};
static const struct schema top_schema = {"The file", "the rule file", "A mapping with these keys.", top_keys,
                                         COUNT_OF(top_keys)};
#undef AT

#define AT(field) offsetof(struct model_identity, field)
static const struct schema_key identity_keys[] = {
    {"sources", SCHEMA_TEXTS, AT(sources), REQUIRED, 1, 16, NULL, NULL,
     "Tried in order, the first that yields a value wins: `header:NAME`, `cookie:NAME`, `query:NAME`, "
     "`path:/users/{uid}`, `json:/pointer/into/the/body`, `jwt:CLAIM`."},
    {"on_missing", SCHEMA_CHOICE, AT(on_missing), OPTIONAL, 0, 0, "reject", CHOICES("reject", "core", "local"),
     "What happens to a request for zone A or B without a user: it is refused, or goes to the core unit, or to the "
     "first "
     "unit of the route's zone in the gateway's own datacentre."},
    {"jwt", SCHEMA_MAPPING, AT(jwt), OPTIONAL, 0, 0, NULL, NULL,
     "How bearer tokens are checked; needed for `jwt:` sources."},
};
static const struct schema identity_schema = {"identity", "identity", "Where a request's user ID comes from.",
                                              identity_keys, COUNT_OF(identity_keys)};
#undef AT

#define AT(field) offsetof(struct model_jwt, field)
static const struct schema_key jwt_keys[] = {
    {"algorithm", SCHEMA_CHOICE, AT(algorithm), REQUIRED, 0, 0, NULL, CHOICES("HS256", "RS256", "ES256"),
     "The one signature algorithm that is accepted."},
    {"key_file", SCHEMA_TEXT, AT(key_file), REQUIRED, 0, 0, NULL, NULL,
     "File on each gateway: the secret's bytes for HS256, else a public key in PEM. SIGHUP reads it again."},
    {"issuer", SCHEMA_TEXT, AT(issuer), OPTIONAL, 0, 0, NULL, NULL,
     "What `iss` must be; not checked where it is not given."},
    {"audience", SCHEMA_TEXT, AT(audience), OPTIONAL, 0, 0, NULL, NULL,
     "What `aud` must be or hold; not checked where it is not given."},
    {"leeway", SCHEMA_DURATION, AT(leeway), OPTIONAL, 0, HOUR_MS, "60s", NULL,
     "How far clocks may be apart when `exp` and `nbf` are checked."},
};
static const struct schema jwt_schema = {"identity.jwt", "identity.jwt", "How bearer tokens are checked.", jwt_keys,
                                         COUNT_OF(jwt_keys)};
#undef AT

#define AT(field) offsetof(struct model_sharding, field)
static const struct schema_key sharding_keys[] = {
    {"hash", SCHEMA_CHOICE, AT(hash), REQUIRED, 0, 0, NULL, CHOICES("modulo", "crc16", "xxh3"),
     "`modulo`: the ID as an unsigned decimal number of any length; `crc16`: CRC-16/XMODEM with the `{tag}` rule of "
     "Redis "
     "Cluster; `xxh3`: XXH3 with 64 bits. Each is taken modulo `slots`."},
    {"slots", SCHEMA_NUMBER, AT(slots), REQUIRED, 1, HASH_MAX_SLOTS, NULL, NULL, "How many slots there are."},
    {"salt", SCHEMA_TEXT, AT(salt), OPTIONAL, 0, 0, NULL, NULL,
     "The seed of `xxh3` is the XXH3 of this text; 0 where it is not given."},
    {"non_numeric", SCHEMA_CHOICE, AT(non_numeric), OPTIONAL, 0, 0, "reject", CHOICES("reject", "xxh3"),
     "For `modulo`: what happens to an ID that is no number."},
};
static const struct schema sharding_schema = {"sharding", "sharding", "How a user ID becomes a slot.", sharding_keys,
                                              COUNT_OF(sharding_keys)};
#undef AT

#define AT(field) offsetof(struct model_unit, field)
static const struct schema_key unit_keys[] = {
    {"kind", SCHEMA_CHOICE, AT(kind), REQUIRED, 0, 0, NULL, CHOICES("A", "B", "C", "core"),
     "`A`: sharded by user; `B`: the long tail, isolated from A; `C`: global data, read nearby; `core`: work that "
     "spans "
     "units."},
    {"datacenter", SCHEMA_TEXT, AT(datacenter), OPTIONAL, 0, 0, NULL, NULL,
     "Where the unit stands: what `on_missing: local` and zone C go by, and standbys should differ in."},
    {"slots", SCHEMA_TEXTS, AT(slots), OPTIONAL, 0, HASH_MAX_SLOTS, NULL, NULL,
     "Slot ranges, inclusive on both ends: `[\"00-33\", \"50\"]`. Every slot is owned by exactly one A unit. B units "
     "list "
     "all slots between them, or none: then these are spread evenly, in runs."},
    {"standby", SCHEMA_TEXT, AT(standby), OPTIONAL, 0, 0, NULL, NULL,
     "The unit of the same kind that takes over, best in another datacentre."},
    {"brokers", SCHEMA_TEXTS, AT(brokers), OPTIONAL, 1, 8, NULL, NULL,
     "`redis://host:port`, the primary first. Credentials stand in the processes' own configuration."},
    {"agents", SCHEMA_TEXTS, AT(agents), OPTIONAL, 1, 16, NULL, NULL, "`http://host:port` of the unit's agents."},
    {"nodes", SCHEMA_MAPPING, AT(node_mapping), OPTIONAL, 0, 0, NULL, NULL, "The unit's HTTP nodes, by colour."},
    {"weights", SCHEMA_MAPPING, AT(weight_mapping), OPTIONAL, 0, 0, NULL, NULL,
     "How the unit's users share its colours; all go to blue (or to green, where only that has nodes) if not given."},
    {"max_in_flight", SCHEMA_NUMBER, AT(max_in_flight), OPTIONAL, 1, 10000000, NULL, NULL,
     "Requests in flight from one gateway to this unit, 503 beyond; the gateway's own limit where it is not given."},
    {"capacity_rps", SCHEMA_NUMBER, AT(capacity_rps), OPTIONAL, 1, 1000000000, NULL, NULL,
     "Requests a second that the unit can take: `ldcctl rules diff` shows the headroom, and a standby that would have "
     "to "
     "take more takes over no unit by itself."},
};
static const struct schema unit_schema = {"units.NAME", "a unit", "One unit.", unit_keys, COUNT_OF(unit_keys)};
#undef AT

#define AT(field) offsetof(struct model_nodes, field)
static const struct schema_key nodes_keys[] = {
    {"blue", SCHEMA_TEXTS, AT(blue), OPTIONAL, 1, 256, NULL, NULL, "`http://host:port` each."},
    {"green", SCHEMA_TEXTS, AT(green), OPTIONAL, 1, 256, NULL, NULL, "`http://host:port` each."},
};
static const struct schema nodes_schema = {"units.NAME.nodes", "nodes", "The unit's HTTP nodes, by colour.", nodes_keys,
                                           COUNT_OF(nodes_keys)};
#undef AT

#define AT(field) offsetof(struct model_weights, field)
static const struct schema_key weights_keys[] = {
    {"blue", SCHEMA_NUMBER, AT(blue), OPTIONAL, 0, 1000000, "0", NULL, "Blue's share, relative to green's."},
    {"green", SCHEMA_NUMBER, AT(green), OPTIONAL, 0, 1000000, "0", NULL,
     "Green's share. Raising it moves users from blue to green only; who is green already stays."},
};
static const struct schema weights_schema = {"units.NAME.weights", "weights",
                                             "How the unit's users share its colours; relative numbers.", weights_keys,
                                             COUNT_OF(weights_keys)};
#undef AT

#define AT(field) offsetof(struct model_topic, field)
static const struct schema_key topic_keys[] = {
    {"partitions", SCHEMA_NUMBER, AT(partitions), OPTIONAL, 1, 20000, "8", NULL,
     "Streams that the topic has in each unit; a user's messages all go through one of them."},
    {"retention", SCHEMA_DURATION, AT(retention), OPTIONAL, 0, 30 * DAY_MS, "5m", NULL,
     "How long messages stay in the broker after they were acknowledged."},
    {"idempotency_window", SCHEMA_DURATION, AT(idempotency_window), OPTIONAL, SECOND_MS, 7 * DAY_MS, "5m", NULL,
     "How long an `Idempotency-Key` is remembered: a repeat within it has the first one's answer and stores nothing."},
    {"max_backlog", SCHEMA_NUMBER, AT(max_backlog), OPTIONAL, 0, INT64_C(1000000000000), "0", NULL,
     "Messages of one partition that may wait for their slowest shared subscription, 503 beyond; 0: as many as the "
     "broker holds."},
    {"subscriptions", SCHEMA_MAPPING, AT(subscription_mapping), OPTIONAL, 1, 32, NULL, NULL,
     "Who the messages go to, by name; the one shared subscription `default` where it is not given."},
    {"retry", SCHEMA_MAPPING, AT(retry_mapping), OPTIONAL, 0, 0, NULL, NULL,
     "What becomes of a message that its node does not take."},
};
static const struct schema topic_schema = {"topics.NAME", "a topic",
                                           "One topic; one that a route names and that is not listed has the defaults.",
                                           topic_keys, COUNT_OF(topic_keys)};
#undef AT

#define AT(field) offsetof(struct model_subscription, field)
static const struct schema_key subscription_keys[] = {
    {"mode", SCHEMA_CHOICE, AT(mode), OPTIONAL, 0, 0, "shared", CHOICES("shared", "broadcast"),
     "`shared`: each message goes to one of the unit's agents; `broadcast`: to every one of them."},
    {"filter", SCHEMA_TEXTS, AT(filter), OPTIONAL, 1, 8, NULL, NULL,
     "Request headers, as `\"x-kind: refund\"`: only messages that have all of them are delivered."},
    {"nodes", SCHEMA_TEXTS, AT(nodes), OPTIONAL, 1, 64, NULL, NULL,
     "`http://host:port` each, in place of the unit's nodes of the message's colour."},
};
static const struct schema subscription_schema = {"topics.NAME.subscriptions.NAME", "a subscription",
                                                  "One reader of the topic, with a place of its own in each partition.",
                                                  subscription_keys, COUNT_OF(subscription_keys)};
#undef AT

#define AT(field) offsetof(struct model_retry, field)
static const struct schema_key retry_keys[] = {
    {"attempts", SCHEMA_NUMBER, AT(attempts), OPTIONAL, 1, 1000, "16", NULL,
     "Failed attempts after which a message goes to the dead letters."},
    {"ladder", SCHEMA_DURATIONS, AT(ladder), OPTIONAL, 1, 7 * DAY_MS, "10s, 30s, 1m, 2m, 5m, 10m, 20m, 30m, 1h, 2h",
     NULL, "The waits before the second attempt, the third and so on, each give or take 20 %; the last one goes on."},
    {"dead_statuses", SCHEMA_NUMBERS, AT(dead_statuses), OPTIONAL, 400, 599, "400, 410, 415, 422", NULL,
     "Answers that no retry can mend: the message goes to the dead letters at once. `[]`: there are none."},
};
static const struct schema retry_schema = {"topics.NAME.retry", "retry",
                                           "What becomes of a message that its node does not take.", retry_keys,
                                           COUNT_OF(retry_keys)};
#undef AT

#define AT(field) offsetof(struct model_collection, field)
static const struct schema_key collection_keys[] = {
    {"replication", SCHEMA_CHOICE, AT(replication), OPTIONAL, 0, 0, "bus", CHOICES("bus", "snapshot"),
     "How changes come to the units. `bus`: each one as it is written; `snapshot`: all that changed, at intervals."},
    {"interval", SCHEMA_DURATION, AT(interval), OPTIONAL, SECOND_MS, DAY_MS, "10m", NULL,
     "Between two snapshots; shorter than `keep`."},
    {"staleness", SCHEMA_DURATION, AT(staleness), OPTIONAL, 10, DAY_MS, "2s", NULL,
     "How far a unit's copy may be behind before `when_stale` holds."},
    {"when_stale", SCHEMA_CHOICE, AT(when_stale), OPTIONAL, 0, 0, "core", CHOICES("core", "serve", "refuse"),
     "What becomes of a read then. `core`: the core unit is asked; `serve`: the old value, with a `Warning`; `refuse`: "
     "503."},
    {"writers", SCHEMA_CHOICE, AT(writers), OPTIONAL, 0, 0, "trusted", CHOICES("trusted", "any"),
     "Who may write over HTTP. `trusted`: the gateway's `ingress.trusted_peers`; `any`: whoever gets there."},
    {"digest", SCHEMA_DURATION, AT(digest), OPTIONAL, 100, DAY_MS, "10s", NULL,
     "How often all copies are compared with the origin, and each copy with itself. A wrong value is found within this "
     "time."},
    {"keep", SCHEMA_DURATION, AT(keep), OPTIONAL, 60 * SECOND_MS, 7 * DAY_MS, "1h", NULL,
     "How long changes wait for a unit that is away; one that is away for longer copies everything anew."},
    {"feed", SCHEMA_NUMBER, AT(feed), OPTIONAL, 1000, 100000000, "100000", NULL,
     "The last so many changes stay readable for who watches the collection and was away."},
    {"push", SCHEMA_TEXT, AT(push), OPTIONAL, 0, 0, NULL, NULL,
     "`http://host:port/path` that each unit's agent posts changes to."},
};
static const struct schema collection_schema = {
    "collections.NAME", "a collection",
    "Global data: values by key, written in the core unit and copied to every unit.", collection_keys,
    COUNT_OF(collection_keys)};
#undef AT

#define AT(field) offsetof(struct model_override, field)
static const struct schema_key override_keys[] = {
    {"users", SCHEMA_TEXTS, AT(users), OPTIONAL, 1, 0, NULL, NULL, "These users exactly; comes before any prefix."},
    {"prefix", SCHEMA_TEXT, AT(prefix), OPTIONAL, 0, 0, NULL, NULL,
     "All users whose ID begins with this; the longest prefix wins."},
    {"unit", SCHEMA_TEXT, AT(unit), REQUIRED, 0, 0, NULL, NULL,
     "Where they live. An A unit or the core for zone A, a B unit for zone B."},
};
static const struct schema override_schema = {"overrides[]", "an override",
                                              "Either `users` or `prefix`, looked up before any hash.", override_keys,
                                              COUNT_OF(override_keys)};
#undef AT

#define AT(field) offsetof(struct model_route, field)
static const struct schema_key route_keys[] = {
    {"match", SCHEMA_MAPPING, AT(match_mapping), REQUIRED, 0, 0, NULL, NULL, "Which requests."},
    {"zone", SCHEMA_CHOICE, AT(zone), REQUIRED, 0, 0, NULL, CHOICES("A", "B", "C", "core"),
     "`A` and `B`: the user's unit of that kind; `C`: global data, from the C unit of the gateway's datacentre or else "
     "the "
     "first; `core`: the core unit."},
    {"action", SCHEMA_CHOICE, AT(action), OPTIONAL, 0, 0, "proxy", CHOICES("proxy", "queue"),
     "Forward to an HTTP node of the unit, or store in the unit's broker and answer 202. Zone C without an action: the "
     "gateway's own collections."},
    {"topic", SCHEMA_TEXT, AT(topic), OPTIONAL, 0, 0, NULL, NULL, "The topic of a queue route."},
    {"durability", SCHEMA_CHOICE, AT(durability), OPTIONAL, 0, 0, "auto",
     CHOICES("auto", "replicated", "local", "available", "quorum"),
     "What holds before a message is accepted. `replicated`: it is on the disks of the primary and of every in-sync "
     "replica; `local`: on the primary's; `available`: `replicated` as long as a replica is in sync, else `local`; "
     "`quorum`: as `replicated`, by a majority of the unit's brokers at least; `auto`: `quorum` in core units with "
     "three brokers or more, as `available` in other units with more than one, `local` in the others."},
    {"participants", SCHEMA_TEXTS, AT(participants), OPTIONAL, 1, ROUTE_MAX_PARTICIPANTS, NULL, NULL,
     "Sources, as in `identity`, of the other users that a queued request touches."},
    {"cross_unit", SCHEMA_CHOICE, AT(cross_unit), OPTIONAL, 0, 0, "reject", CHOICES("reject", "core"),
     "What happens where user and participants live in different units: 409, or to the core unit."},
    {"timeout", SCHEMA_DURATION, AT(timeout), OPTIONAL, 1, DAY_MS, NULL, NULL,
     "How long the node's or the broker's answer may take; the gateway's own limit where it is not given."},
    {"retries", SCHEMA_NUMBER, AT(retries), OPTIONAL, 0, 10, "1", NULL,
     "How often a safe request is tried again on another node of the same unit."},
    {"max_body", SCHEMA_SIZE, AT(max_body), OPTIONAL, 1, 64 * GIB, NULL, NULL,
     "Longest request body, 413 beyond; the gateway's own limit where it is not given."},
};
static const struct schema route_schema = {"routes[]", "a route", "What happens to which request.", route_keys,
                                           COUNT_OF(route_keys)};
#undef AT

#define AT(field) offsetof(struct model_match, field)
static const struct schema_key match_keys[] = {
    {"path", SCHEMA_TEXT, AT(path), REQUIRED, 0, 0, NULL, NULL,
     "The decoded path without its query: `/pay/*`. A star stands for one segment, at the end for any rest."},
    {"methods", SCHEMA_TEXTS, AT(methods), OPTIONAL, 1, 16, NULL, NULL,
     "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS; any method where it is not given."},
};
static const struct schema match_schema = {"routes[].match", "match", "Which requests a route takes.", match_keys,
                                           COUNT_OF(match_keys)};
#undef AT

#define AT(field) offsetof(struct model_failover, field)
static const struct schema_key failover_keys[] = {
    {"auto", SCHEMA_CHOICE, AT(automatic), OPTIONAL, 0, 0, "true", CHOICES("false", "true"),
     "Whether they may at all; operators always may."},
    {"gap", SCHEMA_DURATION, AT(gap), OPTIONAL, 20, 10 * SECOND_MS, "40ms", NULL,
     "A broker that nobody has heard of for so long is suspected. Shorter finds failures sooner, and is misled "
     "sooner; from `broker.replica_timeout` on, nobody can take over."},
    {"cooldown", SCHEMA_DURATION, AT(cooldown), OPTIONAL, 0, DAY_MS, "10m", NULL,
     "Between two automatic failovers of the same unit."},
    {"window", SCHEMA_DURATION, AT(window), OPTIONAL, 1 * SECOND_MS, DAY_MS, "60s", NULL,
     "The time in which `max_units` and `max_share` count; whoever would be moved beyond them stays, and an alarm is "
     "raised."},
    {"max_units", SCHEMA_NUMBER, AT(max_units), OPTIONAL, 1, 1024, "1", NULL,
     "So many units may be moved within the window,"},
    {"max_share", SCHEMA_NUMBER, AT(max_share), OPTIONAL, 0, 100, "34", NULL,
     "or this share of all units, in percent and rounded down, where that is more."},
    {"clean", SCHEMA_DURATION, AT(clean), OPTIONAL, 0, HOUR_MS, "3s", NULL,
     "A broker that was unwell may take over a unit when it was well for so long."},
};
static const struct schema failover_schema = {"failover", "failover",
                                              "When gateways may move a failed unit to its standby by themselves.",
                                              failover_keys, COUNT_OF(failover_keys)};
#undef AT

const struct schema *const model_schemas[] = {
    &top_schema,      &identity_schema,     &jwt_schema,     &sharding_schema,
    &unit_schema,     &nodes_schema,        &weights_schema, &failover_schema,
    &topic_schema,    &subscription_schema, &retry_schema,   &collection_schema,
    &override_schema, &route_schema,        &match_schema,   NULL};

static void read_identity(struct model *model, struct diag_list *diags)
{
    if (model->top.identity == NULL)
        return;
    schema_read(&identity_schema, model->top.identity, &model->identity, diags);
    if (model->identity.jwt != NULL)
        schema_read(&jwt_schema, model->identity.jwt, &model->jwt, diags);
}

static void read_units(struct model *model, struct diag_list *diags)
{
    const struct yaml_node *units = model->top.units;
    size_t errors = diags->errors;
    model->unit_count = units ? units->count : 0;
    model->units = mem_calloc(model->unit_count, sizeof(*model->units));
    for (size_t i = 0; i < model->unit_count; i++) {
        struct model_unit *unit = &model->units[i];
        unit->name = (struct schema_text){units->keys[i].text, place_of(&units->keys[i])};
        schema_read(&unit_schema, &units->items[i], unit, diags);
        if (unit->node_mapping != NULL)
            schema_read(&nodes_schema, unit->node_mapping, &unit->nodes, diags);
        if (unit->weight_mapping != NULL)
            schema_read(&weights_schema, unit->weight_mapping, &unit->weights, diags);
    }
    model->units_faulty = units == NULL || diags->errors > errors;
}

static void read_failover(struct model *model, struct diag_list *diags)
{
    static const struct yaml_node empty = {.kind = YAML_MAPPING};
    schema_read(&failover_schema, model->top.failover ? model->top.failover : &empty, &model->failover, diags);
}

static void read_topic(const struct yaml_node *node, struct model_topic *topic, struct diag_list *diags)
{
    static const struct yaml_node empty = {.kind = YAML_MAPPING};
    schema_read(&topic_schema, node, topic, diags);
    schema_read(&retry_schema, topic->retry_mapping ? topic->retry_mapping : &empty, &topic->retry, diags);
    const struct yaml_node *mapping = topic->subscription_mapping;
    topic->subscription_count = mapping ? mapping->count : 0;
    topic->subscriptions =
        topic->subscription_count == 0 ? NULL : mem_calloc(topic->subscription_count, sizeof(*topic->subscriptions));
    for (size_t i = 0; i < topic->subscription_count; i++) {
        topic->subscriptions[i].name = (struct schema_text){mapping->keys[i].text, place_of(&mapping->keys[i])};
        schema_read(&subscription_schema, &mapping->items[i], &topic->subscriptions[i], diags);
    }
}

static void read_topics(struct model *model, struct diag_list *diags)
{
    const struct yaml_node *topics = model->top.topics;
    model->topic_count = topics ? topics->count : 0;
    model->topics = mem_calloc(model->topic_count, sizeof(*model->topics));
    for (size_t i = 0; i < model->topic_count; i++) {
        model->topics[i].name = (struct schema_text){topics->keys[i].text, place_of(&topics->keys[i])};
        read_topic(&topics->items[i], &model->topics[i], diags);
    }
}

struct model_topic model_topic_preset(struct schema_text name)
{
    static const struct yaml_node empty = {.kind = YAML_MAPPING};
    struct model_topic topic = {.name = name};
    read_topic(&empty, &topic, NULL);
    return topic;
}

static void read_collections(struct model *model, struct diag_list *diags)
{
    const struct yaml_node *collections = model->top.collections;
    model->collection_count = collections ? collections->count : 0;
    model->collections = mem_calloc(model->collection_count, sizeof(*model->collections));
    for (size_t i = 0; i < model->collection_count; i++) {
        model->collections[i].name = (struct schema_text){collections->keys[i].text, place_of(&collections->keys[i])};
        schema_read(&collection_schema, &collections->items[i], &model->collections[i], diags);
    }
}

static void read_overrides(struct model *model, struct diag_list *diags)
{
    const struct yaml_node *overrides = model->top.overrides;
    model->override_count = overrides ? overrides->count : 0;
    model->overrides = mem_calloc(model->override_count, sizeof(*model->overrides));
    for (size_t i = 0; i < model->override_count; i++) {
        model->overrides[i].at = place_of(&overrides->items[i]);
        model->overrides[i].names_users = yaml_get(&overrides->items[i], "users") != NULL;
        model->overrides[i].names_prefix = yaml_get(&overrides->items[i], "prefix") != NULL;
        schema_read(&override_schema, &overrides->items[i], &model->overrides[i], diags);
    }
}

static void read_routes(struct model *model, struct diag_list *diags)
{
    const struct yaml_node *routes = model->top.routes;
    model->route_count = routes ? routes->count : 0;
    model->routes = mem_calloc(model->route_count, sizeof(*model->routes));
    for (size_t i = 0; i < model->route_count; i++) {
        model->routes[i].at = place_of(&routes->items[i]);
        schema_read(&route_schema, &routes->items[i], &model->routes[i], diags);
        if (model->routes[i].match_mapping != NULL)
            schema_read(&match_schema, model->routes[i].match_mapping, &model->routes[i].match, diags);
    }
}

bool model_read(struct model *model, struct str text, struct diag_list *diags)
{
    *model = (struct model){.doc = yaml_doc_parse(text.base ? text.base : "", text.len, diags)};
    if (model->doc == NULL || !schema_read(&top_schema, yaml_doc_root(model->doc), &model->top, diags))
        return false;
    read_identity(model, diags);
    if (model->top.sharding != NULL)
        schema_read(&sharding_schema, model->top.sharding, &model->sharding, diags);
    read_units(model, diags);
    read_failover(model, diags);
    read_topics(model, diags);
    read_collections(model, diags);
    read_overrides(model, diags);
    read_routes(model, diags);
    return true;
}

void model_free(struct model *model)
{
    for (size_t i = 0; i < model->topic_count; i++)
        free(model->topics[i].subscriptions);
    free(model->units);
    free(model->topics);
    free(model->collections);
    free(model->overrides);
    free(model->routes);
    yaml_doc_destroy(&model->doc);
}
