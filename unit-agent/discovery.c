/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/discovery.h"

#include <stdio.h>

#include "common/log.h"
#include "common/measure.h"
#include "common/protocol.h"

static void scan(struct discovery *discovery, const char *position);

static void on_scanned(void *arg, const redisReply *reply)
{
    struct discovery *discovery = arg;
    bool added = false;
    if (reply == NULL)
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING) {
        log_warning("stream.discovery", "the broker does not list its streams: %s", reply->str ? reply->str : "");
        return;
    }
    const redisReply *keys = reply->element[1];
    for (size_t i = 0; i < keys->elements; i++)
        added |= discovery->found(discovery->arg, (struct str){keys->element[i]->str, (size_t)keys->element[i]->len});
    if (added)
        discovery->added(discovery->ledger);
    if (strcmp(reply->element[0]->str, "0") != 0)
        scan(discovery, reply->element[0]->str);
}

static void scan(struct discovery *discovery, const char *position)
{
    char pattern[PROTOCOL_KEY_MAX];
    snprintf(pattern, sizeof(pattern), "ldc:{%.*s/*}:stream", STR_ARG(discovery->unit));
    const char *words[] = {"SCAN", position, "MATCH", pattern, "COUNT", "1000", "TYPE", "stream"};
    (void)!broker_command(discovery->broker, on_scanned, discovery, COUNT_OF(words), words, NULL);
}

void discovery_begin(struct discovery *discovery, struct broker *broker)
{
    discovery->broker = broker;
    scan(discovery, "0");
}
