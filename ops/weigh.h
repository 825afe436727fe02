/* SPDX-License-Identifier: Apache-2.0
 *
 * Weighs a change of rules before it is made: the difference of two tables, held against the traffic that the gateways
 * saw in the last minutes. Owns its copies; weigh_free() takes a half-made one too.
 */
#ifndef OPS_WEIGH_H
#define OPS_WEIGH_H

#include "ops/deployment.h"
#include "rules/rules.h"

/* What all gateways together saw. */
struct traffic_seen {
    struct rules_sample *users, *requests; /* their texts are in `answers` */
    size_t user_count, request_count;
    json_t *answers;
    uint64_t total;       /* requests of the window */
    double rps;           /* of all gateways; 0: nothing was seen */
    size_t gateway_count; /* that were asked */
    size_t silent;        /* of those, how many did not answer */
};

/* Where users go to: how much it gains, and what it can carry. Rates are requests a second. */
struct weigh_gain {
    struct str unit;                            /* borrows the new table */
    double slots, users, requests;              /* shares, 0..1; -1: not known */
    double rps_before, rps_after, capacity_rps; /* -1: not known; capacity -1: not declared */
};

struct weigh {
    struct rules_diff diff;
    struct traffic_seen traffic;
    const struct table *before, *after; /* borrowed */
    struct weigh_gain *gains;
    size_t gain_count;
};

/* Asks all gateways of DEPLOYMENT for their traffic; NULL: offline, without traffic. */
void weigh_rules(struct weigh *weigh, const struct table *before, const struct table *after,
                 const struct deployment *deployment);
void weigh_free(struct weigh *weigh);

/* The share that --max-move bounds: of the slots or of the live requests, whichever is larger. */
double weigh_share(const struct weigh *weigh);

/* For people, to standard output. */
void weigh_print(const struct weigh *weigh);
/* {"moves","resharded","slots","users","requests","gains","changes","traffic"}: a new reference. */
json_t *weigh_json(const struct weigh *weigh);

#endif
