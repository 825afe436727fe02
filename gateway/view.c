/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/view.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "common/url.h"
#include "gateway/jwt.h"

/* What is added stays until the end. The lock is held for the list alone: who waits for it may be about to tell a
 * unit's new primary, and what is done for each unit may wait for the store. */
struct registry {
    pthread_mutex_t lock; /* of the units, which any thread adds */
    struct unit **units;
    struct node **nodes; /* the control thread's, as their number */
    uint32_t unit_count, node_count;
    void (*record_changed)(void *arg, struct unit *unit);
    void *record_changed_arg;
};

struct registry *registry_create(void)
{
    struct registry *registry = mem_calloc(1, sizeof(*registry));
    pthread_mutex_init(&registry->lock, NULL);
    return registry;
}

void registry_on_record(struct registry *registry, void (*changed)(void *arg, struct unit *unit), void *arg)
{
    registry->record_changed = changed;
    registry->record_changed_arg = arg;
}

void registry_destroy(struct registry **registry)
{
    if (*registry == NULL)
        return;
    for (uint32_t i = 0; i < (*registry)->unit_count; i++) {
        pthread_mutex_destroy(&(*registry)->units[i]->record_lock);
        free((*registry)->units[i]->name);
        free((*registry)->units[i]);
    }
    for (uint32_t i = 0; i < (*registry)->node_count; i++) {
        free((*registry)->nodes[i]->url);
        free((*registry)->nodes[i]->authority);
        free((*registry)->nodes[i]);
    }
    free((*registry)->units);
    free((*registry)->nodes);
    pthread_mutex_destroy(&(*registry)->lock);
    free(*registry);
    *registry = NULL;
}

/* NULL: there are not so many. */
static struct unit *unit_at(struct registry *registry, uint32_t i)
{
    pthread_mutex_lock(&registry->lock);
    struct unit *unit = i < registry->unit_count ? registry->units[i] : NULL;
    pthread_mutex_unlock(&registry->lock);
    return unit;
}

void registry_each_node(struct registry *registry, void (*fn)(struct node *node, void *arg), void *arg)
{
    for (uint32_t i = 0; i < registry->node_count; i++)
        fn(registry->nodes[i], arg);
}

void registry_each_unit(struct registry *registry, void (*fn)(struct unit *unit, void *arg), void *arg)
{
    struct unit *unit;
    for (uint32_t i = 0; (unit = unit_at(registry, i)) != NULL; i++)
        fn(unit, arg);
}

/* With the lock held. */
static struct unit *known_unit(const struct registry *registry, struct str name)
{
    for (uint32_t i = 0; i < registry->unit_count; i++)
        if (str_equal(str_of(registry->units[i]->name), name))
            return registry->units[i];
    return NULL;
}

struct unit *registry_unit(struct registry *registry, struct str name)
{
    pthread_mutex_lock(&registry->lock);
    struct unit *found = known_unit(registry, name);
    pthread_mutex_unlock(&registry->lock);
    return found;
}

static struct unit *add_unit(struct registry *registry, struct str name)
{
    struct unit *unit = mem_calloc(1, sizeof(*unit));
    unit->id = registry->unit_count;
    unit->name = str_dup(name);
    unit->registry = registry;
    pthread_mutex_init(&unit->record_lock, NULL);
    registry->units = mem_realloc(registry->units, (registry->unit_count + 1) * sizeof(struct unit *));
    registry->units[registry->unit_count++] = unit;
    return unit;
}

static struct unit *find_unit(struct registry *registry, struct str name)
{
    pthread_mutex_lock(&registry->lock);
    struct unit *unit = known_unit(registry, name);
    if (unit == NULL)
        unit = add_unit(registry, name);
    pthread_mutex_unlock(&registry->lock);
    return unit;
}

void unit_record(struct unit *unit, struct broker_record *copy)
{
    pthread_mutex_lock(&unit->record_lock);
    *copy = unit->record;
    pthread_mutex_unlock(&unit->record_lock);
}

