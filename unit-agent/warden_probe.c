/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/warden_probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/protocol.h"
#include "common/url.h"

/* As ldc1_stamp, which a broker that was never written to does not have. */
static const char stamp_script[] = "if tonumber(ARGV[1]) > tonumber(redis.call('GET', KEYS[1]) or '0') then "
                                   "redis.call('SET', KEYS[1], ARGV[1]) end "
                                   "redis.call('SET', KEYS[2], ARGV[2], 'NX') return redis.call('GET', KEYS[1])";

struct warden_probe {
    struct broker *broker;
    char epoch_key[PROTOCOL_KEY_MAX], dataset_key[PROTOCOL_KEY_MAX], writes_key[PROTOCOL_KEY_MAX];
    warden_look_fn looked;
    void *arg;
    struct warden_look look; /* under way */
    unsigned owed;           /* replies to it, and to what it led to */
    bool failed;
    bool watches; /* the last look's WATCH stands: what it saw is so still, or EXEC does nothing */
};

static struct str text_of(const redisReply *reply)
{
    bool text = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
    return text ? (struct str){reply->str, reply->len} : (struct str){NULL, 0};
}

static bool is_array(const redisReply *reply, size_t least)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements >= least;
}

/* --- looking ------------------------------------------------------------------------------------------------------ */

static void on_watched(void *arg, const redisReply *reply)
{
    struct warden_probe *probe = arg;
    probe->owed--;
    probe->failed |= reply == NULL || reply->type == REDIS_REPLY_ERROR;
}

static void on_marks(void *arg, const redisReply *reply)
{
    struct warden_probe *probe = arg;
    struct warden_look *look = &probe->look;
    probe->owed--;
    probe->failed |= !is_array(reply, 3);
    if (probe->failed)
        return;
    struct str dataset = text_of(reply->element[1]);
    if (!str_to_u64(text_of(reply->element[0]), &look->stamp))
        look->stamp = 0;
    if (!str_to_u64(text_of(reply->element[2]), &look->writes))
        look->writes = 0;
    snprintf(look->dataset, sizeof(look->dataset), "%.*s", STR_ARG(dataset));
}

static bool take_replica(struct warden_look *look, const redisReply *role)
{
    if (!is_array(role, 5))
        return false;
    snprintf(look->follows, sizeof(look->follows), "%.*s:%lld", STR_ARG(text_of(role->element[1])),
             role->element[2]->integer);
    look->link_up = str_equal(text_of(role->element[3]), STR_LIT("connected"));
    look->offset = role->element[4]->integer > 0 ? (uint64_t)role->element[4]->integer : 0;
    return true;
}

static bool take_role(struct warden_look *look, const redisReply *role)
{
    if (!is_array(role, 2))
        return false;
    look->is_primary = str_equal(text_of(role->element[0]), STR_LIT("master"));
    if (!look->is_primary)
        return take_replica(look, role);
    look->offset = (uint64_t)role->element[1]->integer;
    return true;
}

static void on_role(void *arg, const redisReply *reply)
{
    struct warden_probe *probe = arg;
    probe->owed--;
    if (probe->failed || !take_role(&probe->look, reply))
        return;
    snprintf(probe->look.run_id, sizeof(probe->look.run_id), "%s", broker_run_id(probe->broker));
    probe->watches = true;
    if (probe->look.run_id[0] != '\0')
        probe->looked(probe->arg, &probe->look);
}

static bool ask(struct warden_probe *probe, broker_reply_fn done, int argc, const char *const *argv)
{
    bool sent = broker_command(probe->broker, done, probe, argc, argv, NULL);
    probe->owed += sent;
    probe->failed |= !sent;
    return sent;
}

void warden_probe_look(struct warden_probe *probe)
{
    if (probe->owed > 0 || broker_state(probe->broker) != BROKER_READY)
        return;
    probe->look = (struct warden_look){.stamp = 0};
    probe->failed = probe->watches = false;
    ask(probe, on_watched, 1, (const char *[]){"UNWATCH"});
    ask(probe, on_watched, 3, (const char *[]){"WATCH", probe->epoch_key, probe->dataset_key});
    ask(probe, on_marks, 4, (const char *[]){"MGET", probe->epoch_key, probe->dataset_key, probe->writes_key});
    ask(probe, on_role, 1, (const char *[]){"ROLE"});
}

