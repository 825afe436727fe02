/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#include "common/url.h"

static void check_push(struct compiler *compiler, const struct schema_text *push)
{
    struct url url;
    struct error err;
    if (memchr(push->value.base, '@', push->value.len) != NULL)
        FAULT(compiler->diags, push->at, NULL, "push: a URL in the rules holds no user and no password");
    else if (url_parse(push->value, 0, &url, &err) == -1)
        FAULT(compiler->diags, push->at, NULL, "push: %s", err.text);
    else if (!str_equal(url.scheme, STR_LIT("http")))
        FAULT(compiler->diags, push->at, NULL, "push: http://host:port/path is expected, not \"%.*s\"",
              SHOWN(push->value));
}

/* The log keeps the newest `feed` changes, too; but nobody knows how long these take. */
static void check_snapshot(struct compiler *compiler, const struct model_collection *model)
{
    if (model->staleness.value < model->interval.value)
        WARNING(compiler->diags, model->staleness.at.line > 0 ? model->staleness.at : model->replication.at, NULL,
                "staleness is shorter than interval: each copy is stale until the next snapshot");
    if (model->keep.value <= model->interval.value)
        WARNING(compiler->diags, model->keep.at.line > 0 ? model->keep.at : model->interval.at,
                "a longer keep, or a shorter interval",
                "keep is not longer than interval: each copy is made anew where more than `feed` changes came between");
}

static void check_times(struct compiler *compiler, const struct model_collection *model)
{
    if (model->replication.value == COLLECTION_SNAPSHOT)
        check_snapshot(compiler, model);
    else if (model->interval.at.line > 0)
        WARNING(compiler->diags, model->interval.at, NULL, "interval means nothing without replication: snapshot");
}

static void add_collection(struct compiler *compiler, const struct model_collection *model,
                           struct table_collection *collection)
{
    compile_name(compiler, &model->name, "a collection");
    *collection = (struct table_collection){.name = compile_str(compiler, model->name.value),
                                            .replication = (enum collection_replication)model->replication.value,
                                            .when_stale = (enum collection_stale)model->when_stale.value,
                                            .writers = (enum collection_writers)model->writers.value,
                                            .staleness_ms = model->staleness.value,
                                            .digest_ms = model->digest.value,
                                            .keep_ms = model->keep.value,
                                            .interval_ms = model->interval.value,
                                            .feed = (uint64_t)model->feed.value,
                                            .line = (uint32_t)model->name.at.line};
    check_times(compiler, model);
    if (model->push.at.line > 0) {
        check_push(compiler, &model->push);
        collection->push = compile_str(compiler, model->push.value);
    }
}

/* Where collections are written. */
static void check_core(struct compiler *compiler)
{
    const struct table *table = compiler->table;
    const struct yaml_node *mapping = compiler->model->top.collections;
    if (compiler->model->units_faulty)
        return;
    if (table->core_unit == NO_UNIT)
        FAULT(compiler->diags, *mapping, NULL, "collections: there is no unit of kind core");
    else if (table->units[table->core_unit].broker_count == 0)
        FAULT(compiler->diags, *mapping, NULL,
              "collections: unit %.*s has no brokers, and collections are written there",
              SHOWN(table->units[table->core_unit].name));
}

void compile_collections(struct compiler *compiler)
{
    const struct model *model = compiler->model;
    struct table_collection *collections = compile_alloc(compiler, model->collection_count, sizeof(*collections));
    for (size_t i = 0; i < model->collection_count; i++)
        add_collection(compiler, &model->collections[i], &collections[i]);
    compiler->table->collections = collections;
    compiler->table->collection_count = (uint32_t)model->collection_count;
    if (model->collection_count > 0)
        check_core(compiler);
}
