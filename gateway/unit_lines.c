/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/unit_lines.h"

#include <stdlib.h>

#include "common/clock.h"
#include "gateway/gateway.h"
#include "gateway/records.h"

/* What may wait for one unit in one thread: beyond, the broker is slower than its clients, who must hear of it. */
#define MOST_MESSAGES 20000
#define MOST_BYTES    (64u << 20)

#define RETRY_MS     2      /* from one feeler to the next */
#define ASK_EVERY_US 20000  /* for a newer record */
#define FORSAKEN_US  250000 /* an agent that is there stamps its broker sooner */

#define CHANGING "The unit is changing its broker"

static uint64_t hold_us(const struct unit_lines *unit_lines)
{
    return (uint64_t)unit_lines->lines->worker->gateway->config.failover.hold * 1000;
}

static struct gateway_stats *stats_of(const struct unit_lines *unit_lines)
{
    return &unit_lines->lines->worker->stats;
}

/* --- which line leads to the primary ------------------------------------------------------------------------------ */

static struct line *find_line(const struct unit_lines *unit_lines, struct str url)
{
    for (unsigned i = 0; i < unit_lines->count; i++)
        if (str_equal(str_of(unit_lines->all[i]->url), url))
            return unit_lines->all[i];
    return NULL;
}

/* Without a record it is the first broker of the rules. */
static void choose_primary(struct unit_lines *unit_lines)
{
    struct line *before = unit_lines->primary, *now = unit_lines->count > 0 ? unit_lines->all[0] : NULL;
    if (unit_lines->record.member_count > 0)
        now = find_line(unit_lines, str_of(unit_lines->record.primary));
    if (before == now)
        return;
    if (before != NULL)
        line_step_down(before);
    if (now != NULL)
        line_step_up(now);
    unit_lines->primary = now;
}

static void retire(struct unit_lines *unit_lines, struct line *line)
{
    if (line == unit_lines->primary) {
        line_step_down(line);
        unit_lines->primary = NULL;
    }
    line->next_retired = unit_lines->retired;
    unit_lines->retired = line;
}

static bool names(const struct table_unit *rules, const struct line *line)
{
    for (uint32_t i = 0; rules != NULL && i < rules->broker_count; i++)
        if (str_equal(rules->brokers[i], str_of(line->url)))
            return true;
    return false;
}

/* A unit that gets replicas, or loses them, gets other lines. */
static void drop_lines(struct unit_lines *unit_lines, const struct table_unit *rules, bool all)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < unit_lines->count; i++) {
        if (!all && names(rules, unit_lines->all[i]))
            unit_lines->all[kept++] = unit_lines->all[i];
        else
            retire(unit_lines, unit_lines->all[i]);
    }
    unit_lines->count = kept;
}

/* In the order of the rules. */
static void add_lines(struct unit_lines *unit_lines, const struct table_unit *rules)
{
    for (unsigned i = 0; rules != NULL && i < rules->broker_count && i < BROKER_MEMBERS_MOST; i++) {
        struct line *line = find_line(unit_lines, rules->brokers[i]);
        if (line == NULL)
            line = unit_lines->all[unit_lines->count++] = line_create(unit_lines, rules->brokers[i]);
        for (unsigned k = i; k < unit_lines->count; k++)
            if (unit_lines->all[k] == line) {
                unit_lines->all[k] = unit_lines->all[i];
                unit_lines->all[i] = line;
            }
    }
}

void unit_lines_adopt(struct unit_lines *unit_lines, const struct table_unit *rules)
{
    bool replicas = rules != NULL && rules->broker_count > 1;
    drop_lines(unit_lines, rules, replicas != unit_lines->replicas);
    unit_lines->replicas = replicas;
    unit_lines->majority = rules != NULL ? table_unit_majority(rules) : 0;
    unit_lines->by_quorum = rules != NULL && table_unit_by_quorum(rules);
    add_lines(unit_lines, rules);
    choose_primary(unit_lines);
}

void unit_lines_sweep(struct unit_lines *unit_lines)
{
    for (struct line **slot = &unit_lines->retired, *line; (line = *slot) != NULL;) {
        if (line_over(line)) {
            *slot = line->next_retired;
            line_destroy(&line);
        } else {
            slot = &line->next_retired;
        }
    }
}

/* --- what is held ------------------------------------------------------------------------------------------------- */

