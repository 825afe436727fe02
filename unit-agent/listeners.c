/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/listeners.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

#define SILENT_MS  30000
#define MOST_NAMES 32
#define BATCH      128

static void on_told(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

static struct str text_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, (size_t)reply->len} : (struct str){NULL, 0};
}

/* --- those that are gone ----------------------------------------------------------------------------------------- */

static void send_removal(struct listeners *listeners, char **keys, size_t count)
{
    const char *argv[BATCH + 1] = {"UNLINK"};
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = keys[i];
    if (count > 0)
        (void)!broker_command(roster_broker(listeners->roster), on_told, NULL, (int)count + 1, argv, NULL);
    for (size_t i = 0; i < count; i++)
        free(keys[i]);
}

/* LISTENER: "SUBSCRIPTION@AGENT". An agent that comes back meanwhile writes its cursors anew. */
static void remove_cursors(struct listeners *listeners, struct str topic, struct str listener)
{
    char suffix[PROTOCOL_KEY_MAX], key[PROTOCOL_KEY_MAX], *keys[BATCH];
    size_t count = 0;
    snprintf(suffix, sizeof(suffix), "cursor:%.*s", STR_ARG(listener));
    for (size_t i = 0; i < listeners->partitions->count; i++) {
        const struct partition *partition = listeners->partitions->items[i];
        if (!str_equal(str_of(partition->topic), topic))
            continue;
        size_t len = protocol_key(key, listeners->unit, topic, partition->number, suffix);
        keys[count++] = str_dup((struct str){key, len});
        if (count == BATCH) {
            send_removal(listeners, keys, count);
            count = 0;
        }
    }
    send_removal(listeners, keys, count);
}

static void forget(struct listeners *listeners, const char *hash, struct str field)
{
    struct str rest = field, topic;
    char text[PROTOCOL_KEY_MAX];
    snprintf(text, sizeof(text), "%.*s", STR_ARG(field));
    log_warning("listener.forgotten", "%s said nothing for %ld ms: its cursors are removed", text,
                (long)listeners->options->lease.listener_timeout);
    if (str_next(&rest, '/', &topic) && rest.len > 0)
        remove_cursors(listeners, topic, rest);
    const char *const argv[] = {"HDEL", hash, text};
    (void)!broker_command(roster_broker(listeners->roster), on_told, NULL, 3, argv, NULL);
}

/* --- who is there ------------------------------------------------------------------------------------------------ */

static void on_list(void *arg, const redisReply *reply)
{
    struct listeners *listeners = arg;
    char hash[PROTOCOL_KEY_MAX];
    uint64_t silent = 0;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || listeners->roster == NULL)
        return;
    protocol_unit_key(hash, listeners->unit, "listeners");
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        long long ms = reply->element[i + 1]->integer;
        silent += ms > SILENT_MS;
        if (ms > listeners->options->lease.listener_timeout && roster_is_keeper(listeners->roster))
            forget(listeners, hash, text_of(reply->element[i]));
    }
    if (silent > stat_get(&listeners->stats->agent_listeners_silent))
        log_warning("listener.silent",
                    "%lu agents that listened to broadcasts say nothing: what they have not passed "
                    "is not trimmed until they are forgotten",
                    (unsigned long)silent);
    stat_set(&listeners->stats->agent_listeners_silent, silent);
}

/* Those from AT on, as many as one call takes. Returns the first that is left. */
static const struct subscription *tell_some(struct listeners *listeners, const struct subscription *at)
{
    char hash[PROTOCOL_KEY_MAX], names[MOST_NAMES][PROTOCOL_KEY_MAX];
    const char *argv[MOST_NAMES + 4] = {"FCALL", "ldc1_listen", "1", hash};
    int argc = 4;
    protocol_unit_key(hash, listeners->unit, "listeners");
    for (; at != NULL && argc < MOST_NAMES + 4; at = at->next) {
        if (!at->broadcast || !at->listed)
            continue;
        snprintf(names[argc - 4], sizeof(names[0]), "%s/%s@%.*s", at->topic, at->name, STR_ARG(listeners->name));
        argv[argc] = names[argc - 4];
        argc++;
    }
    (void)!broker_command(roster_broker(listeners->roster), on_list, listeners, argc, argv, NULL);
    return at;
}

void listeners_tick(struct listeners *listeners)
{
    const struct subscription *at = *listeners->subscriptions;
    if (listeners->roster == NULL)
        return;
    do
        at = tell_some(listeners, at);
    while (at != NULL);
}
