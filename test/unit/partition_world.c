/* SPDX-License-Identifier: Apache-2.0 */
#include "partition_world.h"

#include <stdio.h>
#include <stdlib.h>

static bool admits(void *arg, const struct partition *partition, const struct message *message)
{
    const struct world *world = arg;
    (void)partition;
    return (world->barred >> strtoul(message->envelope.fields[ENVELOPE_USER].base + 1, NULL, 10) & 1) == 0;
}

static void on_ready(void *arg, struct message *message)
{
    struct world *world = arg;
    assert_true(admits(world, message->partition, message));
    world->out[world->out_count++] = message;
}

static void on_withdraw(void *arg, struct message *message)
{
    struct world *world = arg;
    size_t i = 0;
    while (i < world->out_count && world->out[i] != message)
        i++;
    assert_true(i < world->out_count);
    world->out[i] = world->out[--world->out_count];
    world->withdrawn++;
}

uint64_t world_roll(struct world *world, uint64_t sides)
{
    world->seed ^= world->seed << 13;
    world->seed ^= world->seed >> 7;
    world->seed ^= world->seed << 17;
    return world->seed % sides;
}

void world_produce(struct world *world, unsigned user)
{
    struct stream_id id = world->length ? world->stream[world->length - 1].id : (struct stream_id){1000, 0};
    if (world_roll(world, 2))
        id.seq++;
    else
        id = (struct stream_id){id.ms + 1 + world_roll(world, 5), 0};
    world->stream[world->length].id = id;
    world->stream[world->length].user = user;
    world->stream[world->length].n = ++world->numbered;
    world->stream[world->length++].number = ++world->produced[user];
}

void world_delete_entry(struct world *world, size_t i)
{
    memmove(&world->stream[i], &world->stream[i + 1], (--world->length - i) * sizeof(world->stream[0]));
}

struct texts {
    char user[16], number[16], n[24];
};

static struct envelope envelope_of(const struct world *world, size_t i, struct texts *texts)
{
    struct envelope envelope;
    snprintf(texts->user, sizeof(texts->user), "u%u", world->stream[i].user);
    snprintf(texts->number, sizeof(texts->number), "%u", world->stream[i].number);
    for (int field = 0; field < ENVELOPE_FIELDS; field++)
        envelope.fields[field] = STR_LIT("");
    envelope.fields[ENVELOPE_USER] = str_of(texts->user);
    envelope.fields[ENVELOPE_ID] = str_of(texts->number);
    texts->n[str_from_u64(world->stream[i].n, texts->n)] = '\0';
    envelope.fields[ENVELOPE_NUMBER] = str_of(texts->n);
    return envelope;
}

bool world_read_next(struct world *world)
{
    for (size_t i = 0; i < world->length; i++) {
        if (stream_id_compare(world->stream[i].id, world->partition->last_read) <= 0)
            continue;
        struct texts texts;
        struct envelope envelope = envelope_of(world, i, &texts);
        partition_add(world->partition, world->stream[i].id, &envelope);
        return true;
    }
    return false;
}

/* The app processes it; whether the agent hears of that is another matter. */
void world_deliver(struct world *world, const struct message *message)
{
    unsigned user = (unsigned)atoi(message->envelope.fields[ENVELOPE_USER].base + 1);
    unsigned number = (unsigned)atoi(message->envelope.fields[ENVELOPE_ID].base);
    world->delivered++;
    if (number != world->last[user] && number != world->last[user] + 1)
        fail_msg("user %u: message %u after message %u", user, number, world->last[user]);
    world->last[user] = number;
    if (number > world->seen[user])
        world->seen[user] = number;
}

struct message *world_take_out(struct world *world, size_t i)
{
    struct message *message = world->out[i];
    world->out[i] = world->out[--world->out_count];
    return message;
}

void world_acknowledge(struct world *world, size_t i)
{
    partition_acknowledge(world->partition, world_take_out(world, i));
}

static size_t entry_of(const struct world *world, const struct message *message)
{
    size_t i = 0;
    while (stream_id_compare(world->stream[i].id, message->span.first) != 0)
        i++;
    return i;
}

void world_begin_write(struct world *world)
{
    partition_begin_write(world->partition, &world->write);
    assert_int_equal(strlen(world->write.done.base), world->write.done.len);
    world->move_count = 0;
    for (const struct message *message = world->partition->recording.head; message != NULL; message = message->link)
        if (message->fate != FATE_TAKEN)
            world->moves[world->move_count++] =
                (struct move){entry_of(world, message), message->serial, message->fate == FATE_DEAD};
    assert_int_equal(world->move_count, world->write.moves);
}

