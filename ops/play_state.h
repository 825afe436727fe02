/* SPDX-License-Identifier: Apache-2.0
 *
 * What a playground writes about itself, each file whole, by rename:
 *
 *   topology.json    for people and scripts: URLs, the token, every process. There while it runs
 *   playground.json  for ldcctl: its shape, so that it comes up again as it was, and when each process began, so that
 *                    `down` ends no other
 */
#ifndef OPS_PLAY_STATE_H
#define OPS_PLAY_STATE_H

#include <jansson.h>

#include "ops/play_plan.h"

struct play_state {
    int64_t gateways, units, agents, core_brokers;
    unsigned port_base;
    bool etcd, namespaces;
    bool supervised;                /* what dies is started again */
    struct play_process supervisor; /* pid 0: none stays */
    struct play_process *processes; /* name, role, unit, pid, start_ticks, log are filled in */
    size_t count;
};

/* False, and a zeroed *state, where DIR holds no playground, or none whose file can be read. */
bool play_state_load(struct play_state *state, const char *dir);
void play_state_free(struct play_state *state);

/* Who runs. */
int play_state_save(const struct play_plan *plan, struct error *err) MUST_CHECK;

/* Both files, for a playground that runs. */
int play_state_publish(const struct play_plan *plan, struct error *err) MUST_CHECK;

/* It does not run any more: removes the topology, keeps the shape. */
int play_state_retire(const struct play_state *state, const char *dir, struct error *err) MUST_CHECK;

/* The content of topology.json: a new reference. */
json_t *play_state_topology(const struct play_plan *plan);

/* The plan of the playground that STATE tells of, with who runs of it. DIR, PROGRAMS and TOKEN outlive it. */
void play_state_plan(const struct play_state *state, const char *dir, const char *programs, const char *token,
                     struct play_plan *plan);

#endif
