/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/facets.h"

#include <inttypes.h>

#include "common/measure.h"
#include "router/table_index.h"

/* One aspect of an item; two items differ where their texts do. */
struct facet {
    const char *name;
    void (*print)(const struct table *table, const void *item, struct buf *out);
};

/* Items of a table that are found again in another table by what `same` says. */
struct family {
    const char *noun;
    uint32_t (*count)(const struct table *table);
    const void *(*item)(const struct table *table, uint32_t i);
    bool (*same)(const void *a, const void *b);
    void (*print_key)(const void *item, struct buf *out);
    const struct facet *facets;
    size_t facet_count;
};

static void print_list(const struct str *items, uint32_t count, struct buf *out)
{
    for (uint32_t i = 0; i < count; i++)
        buf_printf(out, "%s%.*s", i > 0 ? " " : "", STR_ARG(items[i]));
}

static void print_sources(const struct source *sources, uint32_t count, struct buf *out)
{
    for (uint32_t i = 0; i < count; i++)
        buf_printf(out, "%s%.*s", i > 0 ? " " : "", STR_ARG(sources[i].text));
}

#define PRINTER(name, type, ...)                                                                                       \
    static void print_##name(const struct table *table, const void *item, struct buf *out)                             \
    {                                                                                                                  \
        const struct type *it = item;                                                                                  \
        (void)table;                                                                                                   \
        __VA_ARGS__;                                                                                                   \
    }

static void print_count(uint64_t value, const char *noun, struct buf *out)
{
    if (value > 0)
        buf_printf(out, "%llu%s", (unsigned long long)value, noun);
}

/* --- units --- */

PRINTER(kind, table_unit, buf_printf(out, "%s", zone_name(it->kind)))
PRINTER(datacenter, table_unit, buf_append_str(out, it->datacenter))
PRINTER(standby, table_unit, if (it->standby != NO_UNIT) buf_append_str(out, table->units[it->standby].name))
PRINTER(brokers, table_unit, print_list(it->brokers, it->broker_count, out))
PRINTER(agents, table_unit, print_list(it->agents, it->agent_count, out))
PRINTER(blue, table_unit, print_list(it->nodes[COLOR_BLUE].urls, it->nodes[COLOR_BLUE].count, out))
PRINTER(green, table_unit, print_list(it->nodes[COLOR_GREEN].urls, it->nodes[COLOR_GREEN].count, out))
PRINTER(weights, table_unit, buf_printf(out, "blue %u, green %u", it->weights[COLOR_BLUE], it->weights[COLOR_GREEN]))
PRINTER(in_flight, table_unit, print_count(it->max_in_flight, "", out))
PRINTER(capacity, table_unit, print_count((uint64_t)it->capacity_rps, "", out))

static const struct facet unit_facets[] = {
    {"kind", print_kind},
    {"datacenter", print_datacenter},
    {"standby", print_standby},
    {"brokers", print_brokers},
    {"agents", print_agents},
    {"blue nodes", print_blue},
    {"green nodes", print_green},
    {"weights", print_weights},
    {"max_in_flight", print_in_flight},
    {"capacity_rps", print_capacity},
};

static uint32_t unit_count(const struct table *table)
{
    return table->unit_count;
}

static const void *unit_item(const struct table *table, uint32_t i)
{
    return &table->units[i];
}

static bool unit_same(const void *a, const void *b)
{
    return str_equal(((const struct table_unit *)a)->name, ((const struct table_unit *)b)->name);
}

static void unit_key(const void *item, struct buf *out)
{
    buf_append_str(out, ((const struct table_unit *)item)->name);
}

/* --- topics --- */

PRINTER(partitions, table_topic, print_count(it->partitions, "", out))
PRINTER(retention, table_topic, buf_printf(out, "%lldms", (long long)it->retention_ms))

PRINTER(window, table_topic, buf_printf(out, "%lldms", (long long)it->idempotency_window_ms))
PRINTER(backlog, table_topic, print_count(it->max_backlog, "", out))
PRINTER(attempts, table_topic, buf_printf(out, "%u", it->retry.attempts))
PRINTER(ladder, table_topic,
        for (uint32_t i = 0; i < it->retry.ladder_count; i++)
            buf_printf(out, "%s%lldms", i > 0 ? " " : "", (long long)it->retry.ladder_ms[i]))
PRINTER(dead_statuses, table_topic,
        for (uint32_t i = 0; i < it->retry.dead_status_count; i++)
            buf_printf(out, "%s%u", i > 0 ? " " : "", it->retry.dead_statuses[i]))

