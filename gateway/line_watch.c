/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/line_watch.h"

#include "common/broker_info.h"
#include "common/clock.h"
#include "gateway/failover.h"
#include "gateway/gateway.h"
#include "gateway/line.h"
#include "gateway/unit_lines.h"

#define CALM_MS    10
#define UNHEARD_MS 5
#define CALM_US    100000 /* between two questions, while its agent tells of it */
#define PROMPT_US  14000  /* within which an answer is to come: some brokers wait for the processor, too */
#define TURNS      3      /* of the loop that it waits at least: after a pause of its own a question goes out late */
#define OVERDUE_US 300000 /* without an answer the line fails */
#define REMIND_US  100000

static struct failover *failover_of(const struct line *line)
{
    return line->lines->worker->gateway->failover;
}

static void tell(const struct line *line, enum core_line_kind kind)
{
    failover_line(failover_of(line), line->home->unit, str_of(line->url), kind);
}

/* Only the run that the record names counts, and only while it leads. */
static void on_answer(void *arg, const redisReply *reply)
{
    struct line_watch *watch = arg;
    const struct line *line = watch->line;
    watch->asked = false;
    if (watch->timer == NULL || reply == NULL)
        return;
    watch->good_us = clock_monotonic_us();
    if (reply->type != REDIS_REPLY_STRING)
        return;
    struct str info = {reply->str, reply->len};
    if (broker_info_is(info, "role", "master") && strcmp(line_record(line)->run_id, broker_run_id(line->broker)) == 0)
        tell(line, CORE_LINE_ALIVE);
}

static bool is_unheard(const struct line_watch *watch)
{
    return atomic_load_explicit(&watch->line->home->unit->unheard, memory_order_relaxed);
}

static void ask(struct line_watch *watch, uint64_t now_us)
{
    const char *words[] = {"INFO", "replication"};
    if (watch->asked || now_us < watch->asked_us + (is_unheard(watch) ? 0 : CALM_US))
        return;
    watch->asked_us = now_us;
    watch->asked = broker_command(watch->line->broker, on_answer, watch, 2, words, NULL);
}

/* An answer, or a way to ask at all. The loop reads what came before it runs timers: what is not here by now has not
 * come. */
static bool is_missed(struct line_watch *watch, uint64_t now_us)
{
    bool waits = watch->asked || broker_state(watch->line->broker) != BROKER_READY;
    watch->turns = waits ? watch->turns + 1 : 0;
    if (!waits)
        watch->waits_us = now_us;
    return watch->turns >= TURNS && now_us >= watch->waits_us + PROMPT_US;
}

static void on_tick(void *arg)
{
    struct line_watch *watch = arg;
    const struct broker_loop *loop = &watch->line->lines->loop;
    uint64_t now_us = clock_monotonic_us();
    watch->timer = loop->timer_start(loop->loop, is_unheard(watch) ? UNHEARD_MS : CALM_MS, on_tick, watch);
    if (is_missed(watch, now_us) && is_unheard(watch))
        tell(watch->line, CORE_LINE_MISSED);
    ask(watch, now_us);
    if (now_us >= watch->good_us + OVERDUE_US && now_us >= watch->told_us + REMIND_US) {
        watch->told_us = now_us;
        tell(watch->line, CORE_LINE_ERROR);
    }
}

void line_watch_start(struct line_watch *watch, struct line *line)
{
    const struct broker_loop *loop = &line->lines->loop;
    bool asked = watch->asked; /* of when the line led before */
    if (!line->home->replicas || failover_of(line) == NULL || line->lines->worker->index != 0)
        return;
    uint64_t now_us = clock_monotonic_us();
    *watch = (struct line_watch){.line = line, .asked = asked, .waits_us = now_us, .good_us = now_us};
    watch->timer = loop->timer_start(loop->loop, CALM_MS, on_tick, watch);
}

void line_watch_stop(struct line_watch *watch)
{
    const struct line *line = watch->line;
    if (watch->timer != NULL)
        line->lines->loop.timer_stop(line->lines->loop.loop, watch->timer);
    watch->timer = NULL;
}
