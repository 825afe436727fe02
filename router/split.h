/* SPDX-License-Identifier: Apache-2.0
 *
 * How a unit's users share its two colours now: the rules' weights, or what a colour record says instead, less a colour
 * whose nodes are all away. Pure; a view of the gateway holds one split for each unit.
 */
#ifndef ROUTER_SPLIT_H
#define ROUTER_SPLIT_H

#include "router/unit.h"

#define SPLIT_CLEAN_US 3000000 /* for so long a colour must be well until it takes users again */

struct split {
    uint32_t weights[COLOR_COUNT]; /* relative */
    uint64_t seed;
};

/* What stands against the rules. Zeroed: nothing. */
struct split_override {
    uint32_t weights[COLOR_COUNT]; /* both 0: the rules' */
    struct str salt;               /* draws who is first anew; empty: the rules' own order */
    bool away[COLOR_COUNT];        /* takes no users, as long as the other can */
};

struct split split_make(const struct table_unit *unit, const struct split_override *override);

/* The colour of USER: a salted hash below green's share, so that raising that share only adds users to green, whatever
 * the weights add up to. Nobody in particular (base NULL) gets the heavier colour. */
enum color split_color(const struct split *split, struct str user);

/* Whether a colour takes users, by what its nodes look like from time to time. Zeroed: it does. */
struct color_health {
    bool away;
    uint64_t clean_since_us; /* monotonic; while it is away: since when its nodes are well again, 0: they are not */
};

/* Notes at NOW_US whether all nodes of the colour are DOWN: away at once, back after SPLIT_CLEAN_US without a break.
 * True where `away` changed. */
bool color_health_note(struct color_health *health, bool down, uint64_t now_us);

#endif
