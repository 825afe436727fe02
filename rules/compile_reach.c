/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#include <stdlib.h>

/* Where routes lead and what the units there must have for it. Nothing of this enters the table. */
struct reach {
    uint32_t lines[ZONE_CORE + 1][ACTION_ZONE_C]; /* first route that leads to units of the kind; 0: none */
};

static void note(struct reach *reach, enum zone kind, const struct table_route *route)
{
    if (reach->lines[kind][route->action] == 0)
        reach->lines[kind][route->action] = route->line;
}

/* A zone's units, and the core where the route may lead there too. */
static bool reaches(const struct compiler *compiler, const struct table_route *route, enum zone kind)
{
    const struct table *table = compiler->table;
    if (kind != ZONE_CORE || route->zone == ZONE_CORE)
        return kind == route->zone;
    bool missing = table->on_missing == MISSING_CORE, participants = route->participant_count > 0;
    return missing || (participants && route->cross_unit == CROSS_CORE) ||
           (route->zone == ZONE_A && compiler->core_override);
}

static void collect(const struct compiler *compiler, struct reach *reach)
{
    const struct table *table = compiler->table;
    for (uint32_t i = 0; i < table->route_count; i++) {
        const struct table_route *route = &table->routes[i];
        if (route->action == ACTION_ZONE_C)
            continue;
        note(reach, route->zone, route);
        if (reaches(compiler, route, ZONE_CORE))
            note(reach, ZONE_CORE, route);
    }
}

static void check_unit(struct compiler *compiler, const struct reach *reach, uint32_t i)
{
    const struct model_unit *model = &compiler->model->units[i];
    const struct table_unit *unit = &compiler->table->units[i];
    uint32_t queue = reach->lines[unit->kind][ACTION_QUEUE], proxy = reach->lines[unit->kind][ACTION_PROXY];
    if (queue > 0 && model->brokers == NULL)
        WARNING(compiler->diags, model->name.at, "503 until it has",
                "unit %.*s has no brokers, and the route on line %u queues to it", SHOWN(unit->name), queue);
    if (proxy > 0 && unit->nodes[COLOR_BLUE].count + unit->nodes[COLOR_GREEN].count == 0)
        WARNING(compiler->diags, model->name.at, "503 until it has",
                "unit %.*s has no nodes, and the route on line %u proxies to it", SHOWN(unit->name), proxy);
}

/* One complaint a route, by the first unit that has no replica. */
static void check_durability(struct compiler *compiler, uint32_t i)
{
    const struct table_route *route = &compiler->table->routes[i];
    bool wants_more = route->durability == DURABILITY_REPLICATED || route->durability == DURABILITY_QUORUM;
    for (uint32_t j = 0; j < compiler->table->unit_count && wants_more; j++) {
        const struct table_unit *unit = &compiler->table->units[j];
        if (unit->broker_count != 1 || !reaches(compiler, route, unit->kind))
            continue;
        FAULT(compiler->diags, compiler->model->routes[i].durability.at, "give it a replica, or write available",
              "durability: unit %.*s on line %u has one broker, and no message there could be replicated",
              SHOWN(unit->name), unit->line);
        return;
    }
}

/* Zones without units are complained about once each, at their first route. */
static void check_zones(struct compiler *compiler)
{
    bool there[ZONE_CORE + 1] = {[ZONE_C] = true};
    for (uint32_t i = 0; i < compiler->table->unit_count; i++)
        there[compiler->table->units[i].kind] = true;
    for (uint32_t i = 0; i < compiler->table->route_count; i++) {
        enum zone zone = compiler->table->routes[i].zone;
        if (!there[zone])
            FAULT(compiler->diags, compiler->model->routes[i].zone.at, NULL, "zone: there is no unit of kind %s",
                  zone_name(zone));
        there[zone] = true;
    }
}

/* Units that have something to do without any slots. For free(). */
static bool *find_wanted(const struct compiler *compiler)
{
    const struct table *table = compiler->table;
    const struct name_map *const maps[] = {&compiler->users, &compiler->prefixes};
    bool *wanted = mem_calloc(table->unit_count, sizeof(*wanted));
    for (uint32_t i = 0; i < table->unit_count; i++)
        if (table->units[i].standby != NO_UNIT)
            wanted[table->units[i].standby] = true;
    for (int i = 0; i < 2; i++)
        for (const struct name_record *record = NULL; (record = name_map_next(maps[i], record)) != NULL;)
            wanted[record->unit] = true;
    return wanted;
}

/* Only where there is no error: then all names lead to units. */
static void check_idle(struct compiler *compiler)
{
    bool *wanted = find_wanted(compiler);
    for (uint32_t i = 0; i < compiler->table->unit_count; i++) {
        const struct model_unit *unit = &compiler->model->units[i];
        bool slots = unit->slots != NULL && unit->slots->count > 0;
        if (compiler->table->units[i].kind == ZONE_A && !slots && !wanted[i])
            WARNING(compiler->diags, unit->name.at, NULL,
                    "unit %.*s owns no slots, stands by for nobody, and no override leads to it",
                    SHOWN(unit->name.value));
    }
    free(wanted);
}

static void check_identity(struct compiler *compiler)
{
    const struct model *model = compiler->model;
    const struct table *table = compiler->table;
    if (table->on_missing == MISSING_CORE && table->core_unit == NO_UNIT && !model->units_faulty)
        FAULT(compiler->diags, model->identity.on_missing.at, NULL, "on_missing: there is no unit of kind core");
    if (model->identity.jwt != NULL && !compiler->jwt_used)
        WARNING(compiler->diags, *model->identity.jwt, NULL, "identity.jwt means nothing without a jwt: source");
    for (uint32_t i = 0; i < table->route_count && model->top.identity == NULL; i++)
        if (table->routes[i].zone == ZONE_A || table->routes[i].zone == ZONE_B) {
            WARNING(compiler->diags, model->routes[i].zone.at, "add identity: {sources: [...]}",
                    "zone %s needs users, and there is no identity", zone_name(table->routes[i].zone));
            return;
        }
}

void compile_reach(struct compiler *compiler)
{
    struct reach reach = {0};
    check_identity(compiler);
    if (compiler->model->units_faulty)
        return;
    collect(compiler, &reach);
    for (uint32_t i = 0; i < compiler->table->route_count; i++)
        check_durability(compiler, i);
    for (uint32_t i = 0; i < compiler->table->unit_count; i++)
        check_unit(compiler, &reach, i);
    check_zones(compiler);
    if (compiler->diags->errors == 0)
        check_idle(compiler);
}
