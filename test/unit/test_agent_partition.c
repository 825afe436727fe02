/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "unit-agent/partition.h"

#define MOST 4000

/* --- a broker, an app and the deliverer, as small as they can be ------------------------------------------------- */

struct world {
    uint64_t seed;
    struct {
        struct stream_id id;
        unsigned user, number; /* NUMBER: the user's own count */
        uint64_t n;            /* the partition's, from 1 */
    } stream[MOST];
    size_t length;
    uint64_t numbered;     /* n of the last one */
    unsigned produced[16]; /* by user */
    char watermark[STREAM_ID_TEXT];
    uint64_t passed, beyond;
    struct buf done;
    struct partition *partition; /* the agent's; dies in a crash */
    struct message *out[MOST];   /* handed out */
    size_t out_count;
    struct partition_record write; /* the cursor on its way */
    unsigned seen[16], last[16];   /* by user: how many different ones, and which one last, from 1 */
    size_t delivered, withdrawn;
};

static void on_ready(void *arg, struct message *message)
{
    struct world *world = arg;
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

static uint64_t roll(struct world *world, uint64_t sides)
{
    world->seed ^= world->seed << 13;
    world->seed ^= world->seed >> 7;
    world->seed ^= world->seed << 17;
    return world->seed % sides;
}

static void produce(struct world *world, unsigned user)
{
    struct stream_id id = world->length ? world->stream[world->length - 1].id : (struct stream_id){1000, 0};
    if (roll(world, 2))
        id.seq++;
    else
        id = (struct stream_id){id.ms + 1 + roll(world, 5), 0};
    world->stream[world->length].id = id;
    world->stream[world->length].user = user;
    world->stream[world->length].n = ++world->numbered;
    world->stream[world->length++].number = ++world->produced[user];
}

static void delete_entry(struct world *world, size_t i)
{
    memmove(&world->stream[i], &world->stream[i + 1], (--world->length - i) * sizeof(world->stream[0]));
}

static bool read_next(struct world *world)
{
    for (size_t i = 0; i < world->length; i++) {
        if (stream_id_compare(world->stream[i].id, world->partition->last_read) <= 0)
            continue;
        char user[16], number[16], n[24];
        struct envelope envelope = {0};
        snprintf(user, sizeof(user), "u%u", world->stream[i].user);
        snprintf(number, sizeof(number), "%u", world->stream[i].number);
        for (int field = 0; field < ENVELOPE_FIELDS; field++)
            envelope.fields[field] = STR_LIT("");
        envelope.fields[ENVELOPE_USER] = str_of(user);
        envelope.fields[ENVELOPE_ID] = str_of(number);
        n[str_from_u64(world->stream[i].n, n)] = '\0';
        envelope.fields[ENVELOPE_NUMBER] = str_of(n);
        partition_add(world->partition, world->stream[i].id, &envelope);
        return true;
    }
    return false;
}

/* The app processes it; whether the agent hears of that is another matter. */
static void deliver(struct world *world, const struct message *message)
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

static void acknowledge(struct world *world, size_t i)
{
    struct message *message = world->out[i];
    world->out[i] = world->out[--world->out_count];
    partition_acknowledge(world->partition, message);
}

static void begin_write(struct world *world)
{
    partition_begin_write(world->partition, &world->write);
    assert_int_equal(strlen(world->write.done.base), world->write.done.len);
}

static void write_lands(struct world *world)
{
    stream_id_format(world->watermark, world->write.watermark);
    world->passed = world->write.passed;
    world->beyond = world->write.beyond;
    world->done.len = 0;
    buf_append_str(&world->done, buf_str(&world->write.done));
}

static void restore(struct world *world)
{
    struct cursor cursor;
    char passed[24];
    snprintf(passed, sizeof(passed), "%lu", (unsigned long)world->passed);
    assert_true(cursor_decode(str_of(world->watermark), buf_str(&world->done), str_of(passed), &cursor));
    cursor.beyond = world->beyond;
    partition_restore(world->partition, &cursor);
}

static const struct partition_name name = {
    .unit = STR_LIT("RZ01"), .topic = STR_LIT("payments"), .subscription = STR_LIT("default"), .number = 3};

static void agent_start(struct world *world)
{
    world->partition = partition_create(&name, (struct partition_hooks){on_ready, on_withdraw, world});
    restore(world);
}

static void agent_die(struct world *world)
{
    partition_destroy(&world->partition);
    assert_int_equal(world->out_count, 0);
}

static void world_start(struct world *world, uint64_t seed)
{
    *world = (struct world){.seed = seed * 2654435761u + 1, .watermark = "0-0"};
    agent_start(world);
}

static void world_end(struct world *world)
{
    agent_die(world);
    buf_free(&world->done);
    buf_free(&world->write.done);
}

/* Counted one by one, and by the figures that stand beside the cursor. */
static uint64_t undone_in_broker(const struct world *world)
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

/* --- cases ------------------------------------------------------------------------------------------------------- */

static void the_keys_are_those_of_the_protocol(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 1);
    assert_string_equal(world.partition->stream_key, "ldc:{RZ01/payments/3}:stream");
    assert_string_equal(world.partition->state_key, "ldc:{RZ01/payments/3}:state");
    assert_string_equal(world.partition->cursor_key, "ldc:{RZ01/payments/3}:cursor:default");
    world_end(&world);
    struct partition_name listener = name;
    listener.subscription = STR_LIT("caches");
    listener.listener = STR_LIT("agent-2");
    struct partition *partition = partition_create(&listener, (struct partition_hooks){0});
    assert_string_equal(partition->cursor_key, "ldc:{RZ01/payments/3}:cursor:caches@agent-2");
    partition_destroy(&partition);
}

