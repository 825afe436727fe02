/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks for streams of the unit that no rule names: topics and partitions that are gone from the rules may still hold
 * messages that were accepted. Part of the ledger, which fills the fields; borrows all of them.
 */
#ifndef AGENT_DISCOVERY_H
#define AGENT_DISCOVERY_H

#include "common/broker.h"

struct discovery {
    struct str unit;
    /* As in struct ledger_config. */
    bool (*found)(void *arg, struct str key);
    void *arg;
    /* Some were added. */
    void (*added)(void *ledger);
    void *ledger;
    struct broker *broker; /* set by discovery_begin */
};

/* Goes through all keys of BROKER once, in slices. */
void discovery_begin(struct discovery *discovery, struct broker *broker);

#endif