const struct warden_look *warden_probe_standing(const struct warden_probe *probe)
{
    return probe->watches && probe->owed == 0 && probe->look.run_id[0] != '\0' ? &probe->look : NULL;
}

/* --- acting ------------------------------------------------------------------------------------------------------- */

static void on_queued(void *arg, const redisReply *reply)
{
    struct warden_probe *probe = arg;
    probe->owed--;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        log_warning("broker.refused", "%s", reply->str);
}

/* Nil: the stamp changed since the look, and the next look judges anew. */
static void on_executed(void *arg, const redisReply *reply)
{
    struct warden_probe *probe = arg;
    bool done = is_array(reply, 1);
    probe->owed--;
    for (size_t i = 0; is_array(reply, 1) && i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_ERROR) {
            log_warning("broker.refused", "%s", reply->element[i]->str);
            done = false;
        }
    if (done) /* requests may wait for what it shows now */
        warden_probe_look(probe);
}

static bool queue_stamp(struct warden_probe *probe, const struct broker_record *record)
{
    char version[24];
    snprintf(version, sizeof(version), "%" PRIu64, record->version);
    return ask(
        probe, on_queued, 7,
        (const char *[]){"EVAL", stamp_script, "2", probe->epoch_key, probe->dataset_key, version, record->dataset});
}

static bool begin(struct warden_probe *probe)
{
    probe->watches = false;
    return ask(probe, on_queued, 1, (const char *[]){"MULTI"});
}

bool warden_probe_promote(struct warden_probe *probe, const struct broker_record *record)
{
    return begin(probe) && ask(probe, on_queued, 3, (const char *[]){"REPLICAOF", "NO", "ONE"}) &&
           ask(probe, on_queued, 4, (const char *[]){"CONFIG", "SET", "min-replicas-to-write", "0"}) &&
           queue_stamp(probe, record) && ask(probe, on_executed, 1, (const char *[]){"EXEC"});
}

bool warden_probe_stamp(struct warden_probe *probe, const struct broker_record *record)
{
    return begin(probe) && queue_stamp(probe, record) && ask(probe, on_executed, 1, (const char *[]){"EXEC"});
}

bool warden_probe_follow(struct warden_probe *probe, const struct broker_record *record)
{
    struct url url;
    struct error err;
    char host[BROKER_URL_SIZE], port[8];
    if (url_parse(str_of(record->primary), 6379, &url, &err) != 0)
        return false;
    snprintf(host, sizeof(host), "%.*s", STR_ARG(url.host));
    snprintf(port, sizeof(port), "%u", url.port);
    return begin(probe) && ask(probe, on_queued, 3, (const char *[]){"REPLICAOF", host, port}) &&
           ask(probe, on_executed, 1, (const char *[]){"EXEC"});
}

/* --- outside ------------------------------------------------------------------------------------------------------ */

const char *warden_probe_fault(const struct warden_probe *probe)
{
    return broker_state(probe->broker) == BROKER_READY ? NULL : broker_fault(probe->broker);
}

bool warden_probe_gone(const struct warden_probe *probe)
{
    return broker_state(probe->broker) == BROKER_DOWN && strstr(broker_fault(probe->broker), "refused") != NULL;
}

/* A new connection watches nothing. */
static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    struct warden_probe *probe = arg;
    (void)broker, (void)state;
    probe->watches = false;
}

struct warden_probe *warden_probe_create(const struct broker_loop *loop, const struct broker_config *broker,
                                         struct str unit, warden_look_fn looked, void *arg)
{
    struct warden_probe *probe = mem_calloc(1, sizeof(*probe));
    probe->looked = looked;
    probe->arg = arg;
    protocol_unit_key(probe->epoch_key, unit, "epoch");
    protocol_unit_key(probe->dataset_key, unit, "dataset");
    protocol_unit_key(probe->writes_key, unit, "writes");
    probe->broker = broker_create(loop, broker, on_state, probe);
    return probe;
}

void warden_probe_destroy(struct warden_probe **probe_p)
{
    struct warden_probe *probe = *probe_p;
    if (probe == NULL)
        return;
    *probe_p = NULL;
    probe->failed = true;
    broker_destroy(&probe->broker);
    free(probe);
}
