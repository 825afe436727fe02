/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/group_commit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/invariant.h"
#include "gateway/gateway.h"
#include "gateway/line.h"
#include "gateway/unit_lines.h"

#define LANES_MOST 4
#define RETRY_MS   50         /* from a failed proof to the next */
#define WIRE_KEPT  (1u << 20) /* bytes of a batch's buffer that are kept for the next */

/* Messages that leave together. */
struct batch {
    struct lane *lane;
    struct message *first, **last;
    unsigned count;
    int64_t timeout_ms;
    struct buf wire; /* their calls, one behind the other */
    struct batch *next;
};

/* One connection. Busy from the first message of a batch to the proof behind it, or with a proof alone. */
struct lane {
    struct group_commit *group;
    struct broker *broker;
    bool busy;
    struct batch *batch;                          /* NULL: a proof alone */
    struct batch *waiting, **last_waiting, *open; /* `open` is the last of the waiting ones: it takes more */
    struct lane *stand_in;                        /* has so many messages of this lane's partitions: */
    size_t strays;
    struct broker_record record; /* by which the batch was sent, and is judged */
    uint64_t begun_us;           /* monotonic; when the batch was sent */
    bool waited, counted;        /* WAIT has answered; it has counted as many as the record wants */
    bool lost;                   /* the proof cannot come any more */
};

struct group_commit {
    struct line *line;
    struct lane lanes[LANES_MOST];
    unsigned lane_count, batch_most;
    struct batch *spare;
    bool doubted; /* the last proof failed: nothing is sent before another one succeeds */
    void *retry;  /* timer of that other one */
    bool listed;
    struct group_commit *next_listed;
};

static bool any_waiting(const struct group_commit *group)
{
    for (unsigned i = 0; i < group->lane_count; i++)
        if (group->lanes[i].waiting != NULL)
            return true;
    return false;
}

static void list(struct group_commit *group)
{
    struct lines *lines = group->line->lines;
    if (group->listed || !any_waiting(group))
        return;
    group->listed = true;
    group->next_listed = lines->unflushed;
    lines->unflushed = group;
}