static void print_subscription(const struct table_subscription *subscription, struct buf *out)
{
    buf_printf(out, "%.*s %s", STR_ARG(subscription->name), subscription->broadcast ? "broadcast" : "shared");
    for (uint32_t i = 0; i < subscription->filter_count; i++)
        buf_printf(out, "%s%.*s", i > 0 ? ", " : " where ", STR_ARG(subscription->filter[i]));
    if (subscription->node_count > 0)
        buf_printf(out, " to ");
    print_list(subscription->nodes, subscription->node_count, out);
}

PRINTER(
    subscriptions, table_topic, for (uint32_t i = 0; i < it->subscription_count; i++) {
        buf_printf(out, "%s", i > 0 ? "; " : "");
        print_subscription(&it->subscriptions[i], out);
    })

static const struct facet topic_facets[] = {
    {"partitions", print_partitions}, {"retention", print_retention},         {"idempotency_window", print_window},
    {"max_backlog", print_backlog},   {"subscriptions", print_subscriptions}, {"attempts", print_attempts},
    {"ladder", print_ladder},         {"dead_statuses", print_dead_statuses},
};

static uint32_t topic_count(const struct table *table)
{
    return table->topic_count;
}

static const void *topic_item(const struct table *table, uint32_t i)
{
    return &table->topics[i];
}

static bool topic_same(const void *a, const void *b)
{
    return str_equal(((const struct table_topic *)a)->name, ((const struct table_topic *)b)->name);
}

static void topic_key(const void *item, struct buf *out)
{
    buf_append_str(out, ((const struct table_topic *)item)->name);
}

/* --- collections --- */

PRINTER(replication, table_collection, buf_printf(out, "%s", replication_name(it->replication)))
PRINTER(interval, table_collection, buf_printf(out, "%" PRId64 "ms", it->interval_ms))
PRINTER(staleness, table_collection, buf_printf(out, "%" PRId64 "ms", it->staleness_ms))
PRINTER(when_stale, table_collection, buf_printf(out, "%s", stale_name(it->when_stale)))
PRINTER(writers, table_collection, buf_printf(out, "%s", writers_name(it->writers)))
PRINTER(digest, table_collection, buf_printf(out, "%" PRId64 "ms", it->digest_ms))
PRINTER(keep, table_collection, buf_printf(out, "%" PRId64 "ms", it->keep_ms))
PRINTER(feed, table_collection, print_count(it->feed, "", out))
PRINTER(push, table_collection, buf_append_str(out, it->push))

static const struct facet collection_facets[] = {
    {"replication", print_replication},
    {"interval", print_interval},
    {"staleness", print_staleness},
    {"when_stale", print_when_stale},
    {"writers", print_writers},
    {"digest", print_digest},
    {"keep", print_keep},
    {"feed", print_feed},
    {"push", print_push},
};

static uint32_t collection_count(const struct table *table)
{
    return table->collection_count;
}

static const void *collection_item(const struct table *table, uint32_t i)
{
    return &table->collections[i];
}

static bool collection_same(const void *a, const void *b)
{
    return str_equal(((const struct table_collection *)a)->name, ((const struct table_collection *)b)->name);
}

static void collection_key(const void *item, struct buf *out)
{
    buf_append_str(out, ((const struct table_collection *)item)->name);
}

/* --- routes --- */

PRINTER(zone, table_route, buf_printf(out, "%s", zone_name(it->zone)))
PRINTER(action, table_route, buf_printf(out, "%s", action_name(it->action)))
PRINTER(topic, table_route, if (it->action == ACTION_QUEUE) buf_append_str(out, table->topics[it->topic].name))
PRINTER(durability, table_route, buf_printf(out, "%s", durability_name(it->durability)))
PRINTER(participants, table_route, print_sources(it->participants, it->participant_count, out))
PRINTER(cross_unit, table_route, buf_printf(out, it->cross_unit == CROSS_CORE ? "core" : "reject"))
PRINTER(timeout, table_route, print_count((uint64_t)it->timeout_ms, "ms", out))
PRINTER(retries, table_route, buf_printf(out, "%u", it->retries))
PRINTER(max_body, table_route, print_count(it->max_body, "", out))

static const struct facet route_facets[] = {
    {"zone", print_zone},
    {"action", print_action},
    {"topic", print_topic},
    {"durability", print_durability},
    {"participants", print_participants},
    {"cross_unit", print_cross_unit},
    {"timeout", print_timeout},
    {"retries", print_retries},
    {"max_body", print_max_body},
};

