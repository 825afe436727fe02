/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/cover.h"

#include <stdio.h>

#define WAIT_MS "100"

static bool proves(const struct cover *cover, const redisReply *info, char *why, size_t size)
{
    snprintf(why, size, "the connection was lost");
    if (info == NULL || info->type != REDIS_REPLY_STRING)
        return false;
    const struct broker_record *record = cover->record(cover->arg);
    snprintf(why, size, "the record of the in-sync brokers changed");
    if (record == NULL || record->version != cover->version)
        return false;
    snprintf(why, size, "%lld of %u replicas have confirmed it", cover->counted, record->wait);
    return cover->counted >= (long long)record->wait &&
           broker_record_covers(record, (struct str){info->str, (size_t)info->len}, broker_run_id(cover->broker), why,
                                size);
}

static void on_info(void *arg, const redisReply *reply)
{
    struct cover *cover = arg;
    char why[200];
    bool proven = proves(cover, reply, why, sizeof(why));
    cover->asking = false;
    cover->ended(cover->arg, proven, why);
}

static void on_wait(void *arg, const redisReply *reply)
{
    struct cover *cover = arg;
    cover->counted = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
}

static void on_ping(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

bool cover_ask_behind(struct cover *cover, struct broker *broker)
{
    const struct broker_record *record = cover->record(cover->arg);
    if (record == NULL || record->member_count == 0)
        return false;
    char count[24];
    snprintf(count, sizeof(count), "%u", record->wait);
    const char *const wait_words[] = {"WAIT", count, WAIT_MS}, *const info_words[] = {"INFO", "replication", "stats",
                                                                                      "persistence"};
    cover->broker = broker;
    cover->version = record->version;
    cover->counted = -1;
    cover->asking = broker_command(broker, on_wait, cover, 3, wait_words, NULL) &&
                    broker_command(broker, on_info, cover, 4, info_words, NULL);
    return cover->asking;
}

bool cover_ask(struct cover *cover, struct broker *broker)
{
    const char *const words[] = {"PING"};
    const struct broker_record *record = cover->record(cover->arg);
    return record != NULL && record->member_count > 0 && broker_command(broker, on_ping, cover, 1, words, NULL) &&
           cover_ask_behind(cover, broker);
}
