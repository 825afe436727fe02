/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/command.h"

#include <stdio.h>

#include "common/invariant.h"

#define WORDS_BEFORE_KEYS 3 /* FCALL, the name, how many keys */

void command_add(struct command *command, struct str word)
{
    INVARIANT(command->count < COMMAND_MOST);
    command->starts[command->count++] = command->text.len;
    buf_append_str(&command->text, word);
    buf_append(&command->text, "", 1);
}

void command_begin(struct command *command, const char *name)
{
    command->text.len = command->count = 0;
    command_add(command, STR_LIT("FCALL"));
    command_add(command, STR_LIT("ldc1_"));
    command->text.len--;
    buf_append(&command->text, name, strlen(name) + 1);
    command_add(command, STR_LIT("")); /* see command_send */
}

void command_end_keys(struct command *command)
{
    snprintf(command->key_count, sizeof(command->key_count), "%zu", command->count - WORDS_BEFORE_KEYS);
}

void command_add_text(struct command *command, const char *word)
{
    command_add(command, str_of(word));
}

void command_add_number(struct command *command, int64_t number)
{
    char text[24];
    command_add(command, (struct str){text, (size_t)snprintf(text, sizeof(text), "%ld", (long)number)});
}

void command_add_id(struct command *command, struct stream_id id)
{
    char text[STREAM_ID_TEXT];
    stream_id_format(text, id);
    command_add(command, str_of(text));
}

bool command_send(const struct command *command, struct broker *broker, broker_reply_fn done, void *arg)
{
    const char *words[COMMAND_MOST];
    size_t lens[COMMAND_MOST];
    for (size_t i = 0; i < command->count; i++) {
        size_t end = i + 1 < command->count ? command->starts[i + 1] : command->text.len;
        words[i] = command->text.base + command->starts[i];
        lens[i] = end - command->starts[i] - 1;
    }
    words[WORDS_BEFORE_KEYS - 1] = command->key_count;
    lens[WORDS_BEFORE_KEYS - 1] = strlen(command->key_count);
    return broker_command(broker, done, arg, (int)command->count, words, lens);
}

bool command_fenced(const redisReply *reply)
{
    return broker_is_error(reply, "LDC_LEASE");
}

void command_free(struct command *command)
{
    buf_free(&command->text);
}
