/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a deployment's collections stand, and how they are asked about: each unit's broker, read through any agent that
 * reaches it. Nothing here believes what an agent says of its own work. Owns its list; borrows the fleet and the
 * deployment.
 */
#ifndef OPS_ZONEC_H
#define OPS_ZONEC_H

#include "ops/fleet.h"

struct zonec_site {
    char unit[64];
    struct deployment agents; /* borrowed */
    json_t *items;            /* its collections, as the last look found them; NULL: it did not answer */
    struct error err;         /* why not */
};

struct zonec {
    struct zonec_site *sites; /* where the origins are comes first */
    size_t count;
};

/* Whether the rules name UNIT; NULL: all are meant. */
int zonec_check_unit(const struct fleet *fleet, const char *unit, struct error *err) MUST_CHECK;

/* Looks at UNIT and where the origins are; NULL: at all units. COLLECTION: NULL: all. */
void zonec_find(struct zonec *zonec, const struct fleet *fleet, const struct deployment *deployment, const char *unit,
                const char *collection);
void zonec_free(struct zonec *zonec);

/* What the look found of COLLECTION at SITE, borrowed; NULL: nothing. */
const json_t *zonec_item(const struct zonec_site *site, const char *collection);

/* The site that COLLECTION's origin is at; NULL: it does not answer. */
struct zonec_site *zonec_origin(const struct zonec *zonec, const char *collection);

/* Looks at COLLECTION of SITE again and again, until DONE says of what it found (an item as of the look) that it is
 * enough. False: not within PATIENCE_MS. */
typedef bool (*zonec_done_fn)(void *arg, const json_t *item);
bool zonec_wait(const struct zonec_site *site, const char *collection, int64_t patience_ms, zonec_done_fn done,
                void *arg);

/* The items that SITE answers to METHOD and TARGET (path and query), a new reference; NULL with *err. */
json_t *zonec_ask(struct zonec_site *site, const char *method, const char *target, struct error *err);

#endif
