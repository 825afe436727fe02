/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/outbox.h"

#include <stdlib.h>

#include "common/broker_event.h"

#define FIXED_WORDS 4 /* FCALL function 1 key */

struct outbox {
    const struct agent_config *options;
    const char *password;
    struct broker_loop loop;
    char *url;
    struct broker *broker; /* NULL: none is known */
    const char **words;    /* of the call that is being made; reused */
    size_t *lengths, room;
};

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    (void)arg, (void)broker, (void)state;
}

static void disconnect(struct outbox *outbox)
{
    broker_destroy(&outbox->broker);
    free(outbox->url);
    outbox->url = NULL;
}

void outbox_adopt(struct outbox *outbox, struct str primary)
{
    if (outbox->url != NULL && str_equal(str_of(outbox->url), primary))
        return;
    disconnect(outbox);
    if (primary.len == 0)
        return;
    outbox->url = str_dup(primary);
    outbox->broker = broker_create(&outbox->loop,
                                   &(struct broker_config){.url = outbox->url,
                                                           .user = outbox->options->broker.user,
                                                           .password = outbox->password,
                                                           .command_timeout_ms = outbox->options->broker.timeout,
                                                           .must_be_primary = true,
                                                           .functions = true},
                                   on_state, outbox);
}

bool outbox_ready(const struct outbox *outbox)
{
    return outbox->broker != NULL && broker_state(outbox->broker) == BROKER_READY;
}

static void put(struct outbox *outbox, size_t at, struct str word)
{
    outbox->words[at] = word.base != NULL ? word.base : "";
    outbox->lengths[at] = word.len;
}

bool outbox_call(struct outbox *outbox, const char *function, struct str key, const struct str *args, size_t count,
                 broker_reply_fn done, void *arg)
{
    size_t words = FIXED_WORDS + count;
    if (!outbox_ready(outbox))
        return false;
    if (words > outbox->room) {
        outbox->room = 2 * words;
        outbox->words = mem_realloc(outbox->words, outbox->room * sizeof(*outbox->words));
        outbox->lengths = mem_realloc(outbox->lengths, outbox->room * sizeof(*outbox->lengths));
    }
    put(outbox, 0, STR_LIT("FCALL"));
    put(outbox, 1, str_of(function));
    put(outbox, 2, STR_LIT("1"));
    put(outbox, 3, key);
    for (size_t i = 0; i < count; i++)
        put(outbox, FIXED_WORDS + i, args[i]);
    return broker_command(outbox->broker, done, arg, (int)words, outbox->words, outbox->lengths);
}

struct outbox *outbox_create(sd_event *loop, const struct agent_config *options, const char *password)
{
    struct outbox *outbox = mem_calloc(1, sizeof(*outbox));
    outbox->options = options;
    outbox->password = password;
    outbox->loop = broker_loop_of_event(loop);
    return outbox;
}

void outbox_destroy(struct outbox **outbox_p)
{
    struct outbox *outbox = *outbox_p;
    if (outbox == NULL)
        return;
    *outbox_p = NULL;
    disconnect(outbox);
    free(outbox->words);
    free(outbox->lengths);
    free(outbox);
}
