/* SPDX-License-Identifier: Apache-2.0
 *
 * The nodes of the unit's app: which there are, by colour, and which of them answer. A node is taken out by a failed
 * delivery or a failed probe, and comes back with the next probe that is answered. Owned by the agent.
 */
#ifndef AGENT_NODES_H
#define AGENT_NODES_H

#include "common/http_client.h"
#include "router/table.h"
#include "unit-agent/config.h"

struct nodes;

struct node {
    struct nodes *nodes;
    struct node *next;
    char *url;
    enum color color;
    bool listed; /* in the rules in force; others go when nothing is in flight to them */
    bool up;
    char fault[160]; /* why not */
    uint32_t in_flight;
    struct http_transfer *probe;
};

/* CHANGED is called when a node goes up or down, and when there are others. CONFIG is borrowed for life. */
struct nodes *nodes_create(sd_event *loop, const struct agent_config *config, void (*changed)(void *arg), void *arg);
void nodes_destroy(struct nodes **nodes);

/* The nodes that the rules name from now on; those that stay keep their health. */
void nodes_adopt(struct nodes *nodes, const struct table_unit *unit);

/* The same for nodes without a colour: they take messages of any. */
void nodes_adopt_urls(struct nodes *nodes, const struct str *urls, size_t count);

/* The next usable node for COLOR in turn, with its in_flight raised; NULL where there is none. Where the rules name no
 * node of that colour at all, any colour's will do. Give it back with nodes_release. */
struct node *nodes_take(struct nodes *nodes, enum color color);
void nodes_release(struct nodes *nodes, struct node *node);

/* A connection to NODE failed. */
void nodes_report_failure(struct nodes *nodes, struct node *node, const char *why);

/* The first of all nodes, for walking over `next`; skip those that are not `listed`. */
struct node *nodes_first(const struct nodes *nodes);

#endif
