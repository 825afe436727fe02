/* SPDX-License-Identifier: Apache-2.0
 *
 * Planned work on a unit: what each of the operators' verbs makes of its broker record, or why it does not. Pure: all
 * that must be known comes in struct unit_work, whose texts are borrowed.
 *
 * None of them moves anything itself. A record that says `hold` and names a target is seen through by every gateway
 * (router/core_plan.h).
 */
#ifndef GATEWAY_UNIT_WORK_H
#define GATEWAY_UNIT_WORK_H

#include "common/broker_record.h"
#include "router/table.h"

/* The agents of a unit that are heard, and the nodes of its app as they say. */
struct unit_hands {
    unsigned agents, nodes_up, nodes_listed;
};

struct unit_work {
    const struct table *table;
    uint32_t unit;
    struct unit_hands home, standby;
    bool well[BROKER_MEMBERS_MOST]; /* of the brokers that the rules name: heard, able to work, in the recorded run */
    const char *guest;              /* a unit that this one serves beside its own; NULL: none */
    bool standby_drained, standby_full; /* full: it cannot carry the load of both */
    const char *by, *note;              /* note: "" where none was given */
    uint64_t now_us;                    /* wall */
};

/* Each changes *RECORD, and signs it, so that its at_us tells whether anything was to be done. -1 with *err: refused.
 */
typedef int unit_work_fn(const struct unit_work *work, struct broker_record *record, struct error *err);

/* Its home is about to be worked on: its standby takes the queue and the requests. */
unit_work_fn unit_work_drain MUST_CHECK;
/* The work is done, and all is there again. It stays where it is. */
unit_work_fn unit_work_ready MUST_CHECK;
/* The same, and it goes home. What moved it before does not count against it any more. */
unit_work_fn unit_work_failback MUST_CHECK;
/* At once, and without asking the gateways' votes: its primary is taken for lost. */
unit_work_fn unit_work_fail MUST_CHECK;
/* The broker COPY, whatever it lacks, leads from now on. */
int unit_work_accept_loss(const struct unit_work *work, const struct broker_member *copy, struct broker_record *record,
                          struct error *err) MUST_CHECK;

#endif
