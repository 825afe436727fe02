/* SPDX-License-Identifier: Apache-2.0
 *
 * The hosts of a playground as network namespaces: one for each host, and one in the middle that routes between them,
 * with a wire (veth) to each and one to where ldcctl runs. So no message between two hosts passes by the router, and
 * what it drops is lost without a word to whoever sent it.
 *
 * All names begin with "ldc-" and an id that follows from the folder: nothing needs to be written down to find and
 * remove exactly these, whatever became of who made them.
 */
#ifndef OPS_HOSTS_H
#define OPS_HOSTS_H

#include "ops/play_plan.h"

/* Whether this process may make them and the machine has what that takes. */
int hosts_check(struct error *err) MUST_CHECK;

/* The three numbers that the addresses of DIR's playground begin with, such as "10.77.3". */
void hosts_network(const char *dir, char network[16]);

/* The namespace of HOST, and of the router, in DIR's playground. */
void hosts_namespace(const char *dir, const char *host, char name[PLAY_NAMESPACE]);
void hosts_router(const char *dir, char name[PLAY_NAMESPACE]);

/* Makes those of PLAN, in place of what is left of an earlier run. */
int hosts_make(const struct play_plan *plan, struct error *err) MUST_CHECK;

/* Removes all that DIR's playground has; nothing where it has none. Its processes have ended. */
int hosts_remove(const char *dir, struct error *err) MUST_CHECK;

#endif
