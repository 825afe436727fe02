/* SPDX-License-Identifier: Apache-2.0
 *
 * A call of one of the broker's functions, put together word by word. Reused from call to call; owns its text.
 */
#ifndef AGENT_COMMAND_H
#define AGENT_COMMAND_H

#include "common/broker.h"
#include "common/stream_id.h"

#define COMMAND_MOST 640 /* words */

struct command {
    struct buf text; /* the words, zero-terminated */
    size_t starts[COMMAND_MOST], count;
    char key_count[24];
};

/* Begins a call of ldc1_NAME. Keys follow, then command_end_keys, then arguments. */
void command_begin(struct command *command, const char *name);
void command_end_keys(struct command *command);
void command_add(struct command *command, struct str word);
void command_add_text(struct command *command, const char *word);
void command_add_number(struct command *command, int64_t number);
void command_add_id(struct command *command, struct stream_id id);

/* REPLY (may be NULL) says that another agent owns the partition. */
bool command_fenced(const redisReply *reply);

/* As broker_command. */
bool command_send(const struct command *command, struct broker *broker, broker_reply_fn done, void *arg) MUST_CHECK;
void command_free(struct command *command);

#endif