static void on_retry(void *arg);

static void arm_retry(struct unit_lines *unit_lines)
{
    const struct broker_loop *loop = &unit_lines->lines->loop;
    if (unit_lines->retry == NULL && !unit_lines->closing)
        unit_lines->retry = loop->timer_start(loop->loop, RETRY_MS, on_retry, unit_lines);
}

/* Not stored by anybody, or unknown. */
static void end_vain(struct unit_lines *unit_lines, struct message *message)
{
    const char *detail = message->detail != NULL ? message->detail : unit_lines->detail;
    if (message->tried)
        message_give_up(message, "Look the message up before you send it again");
    else if (message->phase == MESSAGE_PUT_OFF)
        message_refuse(message, message->verdict, detail);
    else
        message_refuse(message, VERDICT_BROKER_AWAY, detail);
}

static bool in_time(struct unit_lines *unit_lines)
{
    uint64_t now_us = clock_monotonic_us();
    if (unit_lines->away_us == 0)
        unit_lines->away_us = now_us;
    return !unit_lines->closing && now_us - unit_lines->away_us < hold_us(unit_lines);
}

/* Whether somebody may take the primary's place. */
static bool has_standby(const struct unit_lines *unit_lines)
{
    return unit_lines->replicas && unit_lines->record.member_count > 0;
}

static void push(struct unit_lines *unit_lines, struct message *message)
{
    if (unit_lines->held_count == unit_lines->held_room) {
        unit_lines->held_room = unit_lines->held_room ? 2 * unit_lines->held_room : 64;
        unit_lines->held = mem_realloc(unit_lines->held, unit_lines->held_room * sizeof(*unit_lines->held));
    }
    unit_lines->held[unit_lines->held_count++] = message;
    if (message->held_us == 0) {
        message->held_us = clock_monotonic_us();
        stat_add(&stats_of(unit_lines)->failover_held_total, 1);
    }
    arm_retry(unit_lines);
}

/* The users of the slot leave the unit: nothing of theirs may come behind the fence. */
static bool is_leaving(const struct unit_lines *unit_lines, uint64_t routed, uint32_t slot)
{
    return slot != UINT32_MAX && broker_moving_holds(&unit_lines->record.moving, routed, slot);
}

/* What may be stored here already is nobody else's to store. */
static bool may_leave(const struct unit_lines *unit_lines, const struct message *message)
{
    return !message->tried && is_leaving(unit_lines, message->routed, message->slot);
}

static void leave_line(struct message *message)
{
    message->line->messages--;
    message->line = NULL;
}

static void note_doubt(struct message *message)
{
    if (message->phase != MESSAGE_SENT && message->phase != MESSAGE_STORED)
        return;
    message->tried = true;
    message->doubt = message->epoch;
}

void unit_lines_hold(struct unit_lines *unit_lines, struct message *message)
{
    note_doubt(message);
    if (message->line != NULL)
        leave_line(message);
    if (message == unit_lines->feeler)
        unit_lines->feeler = NULL;
    bool may_pass = message->phase == MESSAGE_PUT_OFF || has_standby(unit_lines);
    may_pass = may_pass && !is_leaving(unit_lines, message->routed, message->slot);
    if (may_leave(unit_lines, message))
        message_turn_away(message);
    else if (message->done != NULL && message->made.base != NULL && may_pass && in_time(unit_lines))
        push(unit_lines, message);
    else
        end_vain(unit_lines, message);
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = (*(struct message *const *)a)->number, right = (*(struct message *const *)b)->number;
    return left < right ? -1 : left > right;
}

/* Ending a message may publish others, which are held behind it. */
static void take_all(struct unit_lines *unit_lines, struct message ***messages, size_t *count)
{
    *messages = unit_lines->held;
    *count = unit_lines->held_count;
    unit_lines->held = NULL;
    unit_lines->held_count = unit_lines->held_room = 0;
    if (*count > 1)
        qsort(*messages, *count, sizeof(**messages), by_number);
}

/* --- sending again ------------------------------------------------------------------------------------------------ */

