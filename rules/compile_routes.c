/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#define METHOD_NAME(name) #name,
static const char *const method_names[] = {TABLE_METHODS(METHOD_NAME) NULL};
#undef METHOD_NAME

/* The routes under construction, beside their models. */
struct building {
    struct compiler *compiler;
    struct table_route *routes;
    struct pattern *patterns;
};

static uint32_t compile_method(struct compiler *compiler, const struct yaml_node *node)
{
    for (uint32_t i = 0; method_names[i] != NULL; i++)
        if (str_equal(node->text, str_of(method_names[i])))
            return UINT32_C(1) << i;
    char hint[SCHEMA_HINT_SIZE];
    FAULT(compiler->diags, *node, schema_hint(hint, node->text, method_names),
          "\"%.*s\" is not a method that can be routed", SHOWN(node->text));
    return 0;
}

static uint32_t compile_methods(struct compiler *compiler, const struct yaml_node *list)
{
    uint32_t methods = 0;
    for (size_t i = 0; list != NULL && i < list->count; i++)
        if (schema_is_text(&list->items[i])) {
            uint32_t bit = compile_method(compiler, &list->items[i]);
            if ((methods & bit) != 0)
                FAULT(compiler->diags, list->items[i], NULL, "the method %.*s stands here twice",
                      SHOWN(list->items[i].text));
            methods |= bit;
        }
    return methods;
}

/* The gateway keeps these paths to itself and asks no route about them, but for collections of zone C. */
static void check_reserved(struct compiler *compiler, const struct model_route *route)
{
    struct str path = route->match.path.value;
    if (str_starts(path, STR_LIT("/-/")) && !(route->zone.value == MODEL_ZONE_C && str_starts(path, STR_LIT("/-/c/"))))
        FAULT(compiler->diags, route->match.path.at, NULL,
              "paths under /-/ are the gateway's own, except /-/c/ in zone C");
}

static void compile_pattern(struct building *building, const struct model_route *model, struct table_route *route,
                            struct pattern *pattern)
{
    struct compiler *compiler = building->compiler;
    struct error err;
    if (model->match.path.at.line == 0)
        return;
    route->path = compile_str(compiler, model->match.path.value);
    if (pattern_parse(route->path, pattern, &err) == -1)
        FAULT(compiler->diags, model->match.path.at, NULL, "%s", err.text);
    else
        check_reserved(compiler, model);
}

static void fault_misplaced(struct compiler *compiler, struct place at, const char *key, const char *where)
{
    if (at.line > 0)
        FAULT(compiler->diags, at, NULL, "%s belongs to %s", key, where);
}

static void check_zone_c(struct compiler *compiler, const struct model_route *route)
{
    if (route->action.value == MODEL_ACTION_QUEUE)
        FAULT(compiler->diags, route->action.at, NULL,
              "action: zone C is read; queue to the core, where it is written");
    fault_misplaced(compiler, route->topic.at, "topic", "queue routes");
}

static void compile_participants(struct building *building, const struct model_route *model, struct table_route *route)
{
    struct compiler *compiler = building->compiler;
    if (model->participants != NULL && (route->action != ACTION_QUEUE || route->zone == ZONE_CORE))
        FAULT(compiler->diags, *model->participants, NULL, "participants belong to queue routes of zone A or B");
    route->participants = compile_sources(compiler, model->participants, &route->participant_count);
    route->cross_unit = model->cross_unit.value == 1 ? CROSS_CORE : CROSS_REJECT;
    if (model->cross_unit.at.line > 0 && model->participants == NULL)
        WARNING(compiler->diags, model->cross_unit.at, NULL, "cross_unit means nothing without participants");
    if (route->cross_unit == CROSS_CORE && compiler->table->core_unit == NO_UNIT && !compiler->model->units_faulty)
        FAULT(compiler->diags, model->cross_unit.at, NULL, "cross_unit: there is no unit of kind core");
}

static void compile_action(struct building *building, const struct model_route *model, struct table_route *route)
{
    struct compiler *compiler = building->compiler;
    bool queued = model->action.value == MODEL_ACTION_QUEUE, said = model->action.at.line > 0;
    route->action = route->zone == ZONE_C && (queued || !said) ? ACTION_ZONE_C : queued ? ACTION_QUEUE : ACTION_PROXY;
    if (route->action == ACTION_ZONE_C)
        check_zone_c(compiler, model);
    else if (route->action == ACTION_PROXY)
        fault_misplaced(compiler, model->topic.at, "topic", "queue routes: add action: queue");
    else if (model->topic.at.line == 0)
        FAULT(compiler->diags, model->at, NULL, "a queue route needs the key \"topic\"");
    else
        route->topic = compile_topic_name(building->compiler, &model->topic);
    if (route->action != ACTION_QUEUE)
        fault_misplaced(compiler, model->durability.at, "durability", "queue routes");
    if (route->action != ACTION_PROXY && model->retries.at.line > 0)
        WARNING(compiler->diags, model->retries.at, NULL, "retries belong to proxy routes and mean nothing here");
}

static void compile_route(struct building *building, const struct model_route *model, struct table_route *route,
                          struct pattern *pattern)
{
    static const enum zone zones[] = {ZONE_A, ZONE_B, ZONE_C, ZONE_CORE};
    static const enum durability durabilities[] = {DURABILITY_AUTO, DURABILITY_REPLICATED, DURABILITY_LOCAL,
                                                   DURABILITY_AVAILABLE, DURABILITY_QUORUM};
    *route = (struct table_route){.zone = zones[model->zone.value],
                                  .methods = compile_methods(building->compiler, model->match.methods),
                                  .durability = durabilities[model->durability.value],
                                  .timeout_ms = model->timeout.value,
                                  .retries = (uint32_t)model->retries.value,
                                  .max_body = (uint64_t)model->max_body.value,
                                  .line = (uint32_t)model->at.line};
    compile_pattern(building, model, route, pattern);
    compile_action(building, model, route);
    compile_participants(building, model, route);
}

/* Whether earlier routes that cover the pattern leave none of the methods. */
static void check_shadow(const struct building *building, uint32_t i)
{
    const struct table_route *route = &building->routes[i];
    uint32_t left = route->methods;
    for (uint32_t j = 0; j < i && building->patterns[i].text.base != NULL; j++) {
        const struct table_route *earlier = &building->routes[j];
        if (building->patterns[j].text.base == NULL || !pattern_covers(&building->patterns[j], &building->patterns[i]))
            continue;
        left &= ~earlier->methods;
        if (earlier->methods == 0 || (route->methods != 0 && left == 0)) {
            const struct model_route *model = &building->compiler->model->routes[i];
            WARNING(building->compiler->diags, model->match.path.at, "put the narrower route first",
                    "no request reaches this route: %.*s on line %u comes first", SHOWN(earlier->path), earlier->line);
            return;
        }
    }
}

void compile_routes(struct compiler *compiler)
{
    const struct model *model = compiler->model;
    struct table *table = compiler->table;
    struct building building = {.compiler = compiler,
                                .routes = compile_alloc(compiler, model->route_count, sizeof(*building.routes)),
                                .patterns = compile_alloc(compiler, model->route_count, sizeof(*building.patterns))};
    table->routes = building.routes;
    table->index->patterns = building.patterns;
    table->route_count = (uint32_t)model->route_count;
    for (uint32_t i = 0; i < table->route_count; i++)
        compile_route(&building, &model->routes[i], &building.routes[i], &building.patterns[i]);
    for (uint32_t i = 0; i < table->route_count; i++)
        check_shadow(&building, i);
}
