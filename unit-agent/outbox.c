/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/outbox.h"

#include <stdlib.h>

#include "unit-agent/primary.h"

#define FIXED_WORDS 4 /* FCALL function 1 key */

struct outbox {
    struct primary primary;
    const char **words; /* of the call that is being made; reused */
    size_t *lengths, room;
};

void outbox_adopt(struct outbox *outbox, struct str primary)
{
    primary_adopt(&outbox->primary, primary);
}

bool outbox_ready(const struct outbox *outbox)
{
    return primary_is_ready(&outbox->primary);
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
    return broker_command(outbox->primary.broker, done, arg, (int)words, outbox->words, outbox->lengths);
}

struct outbox *outbox_create(sd_event *loop, const struct agent_config *options, const char *password)
{
    struct outbox *outbox = mem_calloc(1, sizeof(*outbox));
    primary_init(&outbox->primary, loop, options, password, NULL, NULL);
    return outbox;
}

void outbox_destroy(struct outbox **outbox_p)
{
    struct outbox *outbox = *outbox_p;
    if (outbox == NULL)
        return;
    *outbox_p = NULL;
    primary_close(&outbox->primary);
    free(outbox->words);
    free(outbox->lengths);
    free(outbox);
}
