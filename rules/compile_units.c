/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#include "common/protocol.h"
#include "common/url.h"

#define PRESET_WEIGHT 100

/* One unit under construction, and every URL so far with the unit and the line where it stands. */
struct building {
    struct compiler *compiler;
    const struct model_unit *model;
    struct table_unit *unit;
    uint16_t index;
    struct name_map *urls;
};

static bool name_is_plain(struct str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.base[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return name.len > 0 && name.len <= PROTOCOL_NAME_MAX;
}

bool compile_name(struct compiler *compiler, const struct schema_text *name, const char *what)
{
    if (name_is_plain(name->value))
        return true;
    FAULT(compiler->diags, name->at, NULL,
          "the name of %s is made of at most %d letters, digits, - and _, unlike \"%.*s\"", what, PROTOCOL_NAME_MAX,
          SHOWN(name->value));
    return false;
}

uint32_t compile_unit_name(struct compiler *compiler, const struct schema_text *name, const char *what)
{
    uint32_t unit = table_unit_index(compiler->table, name->value);
    char hint[SCHEMA_HINT_SIZE];
    if (unit == NO_UNIT)
        FAULT(compiler->diags, name->at, schema_hint(hint, name->value, compiler->unit_names),
              "%s: there is no unit \"%.*s\"", what, SHOWN(name->value));
    return unit;
}

static bool has_scheme(struct str url, struct str scheme)
{
    return str_starts(url, scheme) &&
           str_starts((struct str){url.base + scheme.len, url.len - scheme.len}, STR_LIT("://"));
}

bool compile_url(struct compiler *compiler, const struct yaml_node *node, struct str scheme)
{
    struct diag_list *diags = compiler->diags;
    struct url url;
    struct error err;
    if (memchr(node->text.base, '@', node->text.len) != NULL) {
        bool broker = str_equal(scheme, STR_LIT("redis"));
        FAULT(diags, *node, broker ? "put them into broker.user and broker.password_file of each process" : NULL,
              "a URL in the rules holds no user and no password");
    } else if (!has_scheme(node->text, scheme)) {
        FAULT(diags, *node, NULL, "%.*s://host:port is expected, not \"%.*s\"", STR_ARG(scheme), SHOWN(node->text));
    } else if (url_parse(node->text, 0, &url, &err) == -1) {
        FAULT(diags, *node, NULL, "%s", err.text);
    } else if (url.path.len > 0) {
        FAULT(diags, *node, NULL, "the path \"%.*s\" does not belong behind host and port", SHOWN(url.path));
    } else if (node->text.len > NAME_MAP_LONGEST) {
        FAULT(diags, *node, NULL, "a URL has at most %d bytes", NAME_MAP_LONGEST);
    } else {
        return true;
    }
    return false;
}

/* Sharing is legal, for small deployments, but hardly ever meant. */
static void note_url(struct building *building, const struct yaml_node *node)
{
    uint32_t line = name_map_add(building->urls, node->text, building->index, (uint32_t)node->line);
    if (line == 0)
        return;
    struct str owner = building->compiler->table->units[name_map_find(building->urls, node->text)->unit].name;
    WARNING(building->compiler->diags, *node, NULL, "\"%.*s\" stands on line %u too, for unit %.*s", SHOWN(node->text),
            line, STR_ARG(owner));
}

static const struct str *compile_urls(struct building *building, const struct yaml_node *list, struct str scheme,
                                      uint32_t *count)
{
    size_t most = list ? list->count : 0;
    struct str *urls = compile_alloc(building->compiler, most, sizeof(*urls));
    for (size_t i = 0; i < most; i++) {
        const struct yaml_node *node = &list->items[i];
        if (!schema_is_text(node) || !compile_url(building->compiler, node, scheme))
            continue;
        uint32_t before = 0;
        while (before < *count && !str_equal(urls[before], node->text))
            before++;
        if (before < *count)
            FAULT(building->compiler->diags, *node, NULL, "\"%.*s\" stands in this list twice", SHOWN(node->text));
        else
            note_url(building, node);
        urls[(*count)++] = compile_str(building->compiler, node->text);
    }
    return urls;
}

static void compile_standby(struct building *building)
{
    const struct schema_text *standby = &building->model->standby;
    struct table_unit *unit = building->unit;
    struct diag_list *diags = building->compiler->diags;
    unit->standby = NO_UNIT;
    if (standby->at.line == 0)
        return;
    unit->standby = compile_unit_name(building->compiler, standby, "standby");
    if (unit->standby == NO_UNIT)
        return;
    const struct table_unit *other = &building->compiler->table->units[unit->standby];
    if (other == unit)
        FAULT(diags, standby->at, NULL, "standby: %.*s cannot stand by for itself", STR_ARG(unit->name));
    else if (other->kind != unit->kind)
        FAULT(diags, standby->at, NULL, "standby: %.*s is of kind %s, and %.*s of kind %s", STR_ARG(other->name),
              zone_name(other->kind), STR_ARG(unit->name), zone_name(unit->kind));
    else if (unit->datacenter.len > 0 && str_equal(other->datacenter, unit->datacenter))
        WARNING(diags, standby->at, NULL, "standby: %.*s stands in %.*s too, and is lost with it", STR_ARG(other->name),
                SHOWN(unit->datacenter));
}

static void check_color(struct building *building, enum color color, const struct schema_number *weight)
{
    const struct table_unit *unit = building->unit;
    if (weight->value > 0 && unit->nodes[color].count == 0 && building->model->node_mapping != NULL)
        FAULT(building->compiler->diags, weight->at, NULL, "%s has the weight %u but no nodes", color_name(color),
              (unsigned)weight->value);
}

static void compile_weights(struct building *building)
{
    const struct model_weights *weights = &building->model->weights;
    struct table_unit *unit = building->unit;
    if (building->model->weight_mapping == NULL) {
        bool green = unit->nodes[COLOR_BLUE].count == 0 && unit->nodes[COLOR_GREEN].count > 0;
        unit->weights[green ? COLOR_GREEN : COLOR_BLUE] = PRESET_WEIGHT;
        return;
    }
    unit->weights[COLOR_BLUE] = (uint32_t)weights->blue.value;
    unit->weights[COLOR_GREEN] = (uint32_t)weights->green.value;
    check_color(building, COLOR_BLUE, &weights->blue);
    check_color(building, COLOR_GREEN, &weights->green);
    if (weights->blue.value == 0 && weights->green.value == 0 && !building->compiler->model->units_faulty)
        FAULT(building->compiler->diags, *building->model->weight_mapping, NULL,
              "both weights are 0: no user would have a colour");
}

/* Different for each unit and independent of the slot, so that a slot's users have both colours. */
static uint64_t color_seed(struct str unit)
{
    return hash_xxh3(unit, 0x636f6c6f72 /* "color" */);
}

static void compile_unit(struct building *building)
{
    const struct model_unit *model = building->model;
    struct table_unit *unit = building->unit;
    compile_name(building->compiler, &model->name, "a unit");
    unit->brokers = compile_urls(building, model->brokers, STR_LIT("redis"), &unit->broker_count);
    unit->agents = compile_urls(building, model->agents, STR_LIT("http"), &unit->agent_count);
    unit->nodes[COLOR_BLUE].urls =
        compile_urls(building, model->nodes.blue, STR_LIT("http"), &unit->nodes[COLOR_BLUE].count);
    unit->nodes[COLOR_GREEN].urls =
        compile_urls(building, model->nodes.green, STR_LIT("http"), &unit->nodes[COLOR_GREEN].count);
    unit->max_in_flight = (uint32_t)model->max_in_flight.value;
    unit->capacity_rps = (double)model->capacity_rps.value;
    unit->color_seed = color_seed(unit->name);
    compile_standby(building);
    compile_weights(building);
}

/* Names, kinds and places of all units come first, since units name one another. */
static struct table_unit *introduce_units(struct compiler *compiler)
{
    static const enum zone kinds[] = {ZONE_A, ZONE_B, ZONE_C, ZONE_CORE};
    const struct model *model = compiler->model;
    struct table_unit *units = compile_alloc(compiler, model->unit_count, sizeof(*units));
    compiler->unit_names = mem_calloc(model->unit_count + 1, sizeof(char *));
    for (uint32_t i = 0; i < model->unit_count; i++) {
        const struct model_unit *unit = &model->units[i];
        units[i].name = compile_str(compiler, unit->name.value);
        units[i].datacenter = compile_str(compiler, unit->datacenter.value);
        units[i].kind = kinds[unit->kind.value];
        units[i].line = (uint32_t)unit->name.at.line;
        compiler->unit_names[i] = units[i].name.base;
        if (units[i].kind == ZONE_CORE && compiler->table->core_unit == NO_UNIT)
            compiler->table->core_unit = i;
    }
    return units;
}

void compile_units(struct compiler *compiler)
{
    struct table *table = compiler->table;
    struct table_unit *units = introduce_units(compiler);
    struct name_map urls = {0};
    table->units = units;
    table->unit_count = (uint32_t)compiler->model->unit_count;
    for (uint16_t i = 0; i < table->unit_count; i++) {
        struct building building = {compiler, &compiler->model->units[i], &units[i], i, &urls};
        compile_unit(&building);
    }
    name_map_free(&urls);
}
