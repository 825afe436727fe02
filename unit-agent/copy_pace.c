/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/copy_pace.h"

#include "common/clock.h"

#define WHOLE      1024
#define HURRIED    (WHOLE / 2)
#define CEILING    (WHOLE / 4)
#define FLOOR      (WHOLE / 16)
#define STEP       8         /* that the share rises by */
#define STEADY_US  100000    /* until what has fallen shows */
#define WINDOW_US  300000000 /* the lowest of so long, and of up to as long again, is what is usual */
#define SLACK_US   500       /* that an answer may take longer at least, */
#define SLACK_MOST 5000      /* and at most; else, twice as long */
#define BUSY_MOST  4000      /* us: what held a call up for longer was not the call, but others on its processor */
#define CATCH_UP   6         /* times the speed at which the changes were written; */
#define CLOSE_UP   2         /* a new copy: what gathered while it was made is gone after as long again */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t slack_us(uint64_t usual_us)
{
    return usual_us < SLACK_US ? SLACK_US : least(usual_us, SLACK_MOST);
}

/* What was known before a window that nobody asked in is of no use. */
static void turn_window(struct copy_pace_side *side, uint64_t now_us)
{
    uint64_t past = (now_us - side->window_us) / WINDOW_US;
    if (side->heard > 0 && past == 0)
        return;
    bool known = side->heard > 0 && past == 1;
    side->heard = known ? side->heard : 0;
    side->lowest_us[1] = known ? side->lowest_us[0] : UINT64_MAX;
    side->lowest_us[0] = UINT64_MAX;
    side->window_us = now_us;
}

static uint64_t median_us(const struct copy_pace_side *side)
{
    uint64_t sorted[COPY_PACE_ANSWERS] = {0};
    unsigned count = side->heard < COPY_PACE_ANSWERS ? side->heard : COPY_PACE_ANSWERS;
    for (unsigned i = 0; i < count; i++) {
        unsigned place = i;
        for (; place > 0 && sorted[place - 1] > side->waits_us[i]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = side->waits_us[i];
    }
    return sorted[count / 2];
}

static void fall(struct copy_pace *pace, uint64_t now_us)
{
    if (now_us < pace->steady_us)
        return;
    pace->share = pace->share / 2 > FLOOR ? pace->share / 2 : FLOOR;
    pace->steady_us = now_us + STEADY_US;
}

void copy_pace_hear(struct copy_pace_side *side, uint64_t took_us, uint64_t now_us)
{
    struct copy_pace *pace = side->pace;
    turn_window(side, now_us);
    side->waits_us[side->heard++ % COPY_PACE_ANSWERS] = took_us;
    uint64_t wait_us = median_us(side);
    side->lowest_us[0] = least(side->lowest_us[0], wait_us);
    uint64_t usual_us = least(side->lowest_us[0], side->lowest_us[1]);
    if (wait_us > usual_us + slack_us(usual_us))
        fall(pace, now_us);
    else
        pace->share = pace->share + STEP < CEILING ? pace->share + STEP : CEILING;
}

static void on_sign(void *arg, const redisReply *reply)
{
    struct copy_pace_side *side = arg;
    uint64_t now_us = clock_monotonic_us();
    side->asking = false;
    if (reply != NULL)
        copy_pace_hear(side, now_us - side->asked_us, now_us);
}

void copy_pace_ask(struct copy_pace_side *side, struct broker *broker)
{
    if (side->asking || broker == NULL)
        return;
    side->asked_us = clock_monotonic_us();
    side->asking = broker_command(broker, on_sign, side, 1, (const char *[]){"PING"}, NULL);
}

uint64_t copy_pace_rest_us(const struct copy_pace *pace, uint64_t busy_us, bool hurries)
{
    unsigned share = hurries ? HURRIED : pace->share;
    return least(busy_us, BUSY_MOST) * (WHOLE - share) / share;
}

uint64_t copy_pace_catch_up_us(const struct copy_pace *pace, uint64_t busy_us, uint64_t count,
                               const struct copy_pace_lag *lag)
{
    uint64_t times = lag->is_new ? CLOSE_UP : CATCH_UP;
    uint64_t most_us = count * lag->age_us / times / (lag->left > 0 ? lag->left : 1);
    return most_us > busy_us ? least(copy_pace_rest_us(pace, busy_us, false), most_us - busy_us) : 0;
}

unsigned copy_pace_percent(const struct copy_pace *pace)
{
    return pace->share * 100 / WHOLE;
}

void copy_pace_init(struct copy_pace *pace)
{
    *pace = (struct copy_pace){.share = FLOOR};
    pace->origin.pace = pace->local.pace = pace;
}