static void a_user_goes_on_only_when_the_broker_confirmed(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 1);
    produce(&world, 1);
    produce(&world, 1);
    produce(&world, 2);
    while (read_next(&world))
        ;
    assert_int_equal(world.out_count, 2); /* one of each user */
    acknowledge(&world, 0);
    assert_int_equal(world.out_count, 1);
    begin_write(&world);
    assert_int_equal(world.out_count, 1);
    partition_end_write(world.partition, false);
    assert_int_equal(world.out_count, 1);
    assert_true(world.partition->dirty);
    begin_write(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world.out_count, 2);
    assert_int_equal(world.partition->undone, 2);
    world_end(&world);
}

static void one_stuck_user_costs_one_range(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 5);
    produce(&world, 0);
    for (int i = 0; i < 1000; i++)
        produce(&world, 1 + (unsigned)i % 15);
    size_t stuck = 0;
    for (int round = 0; round < 1200; round++) {
        read_next(&world);
        for (size_t i = world.out_count; i-- > 0;)
            if (world.out[i]->envelope.fields[ENVELOPE_USER].base[1] != '0')
                acknowledge(&world, i);
            else
                stuck = i;
        if (world.partition->dirty) {
            begin_write(&world);
            write_lands(&world);
            partition_end_write(world.partition, true);
        }
    }
    assert_int_equal(undone_in_broker(&world), 1);
    assert_string_equal(world.watermark, "0-0");
    assert_null(strchr(world.done.base, ','));
    assert_int_equal(world.partition->undone, 1);
    assert_non_null(world.partition->head);
    assert_ptr_equal(world.partition->head->after, world.partition->tail);
    acknowledge(&world, stuck);
    begin_write(&world);
    write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world.done.len, 0);
    assert_int_equal(world.passed, 1001);
    assert_null(world.partition->head);
    world_end(&world);
}

static void an_earlier_lifes_work_stays_recorded_before_it_is_read_again(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 9);
    for (unsigned i = 0; i < 10; i++)
        produce(&world, i);
    while (read_next(&world))
        ;
    for (size_t i = world.out_count; i-- > 0;)
        if (i != 0 && i != 4)
            acknowledge(&world, i);
    begin_write(&world);
    write_lands(&world);
    agent_die(&world);
    agent_start(&world);
    read_next(&world); /* the first, and nothing of what is done */
    assert_int_equal(world.out_count, 1);
    acknowledge(&world, 0);
    begin_write(&world);
    write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(undone_in_broker(&world), 1);
    read_next(&world); /* into the midst of the first range */
    world.partition->dirty = true;
    begin_write(&world);
    write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(undone_in_broker(&world), 1);
    world_end(&world);
}

