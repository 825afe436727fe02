/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/nodes.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"

#define DOWN_PROBE_MS 200 /* a node that is down is probed at least this often */
#define LONGEST_PROBE 2000
#define PROBE_ANSWER  (64 * 1024)

struct nodes {
    const struct agent_config *config;
    struct http_client *client;
    sd_event_source *ticker;
    struct node *first;
    struct node *turn[COLOR_COUNT]; /* the one that was taken last */
    int64_t since_probe_ms;         /* since all nodes were probed */
    void (*changed)(void *arg);
    void *arg;
};

static int64_t tick_ms(const struct nodes *nodes)
{
    int64_t interval = nodes->config->health.interval;
    return interval < DOWN_PROBE_MS ? interval : DOWN_PROBE_MS;
}

static void set_health(struct nodes *nodes, struct node *node, bool up, const char *fault)
{
    bool changed = node->up != up;
    node->up = up;
    snprintf(node->fault, sizeof(node->fault), "%s", fault);
    if (!changed || !node->listed)
        return;
    if (up)
        log_info("node.up", "%s answers", node->url);
    else
        log_warning("node.down", "%s: %s", node->url, fault);
    nodes->changed(nodes->arg);
}

/* --- probes ------------------------------------------------------------------------------------------------------ */

static void on_probed(void *arg, const struct http_response *response)
{
    struct node *node = arg;
    char fault[64] = "";
    node->probe = NULL;
    if (response->status >= 500)
        snprintf(fault, sizeof(fault), "answers %ld to its health check", response->status);
    bool up = response->status > 0 && response->status < 500;
    if (!response->no_socket) /* else nothing is known of the node */
        set_health(node->nodes, node, up, response->status > 0 ? fault : response->error);
    nodes_release(node->nodes, node);
}

static void probe(struct nodes *nodes, struct node *node)
{
    if (node->probe != NULL)
        return;
    int64_t timeout = nodes->config->health.interval;
    timeout = timeout < DOWN_PROBE_MS ? DOWN_PROBE_MS : timeout > LONGEST_PROBE ? LONGEST_PROBE : timeout;
    struct http_request request = {.method = "GET",
                                   .url = node->url,
                                   .target = nodes->config->health.path,
                                   .timeout_ms = timeout,
                                   .connect_timeout_ms = timeout,
                                   .most_response = PROBE_ANSWER};
    node->in_flight++;
    node->probe = http_client_start(nodes->client, &request, NULL, on_probed, node);
}

static int on_tick(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct nodes *nodes = arg;
    nodes->since_probe_ms += tick_ms(nodes);
    bool all = nodes->since_probe_ms >= nodes->config->health.interval;
    for (struct node *node = nodes->first; node != NULL; node = node->next)
        if (node->listed && (all || !node->up))
            probe(nodes, node);
    if (all)
        nodes->since_probe_ms = 0;
    return loop_wake_in(source, (uint64_t)tick_ms(nodes) * 1000);
}

/* --- the list ---------------------------------------------------------------------------------------------------- */

struct nodes *nodes_create(sd_event *loop, const struct agent_config *config, void (*changed)(void *arg), void *arg)
{
    struct nodes *nodes = mem_calloc(1, sizeof(*nodes));
    nodes->config = config;
    nodes->changed = changed;
    nodes->arg = arg;
    nodes->client = http_client_create(loop, 2);
    INVARIANT(sd_event_add_time_relative(loop, &nodes->ticker, CLOCK_MONOTONIC, 0, 1000, on_tick, nodes) >= 0);
    nodes->since_probe_ms = config->health.interval;
    return nodes;
}

static void node_free(struct node *node)
{
    free(node->url);
    free(node);
}

void nodes_destroy(struct nodes **nodes_p)
{
    struct nodes *nodes = *nodes_p;
    if (nodes == NULL)
        return;
    *nodes_p = NULL;
    http_client_destroy(&nodes->client);
    sd_event_source_disable_unref(nodes->ticker);
    for (struct node *node; (node = nodes->first) != NULL;) {
        nodes->first = node->next;
        node_free(node);
    }
    free(nodes);
}

static void drop_idle(struct nodes *nodes)
{
    for (struct node **at = &nodes->first; *at != NULL;) {
        struct node *node = *at;
        if (node->listed || node->in_flight > 0) {
            at = &node->next;
            continue;
        }
        for (int color = 0; color < COLOR_COUNT; color++)
            if (nodes->turn[color] == node)
                nodes->turn[color] = NULL;
        *at = node->next;
        node_free(node);
    }
}

static void list_node(struct nodes *nodes, struct str url, enum color color)
{
    struct node **at = &nodes->first;
    while (*at != NULL && ((*at)->color != color || !str_equal(str_of((*at)->url), url)))
        at = &(*at)->next;
    if (*at == NULL) {
        *at = mem_calloc(1, sizeof(struct node));
        (*at)->nodes = nodes;
        (*at)->url = str_dup(url);
        (*at)->color = color;
        (*at)->up = true; /* until a delivery or a probe says otherwise */
    }
    (*at)->listed = true;
}

static void unlist(struct nodes *nodes)
{
    for (struct node *node = nodes->first; node != NULL; node = node->next)
        node->listed = false;
}

static void listed_anew(struct nodes *nodes)
{
    drop_idle(nodes);
    nodes->since_probe_ms = nodes->config->health.interval; /* the next tick probes them all */
    nodes->changed(nodes->arg);
}

void nodes_adopt(struct nodes *nodes, const struct table_unit *unit)
{
    unlist(nodes);
    for (int color = 0; color < COLOR_COUNT; color++)
        for (uint32_t i = 0; i < unit->nodes[color].count; i++)
            list_node(nodes, unit->nodes[color].urls[i], color);
    listed_anew(nodes);
}

/* Where nothing of another colour is listed, any will do. */
void nodes_adopt_urls(struct nodes *nodes, const struct str *urls, size_t count)
{
    unlist(nodes);
    for (size_t i = 0; i < count; i++)
        list_node(nodes, urls[i], COLOR_BLUE);
    listed_anew(nodes);
}

static bool color_is_listed(const struct nodes *nodes, enum color color)
{
    for (const struct node *node = nodes->first; node != NULL; node = node->next)
        if (node->listed && node->color == color)
            return true;
    return false;
}

struct node *nodes_take(struct nodes *nodes, enum color color)
{
    bool any = !color_is_listed(nodes, color);
    struct node *last = nodes->turn[color];
    struct node *start = last != NULL && last->next != NULL ? last->next : nodes->first, *node = start;
    while (node != NULL) {
        if (node->listed && node->up && (any || node->color == color)) {
            nodes->turn[color] = node;
            node->in_flight++;
            return node;
        }
        node = node->next != NULL ? node->next : nodes->first;
        if (node == start)
            break;
    }
    return NULL;
}

void nodes_release(struct nodes *nodes, struct node *node)
{
    INVARIANT(node->in_flight > 0);
    if (--node->in_flight == 0 && !node->listed)
        drop_idle(nodes);
}

void nodes_report_failure(struct nodes *nodes, struct node *node, const char *why)
{
    set_health(nodes, node, false, why);
}

struct node *nodes_first(const struct nodes *nodes)
{
    return nodes->first;
}
