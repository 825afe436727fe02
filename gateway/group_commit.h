/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that a replica must hold before they are acknowledged. They share their waiting: whenever one of the few
 * connections is idle at the end of a loop turn, all that came since for its partitions leaves in one pipeline, with
 * one WAIT for all and one INFO that proves it (common/broker_record.h). Nothing here waits for a batch to fill: under
 * load it fills while the one before is under way. Messages of a partition keep their order. Part of a line, which owns
 * it.
 */
#ifndef GATEWAY_GROUP_COMMIT_H
#define GATEWAY_GROUP_COMMIT_H

#include "gateway/message.h"

struct group_commit;
struct broker_config;

/* LINE and what CONFIG points to outlive it. */
struct group_commit *group_commit_create(struct line *line, const struct broker_config *config);
/* Concludes all messages. */
void group_commit_destroy(struct group_commit **group);

/* Why no message can be replicated now by the replicas of the record, as a sentence; NULL where nothing is known to be
 * in the way. After a proof that failed, all wait until another one has succeeded: what is certainly not stored is
 * better news than what may be. */
const char *group_commit_fault(const struct group_commit *group);

/* Whether nothing that was sent on connections that are lost can be run by the broker any more. */
bool group_commit_has_ended_former(const struct group_commit *group);

/* Takes MESSAGE: CALL, which is copied, or where that is NULL what the message keeps. It is concluded, or held, later.
 */
void group_commit_add(struct group_commit *group, struct message *message, const struct queue_call *call);

/* Gives up all proofs and messages: they are held. Not from a broker's callback. */
void group_commit_withdraw(struct group_commit *group);

/* At the end of a loop turn: sends what can be sent of the groups that have something waiting. */
void group_commit_flush(struct lines *lines);

#endif