static uint32_t route_count(const struct table *table)
{
    return table->route_count;
}

static const void *route_item(const struct table *table, uint32_t i)
{
    return &table->routes[i];
}

static bool route_same(const void *a, const void *b)
{
    const struct table_route *left = a, *right = b;
    return left->methods == right->methods && str_equal(left->path, right->path);
}

static void route_key(const void *item, struct buf *out)
{
    const struct table_route *route = item;
    uint32_t bit = 1;
#define PRINT_METHOD(name)                                                                                             \
    if ((route->methods & bit) != 0)                                                                                   \
        buf_printf(out, "%s ", #name);                                                                                 \
    bit <<= 1;
    TABLE_METHODS(PRINT_METHOD)
#undef PRINT_METHOD
    buf_append_str(out, route->path);
}

/* --- the whole --- */

static void print_hash(const struct table *table, const void *item, struct buf *out)
{
    static const char *const names[] = {[HASH_MODULO] = "modulo", [HASH_CRC16] = "crc16", [HASH_XXH3] = "xxh3"};
    (void)item;
    buf_printf(out, "%s, %u slots%s%s", names[table->hash.kind], table->hash.slots,
               table->hash.seed != 0 ? ", salted" : "", table->hash.non_numeric_xxh3 ? ", non_numeric: xxh3" : "");
}

static void print_identity(const struct table *table, const void *item, struct buf *out)
{
    (void)item;
    print_sources(table->sources, table->source_count, out);
}

static void print_missing(const struct table *table, const void *item, struct buf *out)
{
    static const char *const names[] = {
        [MISSING_REJECT] = "reject", [MISSING_CORE] = "core", [MISSING_LOCAL] = "local"};
    (void)item;
    buf_printf(out, "%s", names[table->on_missing]);
}

static void print_jwt(const struct table *table, const void *item, struct buf *out)
{
    static const char *const names[] = {
        [JWT_NONE] = "", [JWT_HS256] = "HS256", [JWT_RS256] = "RS256", [JWT_ES256] = "ES256"};
    (void)item;
    if (table->jwt.algorithm != JWT_NONE)
        buf_printf(out, "%s key_file %.*s issuer \"%.*s\" audience \"%.*s\" leeway %llds", names[table->jwt.algorithm],
                   STR_ARG(table->jwt.key_file), STR_ARG(table->jwt.issuer), STR_ARG(table->jwt.audience),
                   (long long)table->jwt.leeway_s);
}

static void print_failover(const struct table *table, const void *item, struct buf *out)
{
    const struct table_failover *failover = &table->failover;
    (void)item;
    buf_printf(out,
               "%s, gap %" PRId64 "ms, cooldown %" PRId64 "ms, at most %u units or %u%% in %" PRId64
               "ms, clean for %" PRId64 "ms",
               failover->automatic ? "automatic" : "by operators", failover->gap_ms, failover->cooldown_ms,
               failover->max_units, failover->max_share, failover->window_ms, failover->clean_ms);
}

static const struct facet table_facets[] = {{"hash", print_hash},
                                            {"sources", print_identity},
                                            {"on_missing", print_missing},
                                            {"jwt", print_jwt},
                                            {"failover", print_failover}};

enum {
    UNITS = 0,
    TOPICS,
    COLLECTIONS,
    ROUTES,
};

static const struct family families[] = {
    [UNITS] = {"unit", unit_count, unit_item, unit_same, unit_key, unit_facets, COUNT_OF(unit_facets)},
    [TOPICS] = {"topic", topic_count, topic_item, topic_same, topic_key, topic_facets, COUNT_OF(topic_facets)},
    [COLLECTIONS] = {"collection", collection_count, collection_item, collection_same, collection_key,
                     collection_facets, COUNT_OF(collection_facets)},
    [ROUTES] = {"route", route_count, route_item, route_same, route_key, route_facets, COUNT_OF(route_facets)},
};

/* An item of both tables. */
struct pair {
    const struct table *before, *after;
    const void *old, *new;
    struct str label;
};

static void compare_facets(const struct pair *pair, const struct facet *facets, size_t count, struct buf *out)
{
    struct buf old = {NULL, 0, 0}, new = {NULL, 0, 0};
    for (size_t i = 0; i < count; i++) {
        old.len = new.len = 0;
        facets[i].print(pair->before, pair->old, &old);
        facets[i].print(pair->after, pair->new, &new);
        if (!str_equal(buf_str(&old), buf_str(&new)))
            buf_printf(out, "%.*s: %s %.*s -> %.*s\n", STR_ARG(pair->label), facets[i].name,
                       old.len > 0 ? (int)old.len : 4, old.len > 0 ? old.base : "none", new.len > 0 ? (int)new.len : 4,
                       new.len > 0 ? new.base : "none");
    }
    buf_free(&old);
    buf_free(&new);
}

static const void *find(const struct family *family, const struct table *table, const void *item)
{
    for (uint32_t i = 0; i < family->count(table); i++)
        if (family->same(family->item(table, i), item))
            return family->item(table, i);
    return NULL;
}

static void print_label(const struct family *family, const void *item, struct buf *label)
{
    label->len = 0;
    buf_printf(label, "%s ", family->noun);
    family->print_key(item, label);
}

static void compare_family(const struct family *family, const struct table *before, const struct table *after,
                           struct buf *out)
{
    struct buf label = {NULL, 0, 0};
    for (uint32_t i = 0; i < family->count(before); i++) {
        struct pair pair = {before, after, family->item(before, i), NULL, {NULL, 0}};
        print_label(family, pair.old, &label);
        pair.label = buf_str(&label);
        if ((pair.new = find(family, after, pair.old)) != NULL)
            compare_facets(&pair, family->facets, family->facet_count, out);
        else
            buf_printf(out, "%s: gone\n", label.base);
    }
    for (uint32_t i = 0; i < family->count(after); i++) {
        const void *item = family->item(after, i);
        print_label(family, item, &label);
        if (find(family, before, item) == NULL)
            buf_printf(out, "%s: added\n", label.base);
    }
    buf_free(&label);
}

/* Routes are tried in order, so the order of those that stayed is a difference too. */
static bool order_changed(const struct table *before, const struct table *after)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < after->route_count; i++) {
        const struct table_route *old = find(&families[ROUTES], before, &after->routes[i]);
        if (old == NULL)
            continue;
        if ((uint32_t)(old - before->routes) < next)
            return true;
        next = (uint32_t)(old - before->routes);
    }
    return false;
}