bool unit_moves(struct unit *unit, uint64_t routed, uint32_t slot)
{
    if (slot == UINT32_MAX || routed > atomic_load_explicit(&unit->moving_rules, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&unit->record_lock);
    bool moves = broker_moving_holds(&unit->record.moving, routed, slot);
    pthread_mutex_unlock(&unit->record_lock);
    return moves;
}

static struct unit *consumer_of(struct unit *unit, const struct broker_record *record)
{
    bool own = record->consumer[0] == '\0' || strcmp(record->consumer, unit->name) == 0;
    return own ? NULL : find_unit(unit->registry, str_of(record->consumer));
}

void unit_waited(struct unit *unit, uint64_t waited_us)
{
    uint64_t longest_us = atomic_load_explicit(&unit->held_longest_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&unit->held, 1, memory_order_relaxed);
    while (waited_us > longest_us &&
           !atomic_compare_exchange_weak_explicit(&unit->held_longest_us, &longest_us, waited_us, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

static void forget_waits(struct unit *unit)
{
    atomic_store_explicit(&unit->held, 0, memory_order_relaxed);
    atomic_store_explicit(&unit->held_longest_us, 0, memory_order_relaxed);
}

bool unit_set_record(struct unit *unit, const struct broker_record *record)
{
    struct unit *consumer = consumer_of(unit, record);
    pthread_mutex_lock(&unit->record_lock);
    uint64_t before = unit->record.version;
    bool news = record->version > before || (record->version == 0 && before != 0);
    if (news) {
        if (record->hold && !unit->record.hold)
            forget_waits(unit);
        unit->record = *record;
        atomic_store_explicit(&unit->consumer, consumer, memory_order_relaxed);
        atomic_store_explicit(&unit->hold, record->hold, memory_order_relaxed);
        atomic_store_explicit(&unit->moving_rules, record->moving.rules, memory_order_relaxed);
        atomic_store_explicit(&unit->record_version, record->version, memory_order_release);
    }
    pthread_mutex_unlock(&unit->record_lock);
    if (news && unit->registry->record_changed != NULL)
        unit->registry->record_changed(unit->registry->record_changed_arg, unit);
    return news;
}

uint32_t view_consumer(const struct view *view, uint32_t unit)
{
    const struct unit *consumer = atomic_load_explicit(&view->units[unit].unit->consumer, memory_order_relaxed);
    if (consumer == NULL)
        return unit;
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        if (view->units[i].unit == consumer)
            return i;
    return NO_UNIT;
}

uint64_t view_epoch(const struct view *view, uint32_t unit)
{
    uint64_t of_rules = view->table->epoch;
    uint64_t of_record = atomic_load_explicit(&view->units[unit].unit->record_version, memory_order_relaxed);
    return of_record > of_rules ? of_record : of_rules;
}

static int resolve(const struct url *url, struct node *node, struct error *err)
{
    char port[8];
    char *host = str_dup(url->host);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    snprintf(port, sizeof(port), "%u", url->port);
    int failed = getaddrinfo(host, port, &hints, &found);
    free(host);
    if (failed != 0)
        return error_set(err, ERROR_INPUT, "node %.*s: its host does not resolve: %s", STR_ARG(url->host),
                         gai_strerror(failed));
    memcpy(&node->address, found->ai_addr, found->ai_addrlen);
    node->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static struct node *create_node(struct str text, struct error *err)
{
    struct url url;
    struct node *node = mem_calloc(1, sizeof(*node));
    if (url_parse(text, 80, &url, err) != 0 || resolve(&url, node, err) != 0) {
        free(node);
        return NULL;
    }
    struct buf authority = {NULL, 0, 0};
    bool v6 = memchr(url.host.base, ':', url.host.len) != NULL;
    buf_printf(&authority, v6 ? "[%.*s]:%u" : "%.*s:%u", STR_ARG(url.host), url.port);
    node->authority = authority.base;
    node->url = str_dup(text);
    return node;
}

static struct node *find_node(struct registry *registry, struct str text, struct error *err)
{
    for (uint32_t i = 0; i < registry->node_count; i++)
        if (str_equal(str_of(registry->nodes[i]->url), text))
            return registry->nodes[i];
    struct node *node = create_node(text, err);
    if (node == NULL)
        return NULL;
    node->id = registry->node_count;
    registry->nodes = mem_realloc(registry->nodes, (registry->node_count + 1) * sizeof(struct node *));
    registry->nodes[registry->node_count++] = node;
    return node;
}

/* What the control thread knows of the unit's colours besides the rules. */
static struct split split_of(const struct unit *unit, const struct table_unit *rules)
{
    const struct color_facts *colors = &unit->colors;
    struct split_override override = {
        {colors->record.weights.blue, colors->record.weights.green}, str_of(colors->record.salt), {false, false}};
    for (int color = 0; color < COLOR_COUNT; color++)
        override.away[color] = colors->health[color].away || colors->held_back[color];
    return split_make(rules, &override);
}

static int join_unit(struct registry *registry, const struct table_unit *rules, struct view_unit *joined,
                     struct error *err)
{
    joined->unit = find_unit(registry, rules->name);
    for (int color = 0; color < COLOR_COUNT; color++) {
        const struct table_nodes *nodes = &rules->nodes[color];
        joined->nodes[color] = mem_calloc(nodes->count, sizeof(struct node *));
        for (uint32_t i = 0; i < nodes->count; i++)
            if ((joined->nodes[color][i] = find_node(registry, nodes->urls[i], err)) == NULL)
                return -1;
    }
    return 0;
}

static int join(struct registry *registry, struct view *view, struct error *err)
{
    int result = 0;
    for (uint32_t i = 0; i < view->table->unit_count && result == 0; i++) {
        result = join_unit(registry, &view->table->units[i], &view->units[i], err);
        view->splits[i] = split_of(view->units[i].unit, &view->table->units[i]);
    }
    if (result == 0 && view->table->jwt.algorithm != JWT_NONE && view->jwt_key == NULL)
        result = (view->jwt_key = jwt_key_load(&view->table->jwt, err)) != NULL ? 0 : -1;
    return result;
}

static struct view *begin(struct table *table)
{
    struct view *view = mem_calloc(1, sizeof(*view));
    view->references = 1;
    view->table = table;
    view->units = mem_calloc(table->unit_count, sizeof(*view->units));
    view->splits = mem_calloc(table->unit_count, sizeof(*view->splits));
    return view;
}

struct view *view_create(struct registry *registry, struct table *table, struct error *err)
{
    struct view *view = begin(table);
    if (join(registry, view, err) != 0)
        view_unref(&view);
    return view;
}

struct view *view_recolor(struct registry *registry, const struct view *view)
{
    struct error err = {ERROR_NONE, ""};
    struct view *other = begin(view->table);
    table_ref(other->table);
    other->jwt_key = view->jwt_key != NULL ? jwt_key_share(view->jwt_key) : NULL;
    INVARIANT(join(registry, other, &err) == 0); /* all nodes are resolved already, and the key is there */
    return other;
}

void view_ref(struct view *view)
{
    atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
}

static void destroy(struct view *view)
{
    for (uint32_t i = 0; i < view->table->unit_count; i++)
        for (int color = 0; color < COLOR_COUNT; color++)
            free(view->units[i].nodes[color]);
    free(view->units);
    free(view->splits);
    jwt_key_destroy(&view->jwt_key);
    table_unref(&view->table);
    free(view);
}

void view_unref(struct view **view)
{
    if (*view != NULL && atomic_fetch_sub_explicit(&(*view)->references, 1, memory_order_acq_rel) == 1)
        destroy(*view);
    *view = NULL;
}