static void what_cannot_be_delivered_does_not_stop_the_cursor(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 9);
    partition_skip(world.partition, (struct stream_id){5, 5}, 0);
    assert_true(world.partition->dirty);
    begin_write(&world);
    write_lands(&world);
    partition_end_write(world.partition, true);
    assert_string_equal(world.watermark, "5-5");
    assert_int_equal(world.passed, 1);
    partition_skip(world.partition, (struct stream_id){5, 5}, 0);
    assert_int_equal(world.partition->read, 1);
    world_end(&world);
}

static void pending_is_counted_and_put_right_when_everything_was_read(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 3);
    for (unsigned i = 0; i < 10; i++)
        produce(&world, i);
    struct partition *partition = world.partition;
    partition_survey(partition, world.stream[9].id, 10);
    assert_int_equal(partition_pending(partition), 10);
    for (int i = 0; i < 4; i++)
        read_next(&world);
    acknowledge(&world, 0);
    assert_int_equal(partition_pending(partition), 9);
    /* Two that were not read, and the last of all, are deleted. */
    delete_entry(&world, 4);
    delete_entry(&world, 4);
    delete_entry(&world, 7);
    partition_survey(partition, world.stream[6].id, 10);
    assert_int_equal(partition_pending(partition), 9);
    while (read_next(&world))
        ;
    assert_int_equal(partition_pending(partition), 7); /* the last one's number is still missing */
    partition_survey(partition, world.stream[6].id, 10);
    assert_int_equal(partition_pending(partition), 6);
    partition_survey(partition, (struct stream_id){UINT64_MAX, 0}, 12);
    assert_int_equal(partition_pending(partition), 8);
    world_end(&world);
}

static void what_is_deleted_at_the_end_is_passed_without_a_message(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 3);
    produce(&world, 1);
    produce(&world, 2);
    delete_entry(&world, 1);
    read_next(&world);
    acknowledge(&world, 0);
    begin_write(&world);
    partition_end_write(world.partition, true);
    partition_survey(world.partition, world.stream[0].id, 2);
    assert_true(world.partition->dirty);
    begin_write(&world);
    assert_int_equal(world.write.passed, 2);
    assert_int_equal(partition_pending(world.partition), 0);
    world_end(&world);
}

static void what_is_not_covered_waits(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 3);
    world.partition->gated = true;
    for (unsigned i = 0; i < 6; i++)
        produce(&world, i % 3);
    while (read_next(&world))
        ;
    assert_int_equal(world.out_count, 0);
    partition_cover(world.partition, world.stream[1].id);
    assert_int_equal(world.out_count, 2);
    partition_cover(world.partition, world.stream[3].id);
    assert_int_equal(world.out_count, 3); /* the fourth one's user has the first in flight */
    while (world.out_count > 0)
        acknowledge(&world, 0);
    begin_write(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world.out_count, 1); /* the fourth; the fifth and the sixth are not covered */
    partition_cover(world.partition, world.stream[5].id);
    assert_int_equal(world.out_count, 3);
    world_end(&world);
}

static void a_quiet_partition_rests_when_what_is_in_flight_is_recorded(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 3);
    for (unsigned i = 0; i < 6; i++)
        produce(&world, i % 3);
    while (read_next(&world))
        ;
    world.out[0]->state = MESSAGE_IN_FLIGHT;
    for (int i = 1; i < 3; i++) /* withdrawn below: the deliverer would not have these any more */
        assert_int_equal(world.out[i]->state, MESSAGE_READY);
    partition_quiesce(world.partition);
    assert_int_equal(world.withdrawn, 2);
    assert_int_equal(world.out_count, 1);
    assert_false(partition_rests(world.partition));
    acknowledge(&world, 0);
    assert_false(partition_rests(world.partition));
    begin_write(&world);
    partition_end_write(world.partition, true);
    assert_true(partition_rests(world.partition));
    assert_int_equal(world.out_count, 0);
    partition_resume(world.partition);
    assert_int_equal(world.out_count, 3);
    world_end(&world);
}

