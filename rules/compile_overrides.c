/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

/* WHAT: "user" or "prefix". */
static void add(struct compiler *compiler, struct name_map *map, struct str text, struct place at, uint32_t unit,
                const char *what)
{
    if (text.len > NAME_MAP_LONGEST) {
        FAULT(compiler->diags, at, NULL, "a user ID has at most %d bytes", NAME_MAP_LONGEST);
        return;
    }
    uint32_t before = name_map_add(map, text, (uint16_t)unit, (uint32_t)at.line);
    if (before != 0)
        FAULT(compiler->diags, at, NULL, "the %s \"%.*s\" is overridden twice, before on line %u", what, SHOWN(text),
              before);
}

static void compile_override(struct compiler *compiler, const struct model_override *override)
{
    uint32_t unit = 0;
    if (override->unit.at.line > 0)
        unit = compile_unit_name(compiler, &override->unit, "unit");
    if (unit < compiler->table->unit_count && compiler->table->units[unit].kind == ZONE_CORE)
        compiler->core_override = true;
    if (override->names_users == override->names_prefix)
        FAULT(compiler->diags, override->at, NULL, "an override names either users or a prefix");
    for (size_t i = 0; override->users != NULL && i < override->users->count; i++) {
        const struct yaml_node *user = &override->users->items[i];
        if (schema_is_text(user))
            add(compiler, &compiler->users, user->text, place_of(user), unit, "user");
    }
    if (override->prefix.at.line > 0)
        add(compiler, &compiler->prefixes, override->prefix.value, override->prefix.at, unit, "prefix");
}

/* What lets a lookup skip lengths, or prefixes as a whole. */
static void index_prefixes(struct compiler *compiler)
{
    struct table_index *index = compiler->table->index;
    bool seen[NAME_MAP_LONGEST + 1] = {false};
    for (const struct name_record *record = NULL; (record = name_map_next(&compiler->prefixes, record)) != NULL;) {
        unsigned char first = (unsigned char)record->text[0];
        index->prefix_heads[first / 64] |= UINT64_C(1) << first % 64;
        index->prefix_length_count += !seen[record->len];
        seen[record->len] = true;
    }
    uint16_t *lengths = compile_alloc(compiler, index->prefix_length_count, sizeof(*lengths));
    index->prefix_lengths = lengths;
    for (uint16_t len = NAME_MAP_LONGEST; len > 0; len--)
        if (seen[len])
            *lengths++ = len;
}

void compile_overrides(struct compiler *compiler)
{
    for (size_t i = 0; i < compiler->model->override_count; i++)
        compile_override(compiler, &compiler->model->overrides[i]);
    index_prefixes(compiler);
    name_index_build(&compiler->table->index->users, &compiler->users);
    name_index_build(&compiler->table->index->prefixes, &compiler->prefixes);
}
