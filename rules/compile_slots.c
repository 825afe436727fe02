/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#include <stdio.h>
#include <stdlib.h>

/* The slots of one zone while its units' ranges are laid out. Lives for one call of compile_zone(). */
struct range {
    uint32_t first, last; /* inclusive */
    uint32_t unit;
    const struct yaml_node *node;
};

struct layout {
    struct compiler *compiler;
    enum zone zone;
    uint32_t slots;
    struct range *ranges;
    size_t range_count;
    int32_t owners[HASH_MAX_SLOTS]; /* index into ranges, or -1 */
    bool faulty;
};

static bool parse_slot(struct str text, uint32_t *slot)
{
    uint64_t number;
    if (!str_to_u64(text, &number) || number > UINT32_MAX)
        return false;
    *slot = (uint32_t)number;
    return true;
}

static bool parse_range(struct layout *layout, const struct yaml_node *node, struct range *range)
{
    struct diag_list *diags = layout->compiler->diags;
    struct str rest = node->text, first;
    str_next(&rest, '-', &first);
    if (!parse_slot(first, &range->first) || !parse_slot(rest.base ? rest : first, &range->last))
        FAULT(diags, *node, NULL, "a slot range such as \"00-33\" or \"50\" is expected, not \"%.*s\"",
              SHOWN(node->text));
    else if (range->first > range->last)
        FAULT(diags, *node, NULL, "the slot range %.*s runs backwards", SHOWN(node->text));
    else if (range->last >= layout->slots)
        FAULT(diags, *node, NULL, "the slot range %.*s is outside of the slots 0-%u", SHOWN(node->text),
              layout->slots - 1);
    else
        return true;
    return false;
}

/* "slot 7 is" or "slots 7-9 are". */
struct run_text {
    char text[40];
};

static struct run_text describe_run(uint32_t first, uint32_t last)
{
    struct run_text run;
    if (first == last)
        snprintf(run.text, sizeof(run.text), "slot %u is", first);
    else
        snprintf(run.text, sizeof(run.text), "slots %u-%u are", first, last);
    return run;
}

static void fault_overlap(struct layout *layout, const struct range *range, uint32_t first, uint32_t last)
{
    const struct range *other = &layout->ranges[layout->owners[first]];
    const struct table_unit *unit = &layout->compiler->table->units[other->unit];
    layout->faulty = true;
    FAULT(layout->compiler->diags, *range->node, NULL,
          "the slot range %.*s overlaps %.*s of unit %.*s on line %d: %s in both", SHOWN(range->node->text),
          SHOWN(other->node->text), SHOWN(unit->name), other->node->line, describe_run(first, last).text);
}

/* Slots that are taken stay with whom they belong to; each run of them is one complaint. */
static void lay_out(struct layout *layout, const struct range *range)
{
    int32_t mine = (int32_t)(range - layout->ranges);
    for (uint32_t slot = range->first, next; slot <= range->last; slot = next) {
        next = slot + 1;
        if (layout->owners[slot] == -1) {
            layout->owners[slot] = mine;
            continue;
        }
        while (next <= range->last && layout->owners[next] == layout->owners[slot])
            next++;
        fault_overlap(layout, range, slot, next - 1);
    }
}

static void add_range(struct layout *layout, uint32_t unit, const struct yaml_node *node)
{
    struct range range = {.unit = unit, .node = node};
    if (!schema_is_text(node) || !parse_range(layout, node, &range)) {
        layout->faulty = true;
        return;
    }
    /* More ranges than slots overlap for sure, and would only take time. */
    if (layout->range_count > layout->slots)
        return;
    layout->ranges[layout->range_count++] = range;
    lay_out(layout, &layout->ranges[layout->range_count - 1]);
}

static void collect(struct layout *layout)
{
    const struct compiler *compiler = layout->compiler;
    for (uint32_t i = 0; i < compiler->model->unit_count; i++) {
        const struct yaml_node *list = compiler->model->units[i].slots;
        if (list == NULL || compiler->table->units[i].kind != layout->zone)
            continue;
        for (size_t j = 0; j < list->count; j++)
            add_range(layout, i, &list->items[j]);
    }
}

