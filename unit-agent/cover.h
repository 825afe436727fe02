/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks a unit's primary whether every broker of the in-sync set has all that was read or written before, by this agent
 * on whatever connection: PING, WAIT, INFO. WAIT speaks of what its connection last heard of, so where a blocked XREAD
 * came before, it would answer for the time before the entries were there; the PING brings it up to date. Embedded in
 * who asks.
 */
#ifndef AGENT_COVER_H
#define AGENT_COVER_H

#include "common/broker.h"
#include "common/broker_record.h"

struct cover {
    const struct broker_record *(*record)(void *arg); /* in force; NULL: there is none */
    void (*ended)(void *arg, bool proven, const char *why);
    void *arg;
    bool asking;
    struct broker *broker; /* of the round, */
    uint64_t version;      /* and of the record that it goes by */
    long long counted;     /* what WAIT said */
};

/* Begins a round, which ENDED ends: NOT PROVEN, with the reason, also where the connection is lost or the record is
 * another one by then. One at a time. False: it could not be sent, and nothing is called back. */
bool cover_ask(struct cover *cover, struct broker *broker) MUST_CHECK;

/* The same without a PING, for what the command before told: one of this connection, that does not block. */
bool cover_ask_behind(struct cover *cover, struct broker *broker) MUST_CHECK;

#endif
