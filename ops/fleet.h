/* SPDX-License-Identifier: Apache-2.0
 *
 * Everybody who belongs to a deployment, with what each says of itself at one moment. Owns the answers.
 */
#ifndef OPS_FLEET_H
#define OPS_FLEET_H

#include "common/store.h"
#include "ops/ctl.h"
#include "ops/deployment.h"
#include "ops/grid.h"

struct fleet_member {
    struct store_member member; /* of a gateway that the store does not list only `admin` and the role are known */
    json_t *status;             /* its /v1/status; NULL: it did not answer */
    char fault[200];            /* why it did not */
};

struct fleet {
    struct fleet_member *members;
    size_t count;
    const json_t *view; /* the status of the first gateway that answered */
};

/* Asks a gateway who there is, and then everybody. ERROR_UNREACHABLE where no gateway answers. */
int fleet_ask(struct fleet *fleet, struct deployment *deployment, struct error *err) MUST_CHECK;
void fleet_free(struct fleet *fleet);

bool fleet_is_gateway(const struct fleet_member *member);

/* The number at KEY of OBJECT, 0 where there is none. */
uint64_t fleet_number(const json_t *object, const char *key);

/* The requests of UNIT that all gateways that answered have routed. */
uint64_t fleet_unit_requests(const struct fleet *fleet, const char *unit);

/* The status of the agent of UNIT that answered; NULL where there is none. */
const json_t *fleet_agent_of(const struct fleet *fleet, const char *unit);

/* Why a process does not take the newest rules, appended to WHY, and the epoch that it refuses; 0: it refuses none.
 * STATUS: a gateway's or an agent's. */
uint64_t fleet_refusal(const json_t *status, struct buf *why);

/* The messages that an agent's status calls undelivered. */
uint64_t fleet_pending(const json_t *agent);

/* Appends what is wrong, a sentence a line. */
void fleet_faults(const struct fleet *fleet, struct buf *out);

/* In a word or two. UNIT: of a gateway's status. */
const char *fleet_state(const struct fleet_member *member);
const char *fleet_broker_state(const json_t *unit);

/* The number at KEY of OBJECT as a cell, "-" where there is none. */
void fleet_add_count(struct grid *grid, const json_t *object, const char *key);

/* Finds the deployment, asks everybody, and hands the answers to SHOW, which may ask again. */
typedef enum ctl_exit (*fleet_show_fn)(const struct ctl *ctl, struct fleet *fleet, struct deployment *deployment);
enum ctl_exit fleet_run(const struct ctl *ctl, fleet_show_fn show);

#endif
