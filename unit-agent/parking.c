/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/parking.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/loop.h"
#include "unit-agent/entry.h"

#define NEVER        UINT64_MAX
#define AGAIN_MS     20   /* while what is due is not recorded yet */
#define PATIENCE_MS  1000 /* where the broker does not know when */
#define LONGEST_WAIT 60000

struct parking {
    sd_event *loop;
    struct parking_config config;
    struct command command;
    sd_event_source *timer;
    uint64_t next_us; /* when `timer` runs out */
};

/* What a reply belongs to; HEAD is NULL where it was asked who is due. */
struct parking_call {
    struct parking *parking;
    struct partition *partition;
    uint32_t life;
    struct message *head;
    uint64_t number; /* of a call that changes something */
};

static struct parking_call *call_create(struct parking *parking, struct partition *partition, struct message *head)
{
    struct parking_call *call = mem_calloc(1, sizeof(*call));
    *call = (struct parking_call){parking, partition, partition->life, head, 0};
    return call;
}

/* --- words ------------------------------------------------------------------------------------------------------- */

void parking_add_keys(struct command *command, const struct partition *partition)
{
    command_add_text(command, partition->stream_key);
    command_add_text(command, partition->park.users_key);
    command_add_text(command, partition->park.tries_key);
    command_add_text(command, partition->park.dead_key);
    command_add_text(command, partition->park.prefix);
}

static void begin(struct parking *parking, const struct partition *partition, const char *name)
{
    struct command *command = &parking->command;
    command_begin(command, name);
    parking_add_keys(command, partition);
    command_add_text(command, partition->cursor_key);
    if (!partition->broadcast)
        command_add_text(command, partition->state_key);
    command_end_keys(command);
    command_add(command, parking->config.owner);
}

static void add_move(struct command *command, const struct message *message)
{
    bool dead = message->fate == FATE_DEAD;
    command_add_text(command, dead ? "dead" : "park");
    command_add_id(command, message->span.first);
    command_add_number(command, (int64_t)message->serial);
    command_add(command, message->envelope.fields[ENVELOPE_USER]);
    command_add_number(command, dead ? message->attempt : message->attempt - 1);
    if (dead)
        command_add_number(command, message->status);
    else if (message->wait_ms >= 0)
        command_add_number(command, message->wait_ms);
    else
        command_add_text(command, "");
    command_add_text(command, dead ? message->reason : "");
}

void parking_add_moves(struct command *command, const struct partition *partition, size_t count)
{
    command_add_number(command, (int64_t)partition->park.serial);
    command_add_number(command, (int64_t)count);
    for (const struct message *message = partition->recording.head; message != NULL; message = message->link)
        if (message->fate != FATE_TAKEN)
            add_move(command, message);
}

/* --- who is due -------------------------------------------------------------------------------------------------- */

static void arm(struct parking *parking, uint64_t due_us)
{
    if (due_us >= parking->next_us)
        return;
    parking->next_us = due_us;
    sd_event_source_set_time(parking->timer, due_us);
    loop_wake(parking->timer);
}

/* A user of PARTITION is due in WAIT_MS. */
static void expect(struct parking *parking, struct partition *partition, int64_t wait_ms)
{
    uint64_t due_us = clock_monotonic_us() + (uint64_t)(wait_ms < LONGEST_WAIT ? wait_ms : LONGEST_WAIT) * 1000;
    if (due_us < partition->park.due_us)
        partition->park.due_us = due_us;
    arm(parking, partition->park.due_us);
}

static void on_dead_count(void *arg, const redisReply *reply)
{
    struct parking_call call = *(struct parking_call *)arg;
    free(arg);
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && call.life == call.partition->life)
        call.partition->park.dead = (uint64_t)reply->integer;
}

static void count_dead(struct parking *parking, struct partition *partition)
{
    const char *words[] = {"XLEN", partition->park.dead_key};
    struct parking_call *call = call_create(parking, partition, NULL);
    if (!broker_command(*parking->config.broker, on_dead_count, call, 2, words, NULL))
        free(call);
}

void parking_adopt(struct parking *parking, struct partition *partition, struct str users)
{
    for (struct str user; users.len > 0 && str_next(&users, '\0', &user);)
        park_add_user(partition, user);
    partition->park.due_us = NEVER;
    if (partition->park.user_count > 0)
        expect(parking, partition, 0);
    count_dead(parking, partition);
}