/* How the overrides of AFTER were before. */
struct override_count {
    const struct table *before, *after;
    const struct name_index *old;
    uint32_t kept, elsewhere;
};

static void count_override(void *arg, const struct name_record *record)
{
    struct override_count *count = arg;
    const struct name_record *twin = name_index_find(count->old, name_record_text(record));
    if (twin == NULL)
        return;
    count->kept++;
    count->elsewhere += !unit_same(&count->before->units[twin->unit], &count->after->units[record->unit]);
}

static void compare_overrides(const char *noun, struct override_count count, const struct name_index *new,
                              struct buf *out)
{
    name_index_each(new, count_override, &count);
    if (count.kept < new->count || count.kept < count.old->count || count.elsewhere > 0)
        buf_printf(out, "overrides of %s: %u added, %u gone, %u lead elsewhere\n", noun, new->count - count.kept,
                   count.old->count - count.kept, count.elsewhere);
}

static void compare_zone_b(const struct table *before, const struct table *after, struct buf *out)
{
    const uint16_t *old = before->slots[ZONE_B].units, *new = after->slots[ZONE_B].units;
    uint32_t moved = 0;
    if (old == NULL || new == NULL || before->hash.slots != after->hash.slots)
        return;
    for (uint32_t slot = 0; slot < after->hash.slots; slot++)
        moved += !str_equal(before->units[old[slot]].name, after->units[new[slot]].name);
    if (moved > 0)
        buf_printf(out, "zone B: %u of %u slots move\n", moved, after->hash.slots);
}

void facets_compare(const struct table *before, const struct table *after, struct buf *out)
{
    struct pair whole = {before, after, before, after, STR_LIT("rules")};
    compare_facets(&whole, table_facets, COUNT_OF(table_facets), out);
    for (size_t i = 0; i < COUNT_OF(families); i++)
        compare_family(&families[i], before, after, out);
    if (order_changed(before, after))
        buf_printf(out, "routes: their order changed\n");
    struct override_count users = {before, after, &before->index->users, 0, 0};
    struct override_count prefixes = {before, after, &before->index->prefixes, 0, 0};
    compare_overrides("users", users, &after->index->users, out);
    compare_overrides("prefixes", prefixes, &after->index->prefixes, out);
    compare_zone_b(before, after, out);
}
