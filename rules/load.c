/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/rules.h"

#include <stdlib.h>

#include "rules/compile.h"

static void compile(struct compiler *compiler)
{
    compile_identity(compiler);
    compile_sharding(compiler);
    compile_units(compiler);
    compile_failover(compiler);
    compile_slots(compiler);
    compile_overrides(compiler);
    compile_topics(compiler);
    compile_collections(compiler);
    compile_routes(compiler);
    compile_reach(compiler);
    name_map_free(&compiler->users);
    name_map_free(&compiler->prefixes);
    free(compiler->unit_names);
}

struct table *rules_load(struct str text, uint64_t epoch, struct diag_list *diags)
{
    struct model model;
    struct table *table = NULL;
    size_t errors = diags->errors;
    if (model_read(&model, text, diags)) {
        table = table_create();
        table->epoch = epoch;
        struct compiler compiler = {.model = &model, .diags = diags, .table = table};
        compile(&compiler);
        table_seal(table);
    }
    model_free(&model);
    if (diags->errors > errors)
        table_unref(&table);
    return table;
}

void rules_document(struct buf *out)
{
    for (const struct schema *const *schema = model_schemas; *schema != NULL; schema++)
        schema_document(*schema, out);
}
