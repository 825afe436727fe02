/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/keeper_probe.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/protocol.h"

struct keeper_probe {
    struct broker *broker;
    char dataset_key[PROTOCOL_KEY_MAX], epoch_key[PROTOCOL_KEY_MAX], writes_key[PROTOCOL_KEY_MAX];
    unsigned index;
    keeper_look_fn looked;
    void *arg;
    struct keeper_look look; /* under way */
    unsigned owed;           /* replies to it */
    bool failed;
};

static struct str text_of(const redisReply *reply)
{
    bool text = reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
    return text ? (struct str){reply->str, reply->len} : (struct str){NULL, 0};
}

static void take_clients(struct keeper_probe *probe, const redisReply *reply,
                         void (*take)(struct keeper_look *look, struct str clients))
{
    struct str clients = text_of(reply);
    probe->failed |= clients.base == NULL;
    take(&probe->look, clients);
}

static void on_replicas(void *arg, const redisReply *reply)
{
    struct keeper_probe *probe = arg;
    take_clients(probe, reply, keeper_look_replicas);
    probe->owed--;
}

static void on_primary(void *arg, const redisReply *reply)
{
    struct keeper_probe *probe = arg;
    take_clients(probe, reply, keeper_look_primary);
    probe->owed--;
}

static void on_marks(void *arg, const redisReply *reply)
{
    struct keeper_probe *probe = arg;
    probe->owed--;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
        probe->failed = true;
        return;
    }
    struct str dataset = text_of(reply->element[0]);
    if (dataset.len > 0 && dataset.len < sizeof(probe->look.dataset))
        memcpy(probe->look.dataset, dataset.base, dataset.len);
    if (!str_to_u64(text_of(reply->element[1]), &probe->look.epoch))
        probe->look.epoch = 0;
    if (!str_to_u64(text_of(reply->element[2]), &probe->look.writes))
        probe->look.writes = 0;
}

static void on_fsync(void *arg, const redisReply *reply)
{
    struct keeper_probe *probe = arg;
    probe->owed--;
    probe->look.fsync_always = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                               str_equal(text_of(reply->element[1]), STR_LIT("always"));
}

/* The last of them. */
static void on_info(void *arg, const redisReply *reply)
{
    struct keeper_probe *probe = arg;
    struct str info = text_of(reply);
    probe->owed--;
    if (info.base == NULL || !keeper_look_info(&probe->look, info) || probe->failed)
        return;
    probe->look.ended_us = clock_monotonic_us();
    probe->looked(probe->arg, probe->index, &probe->look);
}

static void ask(struct keeper_probe *probe, broker_reply_fn done, const char *const *argv, int argc)
{
    bool sent = broker_command(probe->broker, done, probe, argc, argv, NULL);
    probe->owed += sent;
    probe->failed |= !sent;
}

/* INFO comes last: what it counts covers every link in the lists before it. */
void keeper_probe_look(struct keeper_probe *probe)
{
    if (probe->owed > 0 || broker_state(probe->broker) != BROKER_READY)
        return;
    probe->look = (struct keeper_look){.began_us = clock_monotonic_us()};
    probe->failed = false;
    ask(probe, on_replicas, (const char *[]){"CLIENT", "LIST", "TYPE", "replica"}, 4);
    ask(probe, on_primary, (const char *[]){"CLIENT", "LIST", "TYPE", "master"}, 4);
    ask(probe, on_marks, (const char *[]){"MGET", probe->dataset_key, probe->epoch_key, probe->writes_key}, 4);
    ask(probe, on_fsync, (const char *[]){"CONFIG", "GET", "appendfsync"}, 3);
    ask(probe, on_info, (const char *[]){"INFO", "server", "replication", "stats", "persistence"}, 5);
}

struct broker *keeper_probe_broker(struct keeper_probe *probe)
{
    return probe->broker;
}

struct keeper_probe *keeper_probe_create(const struct broker_loop *loop, const struct broker_config *broker,
                                         struct str unit, unsigned index, keeper_look_fn looked, void *arg)
{
    struct keeper_probe *probe = mem_calloc(1, sizeof(*probe));
    probe->index = index;
    probe->looked = looked;
    probe->arg = arg;
    protocol_unit_key(probe->dataset_key, unit, "dataset");
    protocol_unit_key(probe->epoch_key, unit, "epoch");
    protocol_unit_key(probe->writes_key, unit, "writes");
    probe->broker = broker_create(loop, broker, NULL, NULL);
    return probe;
}

void keeper_probe_destroy(struct keeper_probe **probe_p)
{
    struct keeper_probe *probe = *probe_p;
    if (probe == NULL)
        return;
    *probe_p = NULL;
    probe->failed = true;
    broker_destroy(&probe->broker);
    free(probe);
}