static bool is_fault(const redisReply *reply, const char *function)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR && !command_fenced(reply))
        log_warning("park.refused", "the broker refuses %s: %s", function, reply->str);
    return reply == NULL || reply->type == REDIS_REPLY_ERROR;
}

/* A user, the attempts of its head, the head. */
static bool take_head(struct partition *partition, const redisReply *reply)
{
    struct stream_id id;
    struct envelope envelope;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || reply->element[1]->type != REDIS_REPLY_INTEGER ||
        !entry_read(reply->element[2], &id, &envelope))
        return false;
    return park_fetch(partition, id, &envelope, (uint32_t)reply->element[1]->integer);
}

static void take_due(struct parking *parking, struct partition *partition, const redisReply *reply)
{
    int64_t wait_ms = reply->elements > 0 ? reply->element[0]->integer : -1;
    partition->park.due_us = NEVER;
    for (size_t i = 1; i < reply->elements; i++)
        if (!take_head(partition, reply->element[i]))
            wait_ms = AGAIN_MS;
    parking_tell(parking, partition);
    if (partition->park.head_count < PARK_MOST_HEADS && partition->park.user_count > 0)
        expect(parking, partition, wait_ms >= 0 ? wait_ms : PATIENCE_MS);
}

static void on_due(void *arg, const redisReply *reply)
{
    struct parking_call call = *(struct parking_call *)arg;
    struct partition *partition = call.partition;
    free(arg);
    if (call.life != partition->life)
        return;
    partition->park.asking = false;
    if (command_fenced(reply))
        call.parking->config.fenced(call.parking->config.arg, partition);
    else if (is_fault(reply, "parked") || reply->type != REDIS_REPLY_ARRAY)
        expect(call.parking, partition, PATIENCE_MS);
    else
        take_due(call.parking, partition, reply);
}

static void ask(struct parking *parking, struct partition *partition)
{
    struct command *command = &parking->command;
    begin(parking, partition, "parked");
    command_add_number(command, (int64_t)(PARK_MOST_HEADS - partition->park.head_count));
    for (const struct message *head = partition->park.heads; head != NULL; head = head->next)
        command_add(command, head->envelope.fields[ENVELOPE_USER]);
    struct parking_call *call = call_create(parking, partition, NULL);
    partition->park.due_us = NEVER;
    partition->park.asking = command_send(command, *parking->config.broker, on_due, call);
    if (!partition->park.asking)
        free(call);
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)source, (void)at_us;
    struct parking *parking = arg;
    uint64_t now_us = clock_monotonic_us(), next_us = NEVER;
    parking->next_us = NEVER;
    for (size_t i = 0; i < parking->config.partitions->count; i++) {
        struct partition *partition = parking->config.partitions->items[i];
        struct park *park = &partition->park;
        if (!partition->linked || partition->quiesced || park->user_count == 0 || park->asking ||
            park->head_count >= PARK_MOST_HEADS)
            continue;
        if (park->due_us <= now_us)
            ask(parking, partition);
        else if (park->due_us < next_us)
            next_us = park->due_us;
    }
    if (next_us != NEVER)
        arm(parking, next_us);
    return 0;
}

/* --- what became of them ----------------------------------------------------------------------------------------- */

static void count_end(struct parking *parking, struct partition *partition, enum message_fate fate)
{
    if (fate == FATE_DEAD)
        partition->park.dead++;
    if (fate != FATE_PARKED)
        stat_add(fate == FATE_DEAD ? &parking->config.stats->agent_dead_letters_total
                                   : &parking->config.stats->agent_unparked_total,
                 1);
}

/* After success and death the broker says how many messages are parked, and the user's next one. */
static void end_head(struct parking *parking, struct partition *partition, struct message *head,
                     const redisReply *reply)
{
    enum message_fate fate = head->fate;
    int64_t wait_ms = head->wait_ms;
    const redisReply *next = NULL;
    if (fate != FATE_PARKED && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) {
        partition->park.messages = (uint64_t)reply->element[0]->integer;
        next = reply->elements > 1 && reply->element[1]->type == REDIS_REPLY_ARRAY ? reply->element[1] : NULL;
    }
    count_end(parking, partition, fate);
    observer_recorded(partition->observer, head);
    park_leave(partition, head, fate == FATE_PARKED || next != NULL);
    if (next == NULL || !take_head(partition, next))
        expect(parking, partition, fate == FATE_PARKED ? wait_ms : 0);
    parking_tell(parking, partition);
}