static enum durability resolve(const struct unit_lines *unit_lines, enum durability wanted)
{
    enum durability as_recorded = unit_lines->record.member_count >= 2 ? DURABILITY_REPLICATED : DURABILITY_LOCAL;
    if (wanted == DURABILITY_AVAILABLE)
        return as_recorded;
    if (wanted == DURABILITY_AUTO && unit_lines->by_quorum)
        return DURABILITY_QUORUM;
    if (wanted != DURABILITY_AUTO)
        return wanted;
    if (!unit_lines->replicas)
        return DURABILITY_LOCAL;
    return unit_lines->record.member_count > 0 ? as_recorded : DURABILITY_REPLICATED;
}

unsigned unit_lines_members(const struct unit_lines *unit_lines, enum durability durability)
{
    unsigned least = durability == DURABILITY_LOCAL ? 1 : 2;
    return durability == DURABILITY_QUORUM && unit_lines->majority > least ? unit_lines->majority : least;
}

static enum line_way way_of(struct unit_lines *unit_lines, enum durability durability, const char **detail)
{
    *detail = unit_lines->count > 0 ? "The store names a broker as primary that the rules do not name"
                                    : "The rules give the unit no broker";
    if (unit_lines->primary == NULL)
        return LINE_CLOSED;
    return line_way(unit_lines->primary, resolve(unit_lines, durability), detail);
}

/* A command whose outcome is unknown may run yet: behind its own repeat it would store the message twice. A newer stamp
 * shuts it out; at the same epoch its connection must have ended. */
static enum line_way way_again(struct unit_lines *unit_lines, const struct message *message, const char **detail)
{
    enum line_way way = way_of(unit_lines, message->durability, detail);
    bool may_run_yet = message->tried && message->doubt == unit_lines_epoch(unit_lines);
    if (way == LINE_PASSABLE && may_run_yet && !line_has_ended_former(unit_lines->primary))
        return LINE_BLOCKED;
    return way;
}

static bool send_on(struct unit_lines *unit_lines, struct message *message, const struct queue_call *call)
{
    bool sent = line_send(unit_lines->primary, message, resolve(unit_lines, message->durability), call);
    if (sent && call == NULL)
        stat_add(&stats_of(unit_lines)->failover_replayed_total, 1);
    return sent;
}

/* One of the messages that are held, which nobody is pointed to from the list any more. */
static void send_again(struct unit_lines *unit_lines, struct message *message, bool feeler)
{
    const char *detail;
    enum line_way way = way_again(unit_lines, message, &detail);
    message->phase = MESSAGE_WAITING;
    message->detail = way == LINE_PASSABLE ? message->detail : detail;
    if (message->done == NULL || way == LINE_CLOSED) {
        end_vain(unit_lines, message);
        return;
    }
    unit_lines->feeler = feeler ? message : unit_lines->feeler;
    if (way == LINE_PASSABLE && !send_on(unit_lines, message, NULL))
        unit_lines_hold(unit_lines, message);
    else if (way != LINE_PASSABLE)
        push(unit_lines, message);
}

static void turn_away(struct unit_lines *unit_lines)
{
    struct message **messages;
    size_t count;
    take_all(unit_lines, &messages, &count);
    for (size_t i = 0; i < count; i++)
        if (!is_leaving(unit_lines, messages[i]->routed, messages[i]->slot))
            push(unit_lines, messages[i]);
        else if (may_leave(unit_lines, messages[i]))
            message_turn_away(messages[i]);
        else
            end_vain(unit_lines, messages[i]);
    free(messages);
}

/* One that has to wait is waited for by all behind it. */
static void release_all(struct unit_lines *unit_lines)
{
    struct message **messages;
    size_t count;
    take_all(unit_lines, &messages, &count);
    for (size_t i = 0; i < count; i++)
        if (unit_lines->held_count > 0)
            push(unit_lines, messages[i]);
        else
            send_again(unit_lines, messages[i], false);
    free(messages);
}

static void note_wait(struct unit_lines *unit_lines, uint64_t waited_us)
{
    stat_observe(&stats_of(unit_lines)->failover_held_time, waited_us);
    unit_waited(unit_lines->unit, waited_us);
}

void unit_lines_felt(struct unit_lines *unit_lines, struct message *message)
{
    bool serves = message->phase == MESSAGE_STORED || message->phase == MESSAGE_REFUSED;
    if (!serves)
        return;
    if (message->held_us != 0)
        note_wait(unit_lines, clock_monotonic_us() - message->held_us);
    unit_lines->away_us = unit_lines->behind_us = 0;
    if (message == unit_lines->feeler)
        unit_lines->feeler = NULL;
    if (message->epoch == unit_lines_epoch(unit_lines))
        unit_lines->unfelt = false;
    if (unit_lines->held_count > 0 && !unit_lines->record.hold && !unit_lines->unfelt)
        release_all(unit_lines);
}

