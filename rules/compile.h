/* SPDX-License-Identifier: Apache-2.0
 *
 * The compiler's parts: each goes through its share of the model, fills its share of the table and complains about
 * all that is wrong there. What a faulty model leaves in the table is thrown away by rules_load().
 */
#ifndef RULES_COMPILE_H
#define RULES_COMPILE_H

#include "router/table_index.h"
#include "rules/model.h"

struct compiler {
    const struct model *model;
    struct diag_list *diags;
    struct table *table;             /* under construction */
    const char **unit_names;         /* NULL-terminated, for hints; borrows the model */
    struct table_topic *topics;      /* of the table, with room for every route's */
    struct name_map users, prefixes; /* overrides, collected; the table has indexes made of them */
    bool jwt_used;
    bool core_override; /* some users of zone A live in the core */
};

/* In this order; later parts read what earlier ones filled in. */
void compile_identity(struct compiler *compiler);    /* sources, on_missing, jwt */
void compile_sharding(struct compiler *compiler);    /* hash */
void compile_units(struct compiler *compiler);       /* units, core_unit */
void compile_failover(struct compiler *compiler);    /* failover */
void compile_slots(struct compiler *compiler);       /* slots */
void compile_overrides(struct compiler *compiler);   /* users, prefixes */
void compile_topics(struct compiler *compiler);      /* topics; compile_topic_name() adds those that are not listed */
void compile_collections(struct compiler *compiler); /* collections */
void compile_routes(struct compiler *compiler);      /* routes, patterns */
void compile_reach(struct compiler *compiler); /* complains only: what each route needs of the units it leads to */

/* A list of sources into the table's arena. */
const struct source *compile_sources(struct compiler *compiler, const struct yaml_node *list, uint32_t *count);

/* Index of the unit called NAME, or NO_UNIT after a complaint that begins with WHAT. */
uint32_t compile_unit_name(struct compiler *compiler, const struct schema_text *name, const char *what);

/* Index of the topic called NAME, which is made of presets where the file lists none such. */
uint32_t compile_topic_name(struct compiler *compiler, const struct schema_text *name);

/* Whether NODE is "SCHEME://host:port" and no more; complains where not. */
bool compile_url(struct compiler *compiler, const struct yaml_node *node, struct str scheme);

/* Whether NAME may be part of broker keys; complains where not. WHAT: "a unit". */
bool compile_name(struct compiler *compiler, const struct schema_text *name, const char *what);

static inline void *compile_alloc(struct compiler *compiler, size_t count, size_t size)
{
    return arena_alloc(&compiler->table->index->arena, count, size);
}

static inline struct str compile_str(struct compiler *compiler, struct str s)
{
    return arena_str(&compiler->table->index->arena, s);
}

#endif
