/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/memory_guard.h"

#include "common/broker_info.h"

#define INTERVAL_MS 200

static void on_info(void *arg, const redisReply *reply)
{
    struct memory_guard *guard = arg;
    uint64_t used, most;
    guard->asked = false;
    if (guard->timer == NULL || reply == NULL || reply->type != REDIS_REPLY_STRING)
        return;
    struct str info = {reply->str, reply->len};
    if (broker_info_number(info, "used_memory", &used) && broker_info_number(info, "maxmemory", &most))
        stat_set(&guard->unit->memory_percent, most > 0 ? (uint64_t)((double)used * 100 / (double)most) : 0);
}

static void ask(void *arg)
{
    struct memory_guard *guard = arg;
    const char *words[] = {"INFO", "memory"};
    guard->timer = guard->loop->timer_start(guard->loop->loop, INTERVAL_MS, ask, guard);
    if (!guard->asked)
        guard->asked = broker_command(guard->broker, on_info, guard, 2, words, NULL);
}

void memory_guard_start(struct memory_guard *guard, const struct broker_loop *loop, struct broker *broker,
                        struct unit *unit)
{
    *guard = (struct memory_guard){.loop = loop, .broker = broker, .unit = unit};
    guard->timer = loop->timer_start(loop->loop, 0, ask, guard);
}

void memory_guard_stop(struct memory_guard *guard)
{
    if (guard->timer != NULL)
        guard->loop->timer_stop(guard->loop->loop, guard->timer);
    guard->timer = NULL;
    stat_set(&guard->unit->memory_percent, 0);
}