static void on_told(void *arg, const redisReply *reply)
{
    struct parking_call call = *(struct parking_call *)arg;
    struct partition *partition = call.partition;
    free(arg);
    if (call.life != partition->life)
        return;
    if (command_fenced(reply)) {
        call.parking->config.fenced(call.parking->config.arg, partition);
        return;
    }
    if (is_fault(reply, "what became of a parked message")) {
        park_end_again(partition, call.head); /* until the next tick */
    } else {
        partition->confirmed = call.number;
        end_head(call.parking, partition, call.head, reply);
    }
    call.parking->config.progress(call.parking->config.arg, partition);
}

static void compose(struct parking *parking, struct partition *partition, const struct message *head)
{
    static const char *const functions[] = {[FATE_TAKEN] = "unpark", [FATE_PARKED] = "fail", [FATE_DEAD] = "bury"};
    struct command *command = &parking->command;
    begin(parking, partition, functions[head->fate]);
    command_add_number(command, (int64_t)++partition->call);
    command_add(command, head->envelope.fields[ENVELOPE_USER]);
    command_add_id(command, head->span.first);
    if (head->fate == FATE_PARKED) {
        command_add_number(command, head->attempt - 1);
        command_add_number(command, head->wait_ms);
    } else if (head->fate == FATE_DEAD) {
        command_add_number(command, head->attempt);
        command_add_number(command, head->status);
        command_add_text(command, head->reason);
    }
}

void parking_tell(struct parking *parking, struct partition *partition)
{
    while (partition->linked && partition->park.ended.head != NULL) {
        struct message *head = park_take_ended(partition);
        struct parking_call *call = call_create(parking, partition, head);
        compose(parking, partition, head);
        call->number = partition->call;
        if (command_send(&parking->command, *parking->config.broker, on_told, call))
            continue;
        free(call);
        park_end_again(partition, head);
        break;
    }
}

void parking_moved(struct parking *parking, struct partition *partition, const redisReply *reply)
{
    int64_t wait_ms = LONGEST_WAIT;
    size_t dead = 0, parked = 0;
    for (const struct message *message = partition->recording.head; message != NULL; message = message->link) {
        dead += message->fate == FATE_DEAD;
        parked += message->fate == FATE_PARKED;
        if (message->fate == FATE_PARKED && message->wait_ms < wait_ms)
            wait_ms = message->wait_ms >= 0 ? message->wait_ms : 0;
    }
    partition->park.dead += dead;
    if (reply->type == REDIS_REPLY_INTEGER)
        partition->park.messages = (uint64_t)reply->integer;
    stat_add(&parking->config.stats->agent_parked_total, parked);
    stat_add(&parking->config.stats->agent_dead_letters_total, dead);
    if (parked > 0)
        expect(parking, partition, wait_ms);
}

void parking_tick(struct parking *parking)
{
    for (size_t i = 0; i < parking->config.partitions->count; i++) {
        struct partition *partition = parking->config.partitions->items[i];
        if (!partition->linked)
            continue;
        parking_tell(parking, partition);
        if (partition->park.user_count > 0 && partition->park.head_count < PARK_MOST_HEADS && !partition->park.asking)
            expect(parking, partition, PATIENCE_MS);
        if (partition->park.dead > 0) /* operators may have brought some back, or purged them */
            count_dead(parking, partition);
    }
}

/* --- life ------------------------------------------------------------------------------------------------------- */

struct parking *parking_create(sd_event *loop, const struct parking_config *config)
{
    struct parking *parking = mem_calloc(1, sizeof(*parking));
    parking->loop = loop;
    parking->config = *config;
    parking->next_us = NEVER;
    parking->timer = loop_timer(loop, on_time, parking);
    return parking;
}

void parking_destroy(struct parking **parking)
{
    if (*parking == NULL)
        return;
    sd_event_source_disable_unref((*parking)->timer);
    command_free(&(*parking)->command);
    free(*parking);
    *parking = NULL;
}
