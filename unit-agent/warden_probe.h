/* SPDX-License-Identifier: Apache-2.0
 *
 * The warden's own connection to one broker: looks, and what is done upon a look. Look and act are one optimistic
 * transaction: where the stamp changed in between, nothing is done. Owned by the warden.
 */
#ifndef AGENT_WARDEN_PROBE_H
#define AGENT_WARDEN_PROBE_H

#include "common/broker.h"
#include "unit-agent/warden_decide.h"

struct warden_probe;

/* LOOK is complete, and borrowed for the call; what is to be done is done from in here. */
typedef void (*warden_look_fn)(void *arg, const struct warden_look *look);

struct warden_probe *warden_probe_create(const struct broker_loop *loop, const struct broker_config *broker,
                                         struct str unit, warden_look_fn looked, void *arg);
void warden_probe_destroy(struct warden_probe **probe);

/* Begins a look unless one is under way, or what it led to. */
void warden_probe_look(struct warden_probe *probe);

/* The last look, where nothing was done upon it and no other one is under way, so that it may still be acted upon.
 * Borrowed until the next call. NULL: there is none. */
const struct warden_look *warden_probe_standing(const struct warden_probe *probe);

/* Only upon a look: from within LOOKED, or where one stands. RECORD is borrowed for the call. A promotion and a stamp
 * also name the data where they have no name. False where the connection takes no command. */
bool warden_probe_promote(struct warden_probe *probe, const struct broker_record *record);
bool warden_probe_stamp(struct warden_probe *probe, const struct broker_record *record);
bool warden_probe_follow(struct warden_probe *probe, const struct broker_record *record);

/* Why the broker does not answer; NULL where it does. */
const char *warden_probe_fault(const struct warden_probe *probe);
/* It refuses connections: nobody listens there. */
bool warden_probe_gone(const struct warden_probe *probe);

#endif
