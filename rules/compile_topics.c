/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#include "common/protocol.h"
#include "rules/source.h"

/* "X-Kind :refund" is written, "x-kind: refund" is what messages are compared with. */
static bool compile_condition(struct compiler *compiler, const struct yaml_node *node, struct str *line)
{
    struct str value = node->text, name;
    str_next(&value, ':', &name);
    name = str_trim(name);
    value = value.base ? str_trim(value) : value;
    if (value.len == 0 || !source_is_token(name)) {
        FAULT(compiler->diags, *node, NULL, "filter: \"header: value\" is expected, not \"%.*s\"", SHOWN(node->text));
        return false;
    }
    struct buf text = {NULL, 0, 0};
    for (size_t i = 0; i < name.len; i++)
        buf_printf(&text, "%c", name.base[i] >= 'A' && name.base[i] <= 'Z' ? name.base[i] + 32 : name.base[i]);
    buf_printf(&text, ": %.*s", STR_ARG(value));
    *line = compile_str(compiler, buf_str(&text));
    buf_free(&text);
    return true;
}

/* "x-kind:" of "x-kind: refund". */
static struct str condition_name(struct str line)
{
    const char *colon = memchr(line.base, ':', line.len);
    return (struct str){line.base, (size_t)(colon - line.base) + 1};
}

static const struct str *compile_filter(struct compiler *compiler, const struct yaml_node *list, uint32_t *count)
{
    size_t most = list ? list->count : 0;
    struct str *lines = compile_alloc(compiler, most, sizeof(*lines));
    for (size_t i = 0; i < most; i++) {
        if (!schema_is_text(&list->items[i]) || !compile_condition(compiler, &list->items[i], &lines[*count]))
            continue;
        struct str name = condition_name(lines[*count]);
        for (uint32_t before = 0; before < *count; before++)
            if (str_starts(lines[before], name))
                FAULT(compiler->diags, list->items[i], NULL, "the header %.*s stands in this filter twice",
                      schema_shown(name) - 1, name.base);
        ++*count;
    }
    return lines;
}

static const struct str *compile_nodes(struct compiler *compiler, const struct yaml_node *list, uint32_t *count)
{
    size_t most = list ? list->count : 0;
    struct str *urls = compile_alloc(compiler, most, sizeof(*urls));
    for (size_t i = 0; i < most; i++) {
        const struct yaml_node *node = &list->items[i];
        if (!schema_is_text(node) || !compile_url(compiler, node, STR_LIT("http")))
            continue;
        for (uint32_t before = 0; before < *count; before++)
            if (str_equal(urls[before], node->text))
                FAULT(compiler->diags, *node, NULL, "\"%.*s\" stands in this list twice", SHOWN(node->text));
        urls[(*count)++] = compile_str(compiler, node->text);
    }
    return urls;
}

static void compile_subscription(struct compiler *compiler, const struct model_subscription *model,
                                 struct table_subscription *subscription)
{
    compile_name(compiler, &model->name, "a subscription");
    subscription->name = compile_str(compiler, model->name.value);
    subscription->broadcast = model->mode.value == MODEL_MODE_BROADCAST;
    subscription->line = (uint32_t)model->name.at.line;
    subscription->filter = compile_filter(compiler, model->filter, &subscription->filter_count);
    subscription->nodes = compile_nodes(compiler, model->nodes, &subscription->node_count);
}

static void compile_subscriptions(struct compiler *compiler, const struct model_topic *model, struct table_topic *topic)
{
    static const struct table_subscription preset = {.name = STR_LIT(PROTOCOL_DEFAULT_SUBSCRIPTION)};
    struct table_subscription *subscriptions =
        compile_alloc(compiler, model->subscription_count, sizeof(*subscriptions));
    for (size_t i = 0; i < model->subscription_count; i++)
        compile_subscription(compiler, &model->subscriptions[i], &subscriptions[i]);
    topic->subscriptions = model->subscription_count > 0 ? subscriptions : &preset;
    topic->subscription_count = model->subscription_count > 0 ? (uint32_t)model->subscription_count : 1;
}

static void compile_retry(struct compiler *compiler, const struct model_retry *model, struct table_retry *retry)
{
    if (model->ladder.count == 0)
        FAULT(compiler->diags, model->ladder.at, NULL, "ladder: the list is empty");
    int64_t *ladder_ms = compile_alloc(compiler, model->ladder.count, sizeof(*ladder_ms));
    uint16_t *statuses = compile_alloc(compiler, model->dead_statuses.count, sizeof(*statuses));
    for (size_t i = 0; i < model->ladder.count; i++)
        ladder_ms[i] = model->ladder.values[i];
    for (size_t i = 0; i < model->dead_statuses.count; i++)
        statuses[i] = (uint16_t)model->dead_statuses.values[i];
    *retry = (struct table_retry){.attempts = (uint32_t)model->attempts.value,
                                  .ladder_ms = ladder_ms,
                                  .ladder_count = (uint32_t)model->ladder.count,
                                  .dead_statuses = statuses,
                                  .dead_status_count = (uint32_t)model->dead_statuses.count};
}

/* The backlog counts from where the slowest shared subscription is. A broadcast's listeners come and go, and none may
 * stop those who send: without a shared subscription nothing would ever lower the backlog. */
static uint64_t backlog_of(struct compiler *compiler, const struct model_topic *model, const struct table_topic *topic)
{
    for (uint32_t i = 0; i < topic->subscription_count; i++)
        if (!topic->subscriptions[i].broadcast)
            return (uint64_t)model->max_backlog.value;
    if (model->max_backlog.value > 0)
        WARNING(compiler->diags, model->max_backlog.at, NULL,
                "max_backlog means nothing without a shared subscription");
    return 0;
}

static void add_topic(struct compiler *compiler, const struct model_topic *model)
{
    struct table_topic *topic = &compiler->topics[compiler->table->topic_count++];
    compile_name(compiler, &model->name, "a topic");
    *topic = (struct table_topic){.name = compile_str(compiler, model->name.value),
                                  .partitions = (uint32_t)model->partitions.value,
                                  .retention_ms = model->retention.value,
                                  .idempotency_window_ms = model->idempotency_window.value,
                                  .line = (uint32_t)model->name.at.line};
    compile_subscriptions(compiler, model, topic);
    topic->max_backlog = backlog_of(compiler, model, topic);
    compile_retry(compiler, &model->retry, &topic->retry);
}

uint32_t compile_topic_name(struct compiler *compiler, const struct schema_text *name)
{
    const struct table *table = compiler->table;
    for (uint32_t i = 0; i < table->topic_count; i++)
        if (str_equal(table->topics[i].name, name->value))
            return i;
    struct model_topic preset = model_topic_preset(*name);
    add_topic(compiler, &preset);
    return table->topic_count - 1;
}

static void check_use(struct compiler *compiler, const struct schema_text *name)
{
    for (size_t i = 0; i < compiler->model->route_count; i++)
        if (str_equal(compiler->model->routes[i].topic.value, name->value))
            return;
    WARNING(compiler->diags, name->at, NULL, "no route leads to the topic %.*s", SHOWN(name->value));
}

void compile_topics(struct compiler *compiler)
{
    const struct model *model = compiler->model;
    compiler->topics = compile_alloc(compiler, model->topic_count + model->route_count, sizeof(*compiler->topics));
    compiler->table->topics = compiler->topics;
    for (size_t i = 0; i < model->topic_count; i++) {
        add_topic(compiler, &model->topics[i]);
        check_use(compiler, &model->topics[i].name);
    }
}