static void a_reset_takes_back_what_was_handed_out(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 3);
    for (unsigned i = 0; i < 12; i++)
        produce(&world, i % 6);
    while (read_next(&world))
        ;
    assert_int_equal(world.out_count, 6);
    acknowledge(&world, 0);
    partition_reset(world.partition);
    assert_int_equal(world.withdrawn, 5);
    assert_int_equal(world.out_count, 0);
    restore(&world);
    while (read_next(&world))
        ;
    assert_int_equal(world.out_count, 6);
    world_end(&world);
}

/* One turn of whatever may happen next. */
static void step(struct world *world)
{
    size_t window = 1 + (size_t)(world->seed % 40);
    switch (roll(world, 10)) {
    case 0:
    case 1:
        if (world->length < MOST / 4)
            produce(world, (unsigned)roll(world, 1 + roll(world, 16)));
        break;
    case 2:
    case 3:
        if (world->partition->undone < window)
            read_next(world);
        break;
    case 4:
    case 5:
    case 6:
        if (world->out_count > 0) {
            size_t i = roll(world, world->out_count);
            deliver(world, world->out[i]);
            if (roll(world, 3)) /* else the answer was lost, and it goes out again */
                acknowledge(world, i);
        }
        break;
    case 7:
        if (world->partition->dirty && !world->partition->writing)
            begin_write(world);
        break;
    case 8:
        if (world->partition->writing) {
            bool confirmed = roll(world, 4);
            if (confirmed || roll(world, 2))
                write_lands(world);
            partition_end_write(world->partition, confirmed);
        }
        break;
    default:
        if (roll(world, 40) == 0) {
            if (world->partition->writing && roll(world, 2))
                write_lands(world);
            agent_die(world);
            agent_start(world);
        }
    }
}

static void drain(struct world *world)
{
    while (world->partition->undone > 0 || read_next(world)) {
        for (size_t i = world->out_count; i-- > 0;) {
            deliver(world, world->out[i]);
            acknowledge(world, i);
        }
        if (world->partition->writing)
            partition_end_write(world->partition, false);
        if (world->partition->dirty)
            begin_write(world);
        if (world->partition->writing) {
            write_lands(world);
            partition_end_write(world->partition, true);
        }
    }
}

static void any_order_of_events_keeps_every_message_and_every_users_order(void **state)
{
    (void)state;
    size_t repeated = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world *world = mem_alloc(sizeof(*world));
        world_start(world, seed);
        print_message(seed % 100 == 1 ? "seeds from %lu\n" : "", (unsigned long)seed);
        for (int i = 0; i < 6000; i++)
            step(world);
        drain(world);
        for (int user = 0; user < 16; user++)
            if (world->seen[user] != world->produced[user] || world->last[user] != world->produced[user])
                fail_msg("seed %lu, user %d: %u of %u seen", (unsigned long)seed, user, world->seen[user],
                         world->produced[user]);
        assert_int_equal(undone_in_broker(world), 0);
        assert_int_equal(world->passed, world->length);
        assert_int_equal(world->partition->bytes, 0);
        assert_int_equal(world->partition->lanes.count, 0);
        assert_null(world->partition->head);
        repeated += world->delivered - world->length;
        world_end(world);
        free(world);
    }
    assert_true(repeated > 0); /* the crashes did happen in the midst */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_are_those_of_the_protocol),
        cmocka_unit_test(a_user_goes_on_only_when_the_broker_confirmed),
        cmocka_unit_test(one_stuck_user_costs_one_range),
        cmocka_unit_test(an_earlier_lifes_work_stays_recorded_before_it_is_read_again),
        cmocka_unit_test(what_cannot_be_delivered_does_not_stop_the_cursor),
        cmocka_unit_test(pending_is_counted_and_put_right_when_everything_was_read),
        cmocka_unit_test(what_is_deleted_at_the_end_is_passed_without_a_message),
        cmocka_unit_test(what_is_not_covered_waits),
        cmocka_unit_test(a_quiet_partition_rests_when_what_is_in_flight_is_recorded),
        cmocka_unit_test(a_reset_takes_back_what_was_handed_out),
        cmocka_unit_test(any_order_of_events_keeps_every_message_and_every_users_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
