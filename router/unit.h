/* SPDX-License-Identifier: Apache-2.0
 *
 * One unit, as the rules say it. Part of the compiled table, which owns all texts and arrays.
 */
#ifndef ROUTER_UNIT_H
#define ROUTER_UNIT_H

#include "common/str.h"

enum zone {
    ZONE_A = 0, /* sharded by user */
    ZONE_B,     /* isolated long tail */
    ZONE_C,     /* global data */
    ZONE_CORE,  /* work that spans units */
};

enum color {
    COLOR_BLUE = 0,
    COLOR_GREEN,
    COLOR_COUNT,
};

#define NO_UNIT UINT32_MAX

struct table_nodes {
    const struct str *urls; /* http://host:port */
    uint32_t count;
};

struct table_unit {
    struct str name, datacenter;
    enum zone kind;
    uint32_t standby;          /* index, or NO_UNIT */
    const struct str *brokers; /* redis://host:port; the first is the primary */
    uint32_t broker_count;
    const struct str *agents; /* base URLs of the unit's agents */
    uint32_t agent_count;
    struct table_nodes nodes[COLOR_COUNT];
    uint32_t weights[COLOR_COUNT]; /* relative */
    uint64_t color_seed;
    uint32_t max_in_flight; /* of one gateway; 0: the gateway's own default */
    double capacity_rps;    /* 0: not declared */
    uint32_t line;          /* in the rule file */
};

/* The colour of USER in UNIT by the rules alone: split_color() of router/split.h with the unit's own weights. */
enum color table_color(const struct table_unit *unit, struct str user);

/* How many of its brokers are a majority. */
unsigned table_unit_majority(const struct table_unit *unit);
/* Whether all that the unit accepts waits for a majority of its brokers, unless a route says otherwise: core units with
 * three brokers or more. */
bool table_unit_by_quorum(const struct table_unit *unit);

const char *zone_name(enum zone zone);
const char *color_name(enum color color);

#endif