static void bury(struct world *world, size_t entry)
{
    assert_false(world->buried[entry]);
    world->buried[entry] = true;
}

/* What the broker's function does: see common/functions/park.lua. */
static void moves_land(struct world *world)
{
    for (size_t i = 0; i < world->move_count; i++) {
        const struct move *move = &world->moves[i];
        struct park_model *park = &world->parks[world->stream[move->entry].user];
        if (move->serial <= world->serial)
            continue;
        if (move->dead)
            bury(world, move->entry);
        else if (park->count == 0 || park->entries[park->count - 1] < move->entry)
            park->entries[park->count++] = move->entry;
        world->parked_ever += !move->dead;
    }
    if (world->move_count > 0)
        world->serial = world->partition->park.serial;
}

void world_write_lands(struct world *world)
{
    stream_id_format(world->watermark, world->write.watermark);
    world->passed = world->write.passed;
    world->beyond = world->write.beyond;
    world->done.len = 0;
    buf_append_str(&world->done, buf_str(&world->write.done));
    moves_land(world);
}

void world_restore(struct world *world)
{
    struct cursor cursor;
    char passed[24];
    snprintf(passed, sizeof(passed), "%lu", (unsigned long)world->passed);
    assert_true(cursor_decode(str_of(world->watermark), buf_str(&world->done), str_of(passed), &cursor));
    cursor.beyond = world->beyond;
    partition_restore(world->partition, &cursor);
    for (unsigned user = 0; user < 16; user++) {
        char text[16];
        snprintf(text, sizeof(text), "u%u", user);
        if (world->parks[user].first < world->parks[user].count)
            park_add_user(world->partition, str_of(text));
    }
    world->serial = 0; /* another owner's numbers say nothing */
}

/* The broker's answer to who is due. */
void world_fetch(struct world *world, unsigned user)
{
    const struct park_model *park = &world->parks[user];
    if (park->first == park->count)
        return;
    struct texts texts;
    size_t entry = park->entries[park->first];
    struct envelope envelope = envelope_of(world, entry, &texts);
    park_fetch(world->partition, world->stream[entry].id, &envelope, 0);
}

/* Tells the broker what became of a head; LANDS and ANSWERED say how far that gets. */
void world_tell_head(struct world *world, bool lands, bool answered)
{
    struct message *head = park_take_ended(world->partition);
    if (head == NULL)
        return;
    size_t entry = entry_of(world, head);
    struct park_model *park = &world->parks[world->stream[entry].user];
    if (lands && head->fate != FATE_PARKED && park->first < park->count && park->entries[park->first] == entry) {
        park->first++;
        if (head->fate == FATE_DEAD)
            bury(world, entry);
    }
    if (park->first == park->count)
        *park = (struct park_model){0};
    if (answered)
        park_leave(world->partition, head, park->count > 0);
    else
        park_end_again(world->partition, head);
}

const struct partition_name world_name = {
    .unit = STR_LIT("RZ01"), .topic = STR_LIT("payments"), .subscription = STR_LIT("default"), .number = 3};

void world_agent_start(struct world *world)
{
    world->partition = partition_create(&world_name, (struct partition_hooks){on_ready, on_withdraw, world});
    world->guard = (struct partition_guard){admits, world};
    world->partition->guard = &world->guard;
    world_restore(world);
}

void world_agent_die(struct world *world)
{
    partition_destroy(&world->partition);
    assert_int_equal(world->out_count, 0);
}

void world_start(struct world *world, uint64_t seed)
{
    *world = (struct world){.seed = seed * 2654435761u + 1, .watermark = "0-0"};
    world_agent_start(world);
}

void world_end(struct world *world)
{
    world_agent_die(world);
    buf_free(&world->done);
    buf_free(&world->write.done);
}

/* Counted one by one, and by the figures that stand beside the cursor. */
uint64_t world_undone_in_broker(const struct world *world)
{
    struct cursor cursor;
    uint64_t count = 0;
    assert_true(cursor_decode(str_of(world->watermark), buf_str(&world->done), STR_LIT("0"), &cursor));
    for (size_t i = 0; i < world->length; i++)
        count += !cursor_covers(&cursor, world->stream[i].id);
    cursor_free(&cursor);
    assert_int_equal(world->numbered - world->passed - world->beyond, count);
    return count;
}
