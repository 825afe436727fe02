/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/invariant.h"

/* One explanation while it is put together. */
struct explanation {
    const struct table *table;
    const char *file;
    struct str user;
    const struct split *splits;
    const struct table_route *route; /* NULL: none asked for, or none found */
    struct decision decision;
    json_t *json;
};

static json_t *text(struct str s)
{
    json_t *string = s.base ? json_stringn(s.base, s.len) : NULL;
    return string ? string : json_null();
}

static void set(struct explanation *explanation, const char *key, json_t *value)
{
    /* jansson makes no string of what is no UTF-8, such as a strange file name. */
    INVARIANT(json_object_set_new(explanation->json, key, value ? value : json_null()) == 0);
}

static void set_line(struct explanation *explanation, const char *key, uint32_t line)
{
    set(explanation, key, line > 0 ? json_sprintf("%s:%u", explanation->file, line) : json_null());
}

static enum verdict decide(struct explanation *explanation, struct str method, struct str path)
{
    const struct table *table = explanation->table;
    struct decision *decision = &explanation->decision;
    struct routing routing = {.user = explanation->user, .splits = explanation->splits};
    *decision = (struct decision){.unit = NO_UNIT, .slot = UINT32_MAX};
    if (path.base == NULL) {
        enum verdict verdict = table_owner(table, explanation->user, decision);
        if (verdict == VERDICT_OK)
            decision->color = explanation->splits != NULL
                                  ? split_color(&explanation->splits[decision->unit], explanation->user)
                                  : table_color(&table->units[decision->unit], explanation->user);
        return verdict;
    }
    enum verdict verdict = table_match(table, method.base ? method : STR_LIT("GET"), path, &routing.route);
    if (verdict != VERDICT_OK)
        return verdict;
    explanation->route = &table->routes[routing.route];
    return table_route(table, &routing, decision);
}

static const char *hash_used(const struct hash *hash, struct str user)
{
    if (hash->kind != HASH_MODULO)
        return hash->kind == HASH_CRC16 ? "crc16" : "xxh3";
    for (size_t i = 0; i < user.len && hash->non_numeric_xxh3; i++)
        if (user.base[i] < '0' || user.base[i] > '9')
            return "xxh3";
    return "modulo";
}

/* The slot's rule is shown for an overridden user too: it is what the override overrides. */
static uint32_t rule_line(const struct explanation *explanation, enum zone zone, uint32_t slot)
{
    const struct decision *decision = &explanation->decision;
    if (decision->by == BY_ZONE || decision->by == BY_MISSING || zone > ZONE_B)
        return decision->line;
    const struct table_slots *slots = &explanation->table->slots[zone];
    return slot != UINT32_MAX && slots->units != NULL ? slots->lines[slot] : 0;
}

static json_t *queue_target(const struct explanation *explanation, const struct table_unit *unit)
{
    const struct table_topic *topic = &explanation->table->topics[explanation->route->topic];
    if (unit->broker_count == 0)
        return json_null();
    return json_sprintf("%.*s topic %.*s partition %u", STR_ARG(unit->brokers[0]), STR_ARG(topic->name),
                        table_partition(topic, explanation->decision.slot, explanation->user));
}

static json_t *proxy_target(const struct explanation *explanation, const struct table_unit *unit)
{
    const struct table_nodes *nodes = &unit->nodes[explanation->decision.color];
    json_t *urls = json_array();
    for (uint32_t i = 0; i < nodes->count; i++)
        INVARIANT(json_array_append_new(urls, text(nodes->urls[i])) == 0);
    return urls;
}

static json_t *target(const struct explanation *explanation, enum verdict verdict)
{
    enum action action = explanation->route ? explanation->route->action : ACTION_PROXY;
    if (verdict != VERDICT_OK || action == ACTION_ZONE_C)
        return json_null();
    const struct table_unit *unit = &explanation->table->units[explanation->decision.unit];
    return action == ACTION_QUEUE ? queue_target(explanation, unit) : proxy_target(explanation, unit);
}

static void explain_user(struct explanation *explanation, uint32_t *slot)
{
    const struct hash *hash = &explanation->table->hash;
    bool given = explanation->user.base != NULL;
    if (!given || !hash_slot(hash, explanation->user, slot))
        *slot = UINT32_MAX;
    set(explanation, "user", text(explanation->user));
    set(explanation, "source", given ? json_string("argument") : json_null());
    set(explanation, "hash", json_string(hash_used(hash, explanation->user)));
    set(explanation, "slot", *slot != UINT32_MAX ? json_integer(*slot) : json_null());
}

static void explain_place(struct explanation *explanation, enum verdict verdict, uint32_t slot)
{
    const struct decision *decision = &explanation->decision;
    bool placed = verdict == VERDICT_OK;
    bool overridden = decision->by == BY_OVERRIDE_USER || decision->by == BY_OVERRIDE_PREFIX;
    enum zone zone = explanation->route ? explanation->route->zone : ZONE_A;
    set(explanation, "unit", placed ? text(explanation->table->units[decision->unit].name) : json_null());
    set(explanation, "zone", json_string(zone_name(zone)));
    set(explanation, "color", placed ? json_string(color_name(decision->color)) : json_null());
    set_line(explanation, "rule", rule_line(explanation, zone, slot));
    set_line(explanation, "override", overridden ? decision->line : 0);
    set(explanation, "epoch", json_integer((json_int_t)explanation->table->epoch));
    set(explanation, "target", target(explanation, verdict));
    if (!placed)
        set(explanation, "verdict", json_string(verdict_info(verdict)->name));
}

enum verdict rules_explain_split(const struct table *table, const struct split *splits, const char *file,
                                 struct str user, struct str method, struct str path, struct buf *out)
{
    struct explanation explanation = {
        .table = table, .file = file, .user = user, .splits = splits, .json = json_object()};
    uint32_t slot;
    enum verdict verdict = decide(&explanation, method, path);
    explain_user(&explanation, &slot);
    explain_place(&explanation, verdict, slot);
    char *json = json_dumps(explanation.json, JSON_COMPACT);
    INVARIANT(json != NULL);
    buf_append_str(out, str_of(json));
    free(json);
    json_decref(explanation.json);
    return verdict;
}

enum verdict rules_explain(const struct table *table, const char *file, struct str user, struct str method,
                           struct str path, struct buf *out)
{
    return rules_explain_split(table, NULL, file, user, method, path, out);
}