void unit_lines_ended(struct unit_lines *unit_lines, const struct message *message)
{
    if (message == unit_lines->feeler)
        unit_lines->feeler = NULL;
}

static bool is_over(const struct unit_lines *unit_lines, const struct message *message, uint64_t now_us)
{
    return message->done == NULL || now_us - message->held_us >= hold_us(unit_lines);
}

static void end_overdue(struct unit_lines *unit_lines)
{
    struct message **messages;
    size_t count;
    uint64_t now_us = clock_monotonic_us();
    take_all(unit_lines, &messages, &count);
    for (size_t i = 0; i < count; i++)
        if (is_over(unit_lines, messages[i], now_us))
            end_vain(unit_lines, messages[i]);
        else
            push(unit_lines, messages[i]);
    free(messages);
}

/* What left by an older record may be refused for that, and what left by a newer one be stored before it: so the first
 * by a new record waits for all that went before, and the others for it. */
static bool is_settling(const struct unit_lines *unit_lines)
{
    return unit_lines->unfelt && unit_lines->primary != NULL && unit_lines->primary->messages > 0;
}

static void feel(struct unit_lines *unit_lines)
{
    size_t oldest = 0;
    const char *detail;
    if (is_settling(unit_lines))
        return;
    for (size_t i = 1; i < unit_lines->held_count; i++)
        if (unit_lines->held[i]->number < unit_lines->held[oldest]->number)
            oldest = i;
    struct message *message = unit_lines->held[oldest];
    if (way_again(unit_lines, message, &detail) == LINE_BLOCKED)
        return;
    unit_lines->held[oldest] = unit_lines->held[--unit_lines->held_count];
    send_again(unit_lines, message, true);
}

static void on_retry(void *arg)
{
    struct unit_lines *unit_lines = arg;
    unit_lines->retry = NULL;
    end_overdue(unit_lines);
    if (unit_lines->held_count > 0 && unit_lines->feeler == NULL && !unit_lines->record.hold)
        feel(unit_lines);
    if (unit_lines->held_count > 0)
        arm_retry(unit_lines);
}

/* --- records ------------------------------------------------------------------------------------------------------ */

/* The agents that would stamp the primary may have died between the record and the stamp. */
static void hear_older(struct unit_lines *unit_lines, uint64_t now_us)
{
    if (unit_lines->behind_us == 0)
        unit_lines->behind_us = now_us;
    if (unit_lines->primary == NULL || now_us - unit_lines->behind_us < FORSAKEN_US)
        return;
    unit_lines->behind_us = now_us;
    line_stamp(unit_lines->primary);
}

void unit_lines_heard_epoch(struct unit_lines *unit_lines, uint64_t epoch)
{
    uint64_t now_us = clock_monotonic_us(), known = unit_lines_epoch(unit_lines);
    if (epoch < known)
        hear_older(unit_lines, now_us);
    if (epoch <= known || now_us - unit_lines->asked_us < ASK_EVERY_US)
        return;
    unit_lines->asked_us = now_us;
    records_ask(unit_lines->lines->worker->gateway);
}

static bool lost_member(const struct broker_record *before, const struct broker_record *now)
{
    for (unsigned i = 0; i < before->member_count; i++)
        if (broker_record_member(now, before->members[i].url) == NULL)
            return true;
    return false;
}

/* Nothing that is under way may be waited for in vain: for the old primary's word, or for a replica that has left. */
static void withdraw(struct unit_lines *unit_lines, struct line *before, const struct broker_record *old)
{
    if (before != NULL && before != unit_lines->primary)
        line_withdraw(before);
    else if (before != NULL && lost_member(old, &unit_lines->record))
        line_withdraw_replicated(before);
}

void unit_lines_follow(struct unit_lines *unit_lines)
{
    struct broker_record old = unit_lines->record;
    struct line *before = unit_lines->primary;
    unit_record(unit_lines->unit, &unit_lines->record);
    if (old.version == unit_lines->record.version)
        return;
    pthread_mutex_lock(&unit_lines->lines->lock);
    choose_primary(unit_lines);
    pthread_mutex_unlock(&unit_lines->lines->lock);
    unit_lines->away_us = unit_lines->behind_us = 0;
    unit_lines->unfelt = true;
    unit_lines->detail = CHANGING;
    withdraw(unit_lines, before, &old);
    if (unit_lines->record.moving.rules != 0)
        turn_away(unit_lines);
    if (unit_lines->held_count > 0 && unit_lines->feeler == NULL && !unit_lines->record.hold)
        feel(unit_lines);
}

