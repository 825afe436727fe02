/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_follow.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/log.h"
#include "unit-agent/copies.h"
#include "unit-agent/copy_push.h"

#define MOST_ENTRIES  64  /* in one call, which stops the broker for less than a millisecond */
#define HURRY_ENTRIES 256 /* where the calls themselves take too long to catch up */
#define MOST_BYTES    (256u << 10)
#define LEVEL_US      250000 /* behind the origin by less, a copy is level with it however much is written */

/* --- applying ----------------------------------------------------------------------------------------------------- */

/* As much waits as one call takes. */
static bool is_behind(const struct copy *copy)
{
    return copy_queue_count(&copy->queue) >= MOST_ENTRIES || copy_queue_bytes(&copy->queue) >= MOST_BYTES;
}

static struct copy_pace_lag lag_of(const struct copy *copy)
{
    uint64_t now_us = clock_wall_us();
    return (struct copy_pace_lag){
        .left = copy->origin_seq > copy->seq ? copy->origin_seq - copy->seq : 0,
        .age_us = now_us > copy->applying_us ? now_us - copy->applying_us : 0,
        .is_new = copy->epoch == 0,
    };
}

/* Who is behind leaves the brokers to others for a while; who is not has nothing to hurry for. */
static void rest(struct copy *copy, uint64_t count)
{
    struct copy_pace_lag lag = lag_of(copy);
    uint64_t busy_us = clock_monotonic_us() - copy->sent_us;
    uint64_t rest_us = copy_pace_catch_up_us(&copy->copies->pace, busy_us, count, &lag);
    copy->hurries = is_behind(copy) && rest_us == 0;
    if (is_behind(copy))
        copy_rest(copy, rest_us);
    else
        copy_end_step(copy);
}

static void on_applied(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    uint64_t before = copy->seq;
    bool was_live = copy->live;
    if (!copy_note(copy, reply)) {
        copy->misled = broker_is_error(reply, "LDC_VALUE");
        copy_fail_step(copy, reply);
        return;
    }
    stat_add(&copy->copies->config.stats->agent_copy_changes_total, copy->seq - before);
    copy->again |= was_live && !copy->live; /* no function did that */
    copy->beat_us = copy->applying_us;
    copy_queue_take(&copy->queue, copy->applying);
    copy_reader_wake(&copy->copies->reader);
    if (copy->seq > before)
        copy_push_wake(copy->push);
    rest(copy, copy->seq - before);
}

static void apply(struct copy *copy, const struct copy_batch *batch)
{
    copy->applying = batch->count;
    copy->applying_us = batch->us;
    copy->busy = true;
    copy->sent_us = clock_monotonic_us();
    if (!copy_call_made(copy, "c_apply", batch->words, batch->count * COPY_ENTRY_WORDS, on_applied, copy))
        copy_fail_step(copy, NULL);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static void on_opened(void *arg, const redisReply *reply)
{
    struct copy *copy = arg;
    if (reply == NULL || reply->type != REDIS_REPLY_STATUS) {
        copy_fail_step(copy, reply);
        return;
    }
    copy->epoch = copy->opening;
    copy->fault[0] = '\0';
    log_info("copy.open", "the copy of %s is open at %" PRIu64 ", for epoch %" PRIu64, copy->rules.name.base, copy->seq,
             copy->epoch);
    copy_end_step(copy);
}

static void open_it(struct copy *copy)
{
    char seq[24];
    const struct str args[] = {{seq, (size_t)snprintf(seq, sizeof(seq), "%" PRIu64, copy->open_at)}};
    copy->opening = copy_epoch(copy);
    copy->busy = true;
    if (!copy_call(copy, "c_open", args, 1, on_opened, copy))
        copy_fail_step(copy, NULL);
}

/* It has what the origin had a moment ago, or, as a snapshot, at the last look. */
static bool is_level(const struct copy *copy, const struct copy_pace_lag *lag)
{
    return copy->rests || lag->left < MOST_ENTRIES || lag->age_us < LEVEL_US;
}

/* A new one that lacked much would be open, and too old for readers. */
static bool may_open(const struct copy *copy)
{
    struct copy_pace_lag lag = lag_of(copy);
    return copy->live && copy->seq >= copy->open_at && (!lag.is_new || is_level(copy, &lag));
}

void copy_follow_step(struct copy *copy)
{
    struct copy_batch batch = copy_queue_batch(&copy->queue, copy->hurries ? HURRY_ENTRIES : MOST_ENTRIES, MOST_BYTES);
    if (!copy_is_open(copy) && may_open(copy))
        open_it(copy);
    else if (batch.count > 0)
        apply(copy, &batch);
}

void copy_follow(struct copy *copy)
{
    copy->phase = COPY_FOLLOWS;
    copy->open_at = copy->origin_seq;
    copy->read = (struct stream_id){copy->seq, 0};
    copy->rests = false;
    copy->look_us = clock_monotonic_us() + (uint64_t)copy->rules.interval_ms * 1000;
    copy_reader_wake(&copy->copies->reader);
    copy_end_step(copy);
}
