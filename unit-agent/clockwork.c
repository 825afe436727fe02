/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/clockwork.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/checkback.h"
#include "unit-agent/primary.h"

#define IDLE_US     100000 /* between two looks whether this agent is the one, and the broker is there */
#define ACCURACY_US 500

struct clockwork {
    struct clockwork_config config;
    char key[PROTOCOL_KEY_MAX]; /* of the unit */
    struct primary primary;
    struct checkback *checkback;
    sd_event_source *timer;
    bool asked, stopped;
    char fault[160]; /* the broker's last refusal, which was logged */
};

static void wake_in(struct clockwork *clockwork, uint64_t us)
{
    if (clockwork->stopped)
        return;
    loop_wake_in(clockwork->timer, us);
}

static bool may_act(const struct clockwork *clockwork)
{
    return !clockwork->stopped && primary_is_ready(&clockwork->primary) &&
           clockwork->config.is_keeper(clockwork->config.arg);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static void note_refusal(struct clockwork *clockwork, const redisReply *reply)
{
    const char *text = reply == NULL ? "" : reply->type == REDIS_REPLY_ERROR ? reply->str : "an answer of another type";
    if (text[0] != '\0' && strcmp(text, clockwork->fault) != 0)
        log_error("timers.refused", "the broker moves no timers: %s", text);
    snprintf(clockwork->fault, sizeof(clockwork->fault), "%s", text);
}

/* WAIT_MS: what the broker says, -1 where nothing waits. Gateways may add something sooner at any time. */
static uint64_t next_look_us(const struct clockwork *clockwork, long long wait_ms)
{
    int64_t poll_ms = clockwork->config.options->timers.poll;
    return 1000 * (uint64_t)(wait_ms < 0 || wait_ms > poll_ms ? poll_ms : wait_ms);
}

static void on_due(void *arg, const redisReply *reply)
{
    struct clockwork *clockwork = arg;
    clockwork->asked = false;
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        note_refusal(clockwork, reply);
        wake_in(clockwork, IDLE_US);
        return;
    }
    clockwork->fault[0] = '\0';
    stat_add(&clockwork->config.stats->agent_timers_due_total, (uint64_t)reply->element[0]->integer);
    wake_in(clockwork, next_look_us(clockwork, reply->element[1]->integer));
}

static bool ask_due(struct clockwork *clockwork)
{
    char near[24];
    snprintf(near, sizeof(near), "%lld", (long long)clockwork->config.options->timers.near);
    const char *words[] = {"FCALL", "ldc1_due", "1", clockwork->key, near};
    return broker_command(clockwork->primary.broker, on_due, clockwork, 5, words, NULL);
}

/* One call at a time, so that others get their turn at the broker between two of them. */
static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct clockwork *clockwork = arg;
    if (clockwork->asked)
        return 0;
    clockwork->asked = may_act(clockwork) && ask_due(clockwork);
    if (clockwork->asked)
        checkback_look(clockwork->checkback);
    else
        wake_in(clockwork, IDLE_US);
    return 0;
}

/* --- what waits --------------------------------------------------------------------------------------------------- */

static void on_waiting(void *arg, const redisReply *reply)
{
    struct agent_stats *stats = ((struct clockwork *)arg)->config.stats;
    stat_value *const gauges[] = {&stats->agent_timers_near, &stats->agent_timers_later,
                                  &stats->agent_transactions_prepared, &stats->agent_transactions_parked};
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return;
    for (size_t i = 0; i < 4; i++)
        stat_set(gauges[i], (uint64_t)reply->element[i]->integer);
}

void clockwork_tick(struct clockwork *clockwork)
{
    const char *words[] = {"FCALL", "ldc1_waiting", "1", clockwork->key};
    if (primary_is_ready(&clockwork->primary))
        (void)!broker_command(clockwork->primary.broker, on_waiting, clockwork, 4, words, NULL);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

void clockwork_adopt(struct clockwork *clockwork, struct str primary)
{
    primary_adopt(&clockwork->primary, primary);
}

void clockwork_stop(struct clockwork *clockwork)
{
    clockwork->stopped = true;
}

struct clockwork *clockwork_create(sd_event *loop, const struct clockwork_config *config)
{
    struct clockwork *clockwork = mem_calloc(1, sizeof(*clockwork));
    clockwork->config = *config;
    primary_init(&clockwork->primary, loop, config->options, config->password, NULL, NULL);
    protocol_unit_key(clockwork->key, str_of(config->options->unit), "");
    clockwork->checkback = checkback_create(loop, &(struct checkback_config){.options = config->options,
                                                                             .stats = config->stats,
                                                                             .key = clockwork->key,
                                                                             .primary = &clockwork->primary,
                                                                             .record = config->record,
                                                                             .arg = config->arg});
    INVARIANT(
        sd_event_add_time_relative(loop, &clockwork->timer, CLOCK_MONOTONIC, 0, ACCURACY_US, on_time, clockwork) >= 0);
    return clockwork;
}

void clockwork_destroy(struct clockwork **slot)
{
    struct clockwork *clockwork = *slot;
    if (clockwork == NULL)
        return;
    *slot = NULL;
    clockwork->stopped = true;
    primary_close(&clockwork->primary);
    checkback_destroy(&clockwork->checkback);
    sd_event_source_disable_unref(clockwork->timer);
    free(clockwork);
}
