/* SPDX-License-Identifier: Apache-2.0 */
#include "router/table.h"

#include <stdlib.h>

#include "router/table_index.h"

struct table *table_create(void)
{
    struct table *table = mem_calloc(1, sizeof(*table));
    table->index = mem_calloc(1, sizeof(*table->index));
    atomic_init(&table->index->references, 1);
    table->core_unit = NO_UNIT;
    return table;
}

void table_seal(struct table *table)
{
    struct table_index *index = table->index;
    table->override_count = index->users.count + index->prefixes.count;
    table->bytes = sizeof(*table) + sizeof(*index) + index->arena.bytes + name_index_bytes(&index->users) +
                   name_index_bytes(&index->prefixes);
}

void table_ref(struct table *table)
{
    atomic_fetch_add_explicit(&table->index->references, 1, memory_order_relaxed);
}

void table_unref(struct table **table)
{
    struct table *gone = *table;
    *table = NULL;
    if (gone == NULL || atomic_fetch_sub_explicit(&gone->index->references, 1, memory_order_acq_rel) > 1)
        return;
    name_index_free(&gone->index->users);
    name_index_free(&gone->index->prefixes);
    arena_free(&gone->index->arena);
    free(gone->index);
    free(gone);
}

static uint32_t method_bit(struct str method)
{
    uint32_t bit = 1;
#define METHOD_BIT(name)                                                                                               \
    if (str_equal(method, STR_LIT(#name)))                                                                             \
        return bit;                                                                                                    \
    bit <<= 1;
    TABLE_METHODS(METHOD_BIT)
#undef METHOD_BIT
    return 0;
}

enum verdict table_match(const struct table *table, struct str method, struct str path, uint32_t *route)
{
    uint32_t bit = method_bit(method);
    uint64_t word = pattern_word(path);
    enum verdict verdict = VERDICT_NO_ROUTE;
    for (uint32_t i = 0; i < table->route_count; i++) {
        const struct pattern *pattern = &table->index->patterns[i];
        if (!pattern_may_match(pattern, word) || !pattern_match(pattern, path))
            continue;
        if (table->routes[i].methods == 0 || (table->routes[i].methods & bit) != 0) {
            *route = i;
            return VERDICT_OK;
        }
        verdict = VERDICT_METHOD_NOT_ALLOWED;
    }
    return verdict;
}

/* Zone A's users may be pinned to the core: it is there for work that spans units. */
static bool serves(const struct table *table, const struct name_record *record, enum zone zone)
{
    enum zone kind = table->units[record->unit].kind;
    return kind == zone || (kind == ZONE_CORE && zone == ZONE_A);
}

static const struct name_record *find_prefix(const struct table *table, enum zone zone, struct str user)
{
    const struct table_index *index = table->index;
    unsigned char first = (unsigned char)user.base[0];
    if ((index->prefix_heads[first / 64] >> first % 64 & 1) == 0)
        return NULL;
    for (uint32_t i = 0; i < index->prefix_length_count; i++) {
        size_t len = index->prefix_lengths[i];
        if (len > user.len)
            continue;
        const struct name_record *record = name_index_find(&index->prefixes, (struct str){user.base, len});
        if (record != NULL && serves(table, record, zone))
            return record;
    }
    return NULL;
}

static bool place_by_override(const struct table *table, enum zone zone, struct str user, struct decision *decision)
{
    decision->by = BY_OVERRIDE_USER;
    const struct name_record *record = name_index_find(&table->index->users, user);
    if (record == NULL || !serves(table, record, zone)) {
        decision->by = BY_OVERRIDE_PREFIX;
        record = find_prefix(table, zone, user);
    }
    if (record == NULL)
        return false;
    decision->unit = record->unit;
    decision->line = record->line;
    return true;
}

/* ZONE is A or B. */
static enum verdict place_user(const struct table *table, enum zone zone, struct str user, struct decision *decision)
{
    if (user.len == 0)
        return user.base == NULL ? VERDICT_MISSING_USER : VERDICT_BAD_USER;
    if (table->override_count > 0 && place_by_override(table, zone, user, decision))
        return VERDICT_OK;
    decision->by = BY_SLOT;
    if (!hash_slot(&table->hash, user, &decision->slot))
        return VERDICT_BAD_USER;
    const struct table_slots *slots = &table->slots[zone];
    if (slots->units == NULL)
        return VERDICT_NO_UNIT;
    decision->unit = slots->units[decision->slot];
    decision->line = slots->lines[decision->slot];
    return VERDICT_OK;
}

static const struct decision undecided = {.unit = NO_UNIT, .slot = UINT32_MAX};

enum verdict table_owner_in(const struct table *table, enum zone zone, struct str user, struct decision *decision)
{
    *decision = undecided;
    return place_user(table, zone, user, decision);
}

enum verdict table_owner(const struct table *table, struct str user, struct decision *decision)
{
    return table_owner_in(table, ZONE_A, user, decision);
}

uint32_t table_slot(const struct table *table, struct str user)
{
    uint32_t slot;
    return user.len > 0 && hash_slot(&table->hash, user, &slot) ? slot : UINT32_MAX;
}

static enum verdict place_in_core(const struct table *table, const struct table_route *route, enum decided_by by,
                                  struct decision *decision)
{
    decision->unit = table->core_unit;
    decision->line = route->line;
    decision->by = by;
    return decision->unit != NO_UNIT ? VERDICT_OK : VERDICT_NO_UNIT;
}

static enum verdict place_local(const struct table *table, const struct table_route *route, struct str datacenter,
                                struct decision *decision)
{
    decision->by = BY_MISSING;
    decision->line = route->line;
    for (uint32_t i = 0; i < table->unit_count; i++) {
        const struct table_unit *unit = &table->units[i];
        if (unit->kind == route->zone && str_equal(unit->datacenter, datacenter)) {
            decision->unit = i;
            return VERDICT_OK;
        }
    }
    return VERDICT_NO_UNIT;
}

static enum verdict place_missing(const struct table *table, const struct table_route *route, struct str datacenter,
                                  struct decision *decision)
{
    switch (table->on_missing) {
    case MISSING_CORE:
        return place_in_core(table, route, BY_MISSING, decision);
    case MISSING_LOCAL:
        return place_local(table, route, datacenter, decision);
    case MISSING_REJECT:
        break;
    }
    return VERDICT_MISSING_USER;
}

/* The core spans all units; any other stays only where all participants live in it too. */
static enum verdict settle(const struct table *table, const struct table_route *route, const struct routing *routing,
                           struct decision *decision)
{
    if (table->units[decision->unit].kind == ZONE_CORE)
        return VERDICT_OK;
    bool together = true;
    for (uint32_t i = 0; i < routing->participant_count; i++) {
        struct decision other = undecided;
        enum verdict verdict = place_user(table, route->zone, routing->participants[i], &other);
        if (verdict != VERDICT_OK)
            return verdict;
        together = together && other.unit == decision->unit;
    }
    if (together)
        return VERDICT_OK;
    if (route->cross_unit == CROSS_CORE)
        return place_in_core(table, route, BY_CROSS_UNIT, decision);
    return VERDICT_CROSS_UNIT;
}

static enum verdict place_sharded(const struct table *table, const struct table_route *route,
                                  const struct routing *routing, struct decision *decision)
{
    enum verdict verdict = routing->user.base == NULL ? place_missing(table, route, routing->datacenter, decision)
                                                      : place_user(table, route->zone, routing->user, decision);
    return verdict == VERDICT_OK ? settle(table, route, routing, decision) : verdict;
}

/* The gateway's own collections need no unit of the kind: they are the core's. */
static enum verdict place_global(const struct table *table, const struct table_route *route, struct str datacenter,
                                 struct decision *decision)
{
    enum verdict verdict = place_local(table, route, datacenter, decision);
    for (uint32_t i = 0; verdict != VERDICT_OK && i < table->unit_count; i++)
        if (table->units[i].kind == ZONE_C) {
            decision->unit = i;
            verdict = VERDICT_OK;
        }
    decision->by = BY_ZONE;
    if (verdict == VERDICT_OK || route->action != ACTION_ZONE_C)
        return verdict;
    decision->unit = table->core_unit != NO_UNIT ? table->core_unit : 0;
    return VERDICT_OK;
}

static enum verdict place(const struct table *table, const struct table_route *route, const struct routing *routing,
                          struct decision *decision)
{
    if (route->zone == ZONE_A || route->zone == ZONE_B)
        return place_sharded(table, route, routing, decision);
    return route->zone == ZONE_C ? place_global(table, route, routing->datacenter, decision)
                                 : place_in_core(table, route, BY_ZONE, decision);
}

/* A tester's wish counts where it can be served: by nodes of that colour, or by a queue, which carries it along. */
static bool wishes(const struct table_unit *unit, enum action action, struct str wish, enum color *color)
{
    for (int i = 0; i < COLOR_COUNT; i++)
        if (str_equal(wish, str_of(color_name((enum color)i))) &&
            (action == ACTION_QUEUE || unit->nodes[i].count > 0)) {
            *color = (enum color)i;
            return true;
        }
    return false;
}

enum verdict table_route(const struct table *table, const struct routing *routing, struct decision *decision)
{
    const struct table_route *route = &table->routes[routing->route];
    *decision = undecided;
    enum verdict verdict = place(table, route, routing, decision);
    if (verdict != VERDICT_OK)
        return verdict;
    const struct table_unit *unit = &table->units[decision->unit];
    if (routing->color.base == NULL || !wishes(unit, route->action, routing->color, &decision->color))
        decision->color = routing->splits != NULL ? split_color(&routing->splits[decision->unit], routing->user)
                                                  : table_color(unit, routing->user);
    return VERDICT_OK;
}

uint32_t table_partition(const struct table_topic *topic, uint32_t slot, struct str user)
{
    uint64_t value = slot != UINT32_MAX ? slot : hash_xxh3(user, 0);
    return (uint32_t)(value % topic->partitions);
}

uint32_t table_unit_index(const struct table *table, struct str name)
{
    for (uint32_t i = 0; i < table->unit_count; i++)
        if (str_equal(table->units[i].name, name))
            return i;
    return NO_UNIT;
}

const struct table_collection *table_collection(const struct table *table, struct str name)
{
    for (uint32_t i = 0; i < table->collection_count; i++)
        if (str_equal(table->collections[i].name, name))
            return &table->collections[i];
    return NULL;
}

const char *action_name(enum action action)
{
    static const char *const names[] = {[ACTION_PROXY] = "proxy", [ACTION_QUEUE] = "queue", [ACTION_ZONE_C] = "zone-c"};
    return names[action];
}

const char *durability_name(enum durability durability)
{
    static const char *const names[] = {[DURABILITY_AUTO] = "auto",
                                        [DURABILITY_REPLICATED] = "replicated",
                                        [DURABILITY_LOCAL] = "local",
                                        [DURABILITY_AVAILABLE] = "available",
                                        [DURABILITY_QUORUM] = "quorum"};
    return names[durability];
}