static void unlist(struct group_commit *group)
{
    for (struct group_commit **slot = &group->line->lines->unflushed; *slot != NULL; slot = &(*slot)->next_listed)
        if (*slot == group) {
            *slot = group->next_listed;
            break;
        }
    group->listed = false;
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static struct batch *take_batch(struct group_commit *group)
{
    struct batch *batch = group->spare;
    if (batch != NULL)
        group->spare = batch->next;
    else
        batch = mem_calloc(1, sizeof(*batch));
    batch->first = NULL;
    batch->last = &batch->first;
    batch->count = 0;
    batch->timeout_ms = group->line->lines->worker->gateway->config.broker.timeout;
    batch->next = NULL;
    return batch;
}

static void spare_batch(struct group_commit *group, struct batch *batch)
{
    batch->wire.len = 0;
    if (batch->wire.capacity > WIRE_KEPT)
        buf_free(&batch->wire);
    batch->next = group->spare;
    group->spare = batch;
}

static struct batch *open_batch(struct lane *lane)
{
    if (lane->open != NULL && lane->open->count < lane->group->batch_most)
        return lane->open;
    struct batch *batch = lane->open = take_batch(lane->group);
    batch->lane = lane;
    *lane->last_waiting = batch;
    lane->last_waiting = &batch->next;
    return batch;
}

static struct batch *take_waiting(struct lane *lane)
{
    struct batch *batch = lane->waiting;
    lane->waiting = batch->next;
    if (lane->waiting == NULL)
        lane->last_waiting = &lane->waiting;
    if (lane->open == batch)
        lane->open = NULL;
    batch->next = NULL;
    return batch;
}

static bool lane_ready(const struct lane *lane, const struct broker_record *record)
{
    return lane->broker != NULL && broker_state(lane->broker) == BROKER_READY && record->member_count >= 2 &&
           strcmp(record->primary, lane->group->line->url) == 0 &&
           strcmp(record->run_id, broker_run_id(lane->broker)) == 0;
}

static struct lane *home_of(struct group_commit *group, uint32_t partition)
{
    return &group->lanes[partition % group->lane_count];
}

/* The broker reads two connections piece by piece and in turns: what must keep its order goes by one of them. So one
 * that stands in goes on until all that it took is answered. */
static struct lane *lane_of(struct group_commit *group, uint32_t partition)
{
    const struct broker_record *record = line_record(group->line);
    struct lane *home = home_of(group, partition);
    if (home->strays > 0)
        return home->stand_in;
    for (unsigned i = 0; i < group->lane_count; i++) {
        struct lane *lane = &group->lanes[(partition + i) % group->lane_count];
        if (lane_ready(lane, record))
            return lane;
    }
    return home;
}

/* MESSAGE is added to LANE. */
static void note_stray(struct lane *lane, const struct message *message)
{
    struct lane *home = home_of(lane->group, message->partition);
    if (home == lane)
        return;
    home->stand_in = lane;
    home->strays++;
}

static void forget_stray(const struct batch *batch, const struct message *message)
{
    struct lane *home = home_of(batch->lane->group, message->partition);
    home->strays -= home != batch->lane;
}

void group_commit_add(struct group_commit *group, struct message *message, const struct queue_call *call)
{
    struct line *line = group->line;
    struct batch *batch = open_batch(lane_of(group, message->partition));
    note_stray(batch->lane, message);
    int64_t wanted_ms = message->timeout_ms, timeout_ms = line->lines->worker->gateway->config.broker.timeout;
    line_write(line, message, call, &batch->wire);
    if (!h2o_timeout_is_linked(&message->impatience))
        timers_arm(&line->lines->brokers.timers, &message->impatience,
                   (uint64_t)(wanted_ms > 0 ? wanted_ms : timeout_ms));
    if (wanted_ms > batch->timeout_ms)
        batch->timeout_ms = wanted_ms;
    message->next = NULL;
    *batch->last = message;
    batch->last = &message->next;
    batch->count++;
    list(group);
}

/* --- what the broker says ----------------------------------------------------------------------------------------- */

static void on_stored(void *arg, const redisReply *reply)
{
    struct message *message = arg;
    message_read_reply(message, reply);
    unit_lines_felt(message->home, message);
}

static void on_waited(void *arg, const redisReply *reply)
{
    struct lane *lane = arg;
    lane->waited = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    lane->counted = lane->waited && reply->integer >= lane->record.wait;
}

static bool is_covered(struct lane *lane, const redisReply *info)
{
    char why[160] = "";
    bool covered = false;
    lane->lost = info == NULL || line_record(lane->group->line)->version != lane->record.version;
    if (info == NULL || info->type != REDIS_REPLY_STRING)
        snprintf(why, sizeof(why), "the connection was lost");
    else if (!lane->counted)
        snprintf(why, sizeof(why), "fewer than %u replicas have confirmed in time", lane->record.wait);
    else
        covered = broker_record_covers(&lane->record, (struct str){info->str, info->len}, broker_run_id(lane->broker),
                                       why, sizeof(why));
    if (!covered)
        line_tell_uncovered(lane->group->line, why);
    return covered;
}

static void hold(struct message *message, const char *made)
{
    message_keep(message, (struct str){made, message->bytes});
    unit_lines_hold(message->home, message);
}

/* A message that its function refused was not stored, whatever the others' fate is. Where no proof can come any more
 * it is sent again, under the same id. */
static void conclude(struct batch *batch, const struct broker_record *record, bool covered, bool lost)
{
    const char *at = batch->wire.base;
    for (struct message *message = batch->first, *next; message != NULL; message = next) {
        const char *made = at;
        at += message->bytes;
        next = message->next;
        forget_stray(batch, message);
        bool stored = message->phase == MESSAGE_STORED;
        bool enough = record->member_count >= unit_lines_members(message->home, message->sent_as);
        if (message->phase == MESSAGE_REFUSED)
            message_conclude(message);
        else if (stored && covered && enough)
            message_accept(message, message->sent_as);
        else if (!stored || lost || covered)
            hold(message, made);
        else
            message_give_up(message, "The replicas did not confirm it in time: send it again with the same "
                                     "Idempotency-Key, or look it up before");
    }
}

static void prove_again(void *arg);
static void send_wait(struct lane *lane, int64_t timeout_ms);
static void send_info(struct lane *lane, int64_t timeout_ms);

/* How long replicas are waited for. It ends before the deadline of the commands does: a replica that is late must not
 * cost the connection. */
static int64_t patience_ms(int64_t timeout_ms)
{
    return timeout_ms - timeout_ms / 4;
}

static int64_t timeout_of(const struct lane *lane)
{
    return lane->batch != NULL ? lane->batch->timeout_ms
                               : lane->group->line->lines->worker->gateway->config.broker.timeout;
}

/* A broker whose clock is set ahead ends its WAITs at once: it is asked again for what is left of their time, unless
 * the connection is about to go. */
static bool wait_again(struct lane *lane, const redisReply *info)
{
    int64_t passed_ms = (int64_t)(clock_monotonic_us() - lane->begun_us) / 1000, timeout_ms = timeout_of(lane);
    if (info == NULL || !lane->waited || lane->counted || !broker_takes(lane->broker) ||
        passed_ms >= patience_ms(timeout_ms) / 2)
        return false;
    send_wait(lane, timeout_ms - passed_ms);
    send_info(lane, timeout_ms - passed_ms);
    return true;
}

static void doubt(struct group_commit *group)
{
    const struct broker_loop *loop = &group->line->lines->loop;
    group->doubted = true;
    if (group->retry == NULL)
        group->retry = loop->timer_start(loop->loop, RETRY_MS, prove_again, group);
}

/* The last reply of a batch, or NULL after that of all its messages. */
static void on_proof(void *arg, const redisReply *reply)
{
    struct lane *lane = arg;
    struct group_commit *group = lane->group;
    struct batch *batch = lane->batch;
    if (wait_again(lane, reply))
        return;
    bool covered = is_covered(lane, reply);
    lane->busy = false;
    lane->batch = NULL;
    if (covered)
        group->doubted = false;
    else
        doubt(group);
    list(group);
    if (batch != NULL) {
        conclude(batch, &lane->record, covered, lane->lost);
        spare_batch(group, batch);
    }
}

/* --- what it is told ---------------------------------------------------------------------------------------------- */

static bool lanes_ready(const struct group_commit *group)
{
    const struct broker_record *record = line_record(group->line);
    for (unsigned i = 0; i < group->lane_count; i++)
        if (lane_ready(&group->lanes[i], record))
            return true;
    return false;
}

const char *group_commit_fault(const struct group_commit *group)
{
    if (!lanes_ready(group))
        return "The connections to the unit's broker are being made";
    return group->doubted ? "The replicas do not confirm what the broker stores" : NULL;
}

bool group_commit_has_ended_former(const struct group_commit *group)
{
    for (unsigned i = 0; i < group->lane_count; i++)
        if (!broker_has_ended_former(group->lanes[i].broker))
            return false;
    return true;
}

/* False where nothing has left. Messages that nobody waits for any more stay here. */
static bool send_messages(struct lane *lane, struct batch *batch)
{
    const char *at = batch->wire.base;
    unsigned sent = 0;
    for (struct message *message = batch->first; message != NULL; at += message->bytes, message = message->next) {
        if (message->phase != MESSAGE_WAITING)
            continue;
        if (!broker_command_made(lane->broker, batch->timeout_ms, on_stored, message,
                                 (struct str){at, message->bytes})) {
            INVARIANT(sent == 0); /* a connection that took the first takes all of this turn */
            return false;
        }
        message->phase = MESSAGE_SENT;
        sent++;
    }
    return sent > 0;
}

static void send_wait(struct lane *lane, int64_t timeout_ms)
{
    char replicas[20], timeout[24];
    snprintf(replicas, sizeof(replicas), "%u", lane->record.wait);
    snprintf(timeout, sizeof(timeout), "%" PRId64, patience_ms(timeout_ms));
    const char *words[] = {"WAIT", replicas, timeout};
    INVARIANT(broker_command_for(lane->broker, timeout_ms, on_waited, lane, 3, words, NULL));
}

static void send_info(struct lane *lane, int64_t timeout_ms)
{
    const char *words[] = {"INFO", "replication", "stats", "persistence"};
    INVARIANT(broker_command_for(lane->broker, timeout_ms, on_proof, lane, 4, words, NULL));
}

/* What has not left was not stored. */
static void hold_waiting(struct group_commit *group, struct batch *batch)
{
    const char *at = batch->wire.base;
    for (struct message *message = batch->first, *next; message != NULL; message = next) {
        const char *made = at;
        at += message->bytes;
        next = message->next;
        forget_stray(batch, message);
        message->detail = "Nothing was stored: the connection was lost";
        hold(message, made);
    }
    spare_batch(group, batch);
}

static void begin(struct lane *lane, struct batch *batch)
{
    lane->busy = true;
    lane->batch = batch;
    lane->record = *line_record(lane->group->line);
    lane->begun_us = clock_monotonic_us();
    lane->waited = lane->counted = false;
}

static void send_batch(struct lane *lane, struct batch *batch)
{
    struct group_commit *group = lane->group;
    begin(lane, batch);
    if (send_messages(lane, batch)) {
        stat_add(&group->line->lines->worker->stats.queue_commits_total, 1);
        send_wait(lane, batch->timeout_ms);
        send_info(lane, batch->timeout_ms);
    } else {
        lane->busy = false;
        hold_waiting(group, batch);
    }
}

static bool lane_idle(const struct lane *lane)
{
    return !lane->busy && lane_ready(lane, line_record(lane->group->line));
}

static void flush(struct group_commit *group)
{
    const struct broker_record *record = line_record(group->line);
    for (struct lane *lane = group->lanes; lane < group->lanes + group->lane_count; lane++) {
        while (lane->waiting != NULL && !group->doubted && lane_idle(lane)) /* nobody may wait for the first any more */
            send_batch(lane, take_waiting(lane));
        while (lane->waiting != NULL && !lane_ready(lane, record))
            hold_waiting(group, take_waiting(lane));
    }
}

static void on_pong(void *arg, const redisReply *reply)
{
    (void)arg, (void)reply;
}

/* A WAIT is for what there was when its connection's last command ran, which may be long ago. */
static void send_ping(struct lane *lane, int64_t timeout_ms)
{
    const char *words[] = {"PING"};
    INVARIANT(broker_command_for(lane->broker, timeout_ms, on_pong, lane, 1, words, NULL));
}

static void prove_again(void *arg)
{
    struct group_commit *group = arg;
    struct lane *lane = group->lanes, *end = lane + group->lane_count;
    group->retry = NULL;
    while (lane < end && !lane_idle(lane))
        lane++;
    if (lane == end) {
        doubt(group);
        return;
    }
    begin(lane, NULL);
    int64_t timeout_ms = timeout_of(lane);
    send_ping(lane, timeout_ms);
    send_wait(lane, timeout_ms);
    send_info(lane, timeout_ms);
}

void group_commit_flush(struct lines *lines)
{
    for (struct group_commit *group; (group = lines->unflushed) != NULL;) {
        lines->unflushed = group->next_listed;
        group->listed = false;
        flush(group);
    }
}

void group_commit_withdraw(struct group_commit *group)
{
    for (unsigned i = 0; i < group->lane_count; i++) {
        struct lane *lane = &group->lanes[i];
        if (broker_in_flight(lane->broker) > 0)
            broker_reset(lane->broker);
        while (lane->waiting != NULL)
            hold_waiting(group, take_waiting(lane));
    }
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

static void on_state(void *arg, struct broker *broker, enum broker_state state)
{
    const struct lane *lane = arg;
    (void)broker;
    (void)state;
    list(lane->group);
}

struct group_commit *group_commit_create(struct line *line, const struct broker_config *config)
{
    const struct gateway_config *gateway = &line->lines->worker->gateway->config;
    struct group_commit *group = mem_calloc(1, sizeof(*group));
    group->line = line;
    group->batch_most = (unsigned)gateway->broker.commit_batch;
    group->lane_count = (unsigned)gateway->broker.commit_connections;
    INVARIANT(group->lane_count >= 1 && group->lane_count <= LANES_MOST);
    for (unsigned i = 0; i < group->lane_count; i++) {
        group->lanes[i].group = group;
        group->lanes[i].last_waiting = &group->lanes[i].waiting;
        group->lanes[i].broker = broker_create(&line->lines->loop, config, on_state, &group->lanes[i]);
    }
    return group;
}

void group_commit_destroy(struct group_commit **slot)
{
    struct group_commit *group = *slot;
    *slot = NULL;
    if (group == NULL)
        return;
    for (unsigned i = 0; i < group->lane_count; i++)
        broker_destroy(&group->lanes[i].broker);
    if (group->retry != NULL)
        group->line->lines->loop.timer_stop(group->line->lines->loop.loop, group->retry);
    for (unsigned i = 0; i < group->lane_count; i++)
        while (group->lanes[i].waiting != NULL)
            hold_waiting(group, take_waiting(&group->lanes[i]));
    unlist(group);
    for (struct batch *batch; (batch = group->spare) != NULL;) {
        group->spare = batch->next;
        buf_free(&batch->wire);
        free(batch);
    }
    free(group);
}
