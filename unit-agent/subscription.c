/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/subscription.h"

#include <stdlib.h>

struct subscription *subscription_get(struct subscription **list, struct str topic, struct str name, bool broadcast)
{
    while (*list != NULL && ((*list)->broadcast != broadcast || !str_equal(str_of((*list)->name), name) ||
                             !str_equal(str_of((*list)->topic), topic)))
        list = &(*list)->next;
    if (*list == NULL) {
        *list = mem_calloc(1, sizeof(**list));
        (*list)->topic = str_dup(topic);
        (*list)->name = str_dup(name);
        (*list)->broadcast = broadcast;
    }
    return *list;
}

void subscriptions_free(struct subscription **list)
{
    for (struct subscription *subscription; (subscription = *list) != NULL;) {
        *list = subscription->next;
        free(subscription->topic);
        free(subscription->name);
        free(subscription->filter);
        nodes_destroy(&subscription->own);
        free(subscription);
    }
}

static void adopt_filter(struct subscription *subscription, const struct table_subscription *rules)
{
    struct buf text = {0};
    for (uint32_t i = 0; i < rules->filter_count; i++) {
        buf_append_str(&text, rules->filter[i]);
        buf_append(&text, "", 1);
    }
    if (text.len > 0)
        buf_append(&text, "", 1);
    free(subscription->filter);
    subscription->filter = text.base;
}

bool subscription_moves(const struct subscription *subscription, const struct table_subscription *rules)
{
    return (subscription->nodes != NULL) != (rules->node_count > 0);
}

void subscription_adopt(struct subscription *subscription, const struct table_subscription *rules,
                        struct nodes *(*nodes)(void *arg), void *arg)
{
    adopt_filter(subscription, rules);
    subscription->listed = true;
    if (rules->node_count > 0 && subscription->own == NULL)
        subscription->own = nodes(arg);
    if (subscription->own != NULL)
        nodes_adopt_urls(subscription->own, rules->nodes, rules->node_count);
    subscription->nodes = rules->node_count > 0 ? subscription->own : NULL;
}

static bool has_line(struct str lines, struct str wanted)
{
    for (struct str line; str_next(&lines, '\n', &line);)
        if (str_equal(line, wanted))
            return true;
    return false;
}

bool subscription_wants(const struct subscription *subscription, struct str place, const struct envelope *envelope)
{
    struct str only = envelope->fields[ENVELOPE_ONLY];
    if (only.len > 0 && !str_equal(only, place))
        return false;
    for (const char *line = subscription->filter; line != NULL && *line != '\0'; line += strlen(line) + 1)
        if (!has_line(envelope->fields[ENVELOPE_HEADERS], str_of(line)))
            return false;
    return true;
}