static void describe_neighbor(struct layout *layout, const char *relation, int32_t owner, struct buf *out)
{
    if (owner == -1)
        return;
    const struct range *range = &layout->ranges[owner];
    buf_printf(out, "%s%.*s of unit %.*s on line %d %s", out->len > 0 ? ", " : "", SHOWN(range->node->text),
               STR_ARG(layout->compiler->table->units[range->unit].name), range->node->line, relation);
}

static void fault_gap(struct layout *layout, uint32_t first, uint32_t last)
{
    int32_t before = first > 0 ? layout->owners[first - 1] : -1;
    int32_t after = last + 1 < layout->slots ? layout->owners[last + 1] : -1;
    struct place at = place_of(layout->compiler->model->top.units);
    if (before != -1 || after != -1)
        at = place_of(layout->ranges[before != -1 ? before : after].node);
    struct buf hint = {NULL, 0, 0};
    describe_neighbor(layout, "ends before", before, &hint);
    describe_neighbor(layout, "begins behind", after, &hint);
    FAULT(layout->compiler->diags, at, hint.base, "%s owned by no unit of kind %s", describe_run(first, last).text,
          zone_name(layout->zone));
    buf_free(&hint);
}

static void fault_gaps(struct layout *layout)
{
    for (uint32_t slot = 0, next; slot < layout->slots; slot = next) {
        next = slot + 1;
        if (layout->owners[slot] != -1)
            continue;
        while (next < layout->slots && layout->owners[next] == -1)
            next++;
        fault_gap(layout, slot, next - 1);
    }
}

static void fill(struct layout *layout, uint16_t *units, uint32_t *lines)
{
    for (uint32_t slot = 0; slot < layout->slots; slot++) {
        if (layout->owners[slot] == -1)
            continue;
        const struct range *range = &layout->ranges[layout->owners[slot]];
        units[slot] = (uint16_t)range->unit;
        lines[slot] = (uint32_t)range->node->line;
    }
}

/* Even runs, in the order of the file. */
static void spread(const struct layout *layout, uint32_t unit_count, uint16_t *units, uint32_t *lines)
{
    const struct table *table = layout->compiler->table;
    for (uint32_t i = 0, rank = 0; i < table->unit_count; i++) {
        if (table->units[i].kind != layout->zone)
            continue;
        uint32_t first = layout->slots * rank / unit_count, end = layout->slots * (rank + 1) / unit_count;
        for (uint32_t slot = first; slot < end; slot++) {
            units[slot] = (uint16_t)i;
            lines[slot] = table->units[i].line;
        }
        rank++;
    }
}

static uint32_t count_units(const struct table *table, enum zone zone)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->unit_count; i++)
        count += table->units[i].kind == zone;
    return count;
}

static void compile_zone(struct layout *layout)
{
    struct compiler *compiler = layout->compiler;
    uint32_t unit_count = count_units(compiler->table, layout->zone);
    if (unit_count == 0 && layout->zone == ZONE_B)
        return;
    uint16_t *units = compile_alloc(compiler, layout->slots, sizeof(*units));
    uint32_t *lines = compile_alloc(compiler, layout->slots, sizeof(*lines));
    memset(layout->owners, -1, sizeof(layout->owners));
    collect(layout);
    if (layout->zone == ZONE_B && layout->range_count == 0 && !layout->faulty) {
        spread(layout, unit_count, units, lines);
    } else {
        if (!layout->faulty && !compiler->model->units_faulty)
            fault_gaps(layout);
        fill(layout, units, lines);
    }
    compiler->table->slots[layout->zone] = (struct table_slots){units, lines};
}

void compile_slots(struct compiler *compiler)
{
    uint32_t slots = compiler->table->hash.slots;
    const struct model *model = compiler->model;
    for (uint32_t i = 0; i < model->unit_count; i++)
        if (model->units[i].slots != NULL && compiler->table->units[i].kind > ZONE_B)
            FAULT(compiler->diags, *model->units[i].slots, NULL, "slots: only A and B units own slots");
    for (enum zone zone = ZONE_A; zone <= ZONE_B && slots > 0; zone++) {
        struct layout *layout = mem_calloc(1, sizeof(*layout));
        layout->compiler = compiler;
        layout->zone = zone;
        layout->slots = slots;
        layout->ranges = mem_calloc((size_t)slots + 1, sizeof(*layout->ranges));
        compile_zone(layout);
        free(layout->ranges);
        free(layout);
    }
}