/* --- publishing --------------------------------------------------------------------------------------------------- */

static struct message *refuse(struct publish_result *refusal, enum verdict verdict, const char *detail)
{
    *refusal = (struct publish_result){.verdict = verdict, .detail = detail};
    return NULL;
}

static bool memory_full(const struct unit_lines *unit_lines)
{
    return stat_get(&unit_lines->unit->memory_percent) >=
           (uint64_t)unit_lines->lines->worker->gateway->config.broker.memory_limit;
}

static struct message *hold_new(struct unit_lines *unit_lines, const struct publication *publication)
{
    struct message *message = message_take(unit_lines, publication);
    struct buf made = {NULL, 0, 0};
    message_set_bytes(message, queue_call_format(publication->call, 0, &made));
    message->made = (struct str){made.base, made.len};
    push(unit_lines, message);
    return message;
}

/* What is held comes first, and so do its successors. */
static enum line_way way_now(struct unit_lines *unit_lines, enum durability durability, const char **detail)
{
    enum line_way way = way_of(unit_lines, durability, detail);
    if (way != LINE_PASSABLE || (unit_lines->held_count == 0 && !unit_lines->record.hold && !is_settling(unit_lines)))
        return way;
    *detail = CHANGING;
    return LINE_BLOCKED;
}

struct message *unit_lines_send(struct unit_lines *unit_lines, const struct publication *publication,
                                struct publish_result *refusal)
{
    const char *detail = NULL;
    *refusal = (struct publish_result){.verdict = VERDICT_SWITCHING, .detail = MESSAGE_MOVES, .moves = true};
    if (is_leaving(unit_lines, publication->routed, publication->slot))
        return NULL;
    if (unit_lines->messages >= MOST_MESSAGES || unit_lines->bytes >= MOST_BYTES)
        return refuse(refusal, VERDICT_UNIT_BUSY, "Too many messages wait for the unit's broker");
    if (!publication->call->reads && memory_full(unit_lines))
        return refuse(refusal, VERDICT_BROKER_FULL, "The broker's memory has reached the limit for messages");
    enum line_way way = way_now(unit_lines, publication->durability, &detail);
    bool may_pass =
        unit_lines->held_count > 0 || unit_lines->record.hold || unit_lines->unfelt || has_standby(unit_lines);
    if (way == LINE_BLOCKED && may_pass && in_time(unit_lines)) {
        unit_lines->detail = detail;
        return hold_new(unit_lines, publication);
    }
    if (way != LINE_PASSABLE)
        return refuse(refusal, VERDICT_BROKER_AWAY, detail);
    struct message *message = message_take(unit_lines, publication);
    if (send_on(unit_lines, message, publication->call))
        return message;
    message_forget(message);
    message_conclude(message);
    return refuse(refusal, VERDICT_BROKER_AWAY, NULL);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct unit_lines *unit_lines_create(struct lines *lines, struct unit *unit)
{
    struct unit_lines *unit_lines = mem_calloc(1, sizeof(*unit_lines));
    unit_lines->lines = lines;
    unit_lines->unit = unit;
    unit_record(unit, &unit_lines->record); /* the next one comes by unit_lines_follow() */
    return unit_lines;
}

void unit_lines_destroy(struct unit_lines **slot)
{
    struct unit_lines *unit_lines = *slot;
    *slot = NULL;
    if (unit_lines == NULL)
        return;
    unit_lines->closing = true;
    drop_lines(unit_lines, NULL, true);
    if (unit_lines->retry != NULL)
        unit_lines->lines->loop.timer_stop(unit_lines->lines->loop.loop, unit_lines->retry);
    for (struct line *line; (line = unit_lines->retired) != NULL;) {
        unit_lines->retired = line->next_retired;
        line_destroy(&line);
    }
    while (unit_lines->held_count > 0)
        end_vain(unit_lines, unit_lines->held[--unit_lines->held_count]);
    free(unit_lines->held);
    free(unit_lines);
}
