/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "partition_world.h"

static void the_keys_are_those_of_the_protocol(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 1);
    assert_string_equal(world.partition->stream_key, "ldc:{RZ01/payments/3}:stream");
    assert_string_equal(world.partition->state_key, "ldc:{RZ01/payments/3}:state");
    assert_string_equal(world.partition->cursor_key, "ldc:{RZ01/payments/3}:cursor:default");
    world_end(&world);
    struct partition_name listener = world_name;
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
    world_produce(&world, 1);
    world_produce(&world, 1);
    world_produce(&world, 2);
    while (world_read_next(&world))
        ;
    assert_int_equal(world.out_count, 2); /* one of each user */
    world_acknowledge(&world, 0);
    assert_int_equal(world.out_count, 1);
    world_begin_write(&world);
    assert_int_equal(world.out_count, 1);
    partition_end_write(world.partition, false);
    assert_int_equal(world.out_count, 1);
    assert_true(world.partition->dirty);
    world_begin_write(&world);
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
    world_produce(&world, 0);
    for (int i = 0; i < 1000; i++)
        world_produce(&world, 1 + (unsigned)i % 15);
    size_t stuck = 0;
    for (int round = 0; round < 1200; round++) {
        world_read_next(&world);
        for (size_t i = world.out_count; i-- > 0;)
            if (world.out[i]->envelope.fields[ENVELOPE_USER].base[1] != '0')
                world_acknowledge(&world, i);
            else
                stuck = i;
        if (world.partition->dirty) {
            world_begin_write(&world);
            world_write_lands(&world);
            partition_end_write(world.partition, true);
        }
    }
    assert_int_equal(world_undone_in_broker(&world), 1);
    assert_string_equal(world.watermark, "0-0");
    assert_null(strchr(world.done.base, ','));
    assert_int_equal(world.partition->undone, 1);
    assert_non_null(world.partition->head);
    assert_ptr_equal(world.partition->head->after, world.partition->tail);
    world_acknowledge(&world, stuck);
    world_begin_write(&world);
    world_write_lands(&world);
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
        world_produce(&world, i);
    while (world_read_next(&world))
        ;
    for (size_t i = world.out_count; i-- > 0;)
        if (i != 0 && i != 4)
            world_acknowledge(&world, i);
    world_begin_write(&world);
    world_write_lands(&world);
    world_agent_die(&world);
    world_agent_start(&world);
    world_read_next(&world); /* the first, and nothing of what is done */
    assert_int_equal(world.out_count, 1);
    world_acknowledge(&world, 0);
    world_begin_write(&world);
    world_write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world_undone_in_broker(&world), 1);
    world_read_next(&world); /* into the midst of the first range */
    world.partition->dirty = true;
    world_begin_write(&world);
    world_write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world_undone_in_broker(&world), 1);
    world_end(&world);
}

static void what_cannot_be_delivered_does_not_stop_the_cursor(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 9);
    partition_skip(world.partition, (struct stream_id){5, 5}, 0);
    assert_true(world.partition->dirty);
    world_begin_write(&world);
    world_write_lands(&world);
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
        world_produce(&world, i);
    struct partition *partition = world.partition;
    partition_survey(partition, world.stream[9].id, 10);
    assert_int_equal(partition_pending(partition), 10);
    for (int i = 0; i < 4; i++)
        world_read_next(&world);
    world_acknowledge(&world, 0);
    assert_int_equal(partition_pending(partition), 9);
    /* Two that were not read, and the last of all, are deleted. */
    world_delete_entry(&world, 4);
    world_delete_entry(&world, 4);
    world_delete_entry(&world, 7);
    partition_survey(partition, world.stream[6].id, 10);
    assert_int_equal(partition_pending(partition), 9);
    while (world_read_next(&world))
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
    world_produce(&world, 1);
    world_produce(&world, 2);
    world_delete_entry(&world, 1);
    world_read_next(&world);
    world_acknowledge(&world, 0);
    world_begin_write(&world);
    partition_end_write(world.partition, true);
    partition_survey(world.partition, world.stream[0].id, 2);
    assert_true(world.partition->dirty);
    world_begin_write(&world);
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
        world_produce(&world, i % 3);
    while (world_read_next(&world))
        ;
    assert_int_equal(world.out_count, 0);
    partition_cover(world.partition, world.stream[1].id);
    assert_int_equal(world.out_count, 2);
    partition_cover(world.partition, world.stream[3].id);
    assert_int_equal(world.out_count, 3); /* the fourth one's user has the first in flight */
    while (world.out_count > 0)
        world_acknowledge(&world, 0);
    world_begin_write(&world);
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
        world_produce(&world, i % 3);
    while (world_read_next(&world))
        ;
    world.out[0]->state = MESSAGE_IN_FLIGHT;
    for (int i = 1; i < 3; i++) /* withdrawn below: the deliverer would not have these any more */
        assert_int_equal(world.out[i]->state, MESSAGE_READY);
    partition_quiesce(world.partition);
    assert_int_equal(world.withdrawn, 2);
    assert_int_equal(world.out_count, 1);
    assert_false(partition_rests(world.partition));
    world_acknowledge(&world, 0);
    assert_false(partition_rests(world.partition));
    world_begin_write(&world);
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
        world_produce(&world, i % 6);
    while (world_read_next(&world))
        ;
    assert_int_equal(world.out_count, 6);
    world_acknowledge(&world, 0);
    partition_reset(world.partition);
    assert_int_equal(world.withdrawn, 5);
    assert_int_equal(world.out_count, 0);
    world_restore(&world);
    while (world_read_next(&world))
        ;
    assert_int_equal(world.out_count, 6);
    world_end(&world);
}

static void turn_guard(struct world *world)
{
    world->barred ^= 1u << world_roll(world, 16);
    if (world_roll(world, 3) == 0)
        partition_park_barred(world->partition, 0);
    else
        partition_look_again(world->partition);
}

static void who_is_barred_holds_nobody_up_and_comes_in_order(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, 9);
    world.barred = 1u << 3;
    for (unsigned i = 0; i < 8; i++)
        world_produce(&world, i % 4);
    while (world_read_next(&world))
        ;
    assert_int_equal(world.out_count, 3);
    partition_park_barred(world.partition, 250);
    assert_int_equal(world.partition->leaving.count, 2); /* its second message goes along */
    while (world.out_count > 0)
        world_acknowledge(&world, 0);
    world_begin_write(&world);
    world_write_lands(&world);
    partition_end_write(world.partition, true);
    assert_int_equal(world.parks[3].count, 2);
    world_fetch(&world, 3); /* still barred: back at once */
    assert_int_equal(world.partition->park.ended.count, 1);
    world_tell_head(&world, true, true);
    world.barred = 0;
    world_fetch(&world, 3);
    assert_int_equal(world.out[world.out_count - 1]->attempt, 1);
    world_end(&world);
}

/* One turn of whatever may happen next. */
static void step(struct world *world)
{
    size_t window = 1 + (size_t)(world->seed % 40);
    if (world->guarding && world_roll(world, 20) == 0)
        turn_guard(world);
    switch (world_roll(world, 12)) {
    case 10:
        world_fetch(world, (unsigned)world_roll(world, 16));
        break;
    case 11: {
        bool lands = world_roll(world, 4);
        world_tell_head(world, lands, lands && world_roll(world, 4));
        break;
    }
    case 0:
    case 1:
        if (world->length < MOST / 4)
            world_produce(world, (unsigned)world_roll(world, 1 + world_roll(world, 16)));
        break;
    case 2:
    case 3:
        if (world->partition->undone < window)
            world_read_next(world);
        break;
    case 4:
    case 5:
    case 6:
        if (world->out_count > 0) {
            size_t i = world_roll(world, world->out_count);
            world_deliver(world, world->out[i]);
            switch (world_roll(world, world->failing ? 8 : 3)) {
            case 0: /* the answer was lost, and it goes out again */
                break;
            case 6:
                partition_bury(world->partition, world_take_out(world, i), 422, "status");
                break;
            case 4:
            case 7:
                partition_park(world->partition, world_take_out(world, i), 0);
                break;
            default:
                world_acknowledge(world, i);
            }
        }
        break;
    case 7:
        if (world->partition->dirty && !world->partition->writing)
            world_begin_write(world);
        break;
    case 8:
        if (world->partition->writing) {
            bool confirmed = world_roll(world, 4);
            if (confirmed || world_roll(world, 2))
                world_write_lands(world);
            partition_end_write(world->partition, confirmed);
        }
        break;
    default:
        if (world_roll(world, 40) == 0) {
            if (world->partition->writing && world_roll(world, 2))
                world_write_lands(world);
            world_agent_die(world);
            world_agent_start(world);
        }
    }
}

static bool is_parked(const struct world *world)
{
    return world->partition->park.user_count > 0 || world->partition->leaving.head != NULL;
}

static void drain(struct world *world)
{
    world->barred = 0;
    partition_look_again(world->partition);
    while (world->partition->undone > 0 || is_parked(world) || world->partition->dirty || world_read_next(world)) {
        while (world->partition->park.ended.head != NULL)
            world_tell_head(world, true, true);
        for (unsigned user = 0; user < 16; user++)
            world_fetch(world, user);
        for (size_t i = world->out_count; i-- > 0;) {
            world_deliver(world, world->out[i]);
            world_acknowledge(world, i);
        }
        if (world->partition->writing)
            partition_end_write(world->partition, false);
        if (world->partition->dirty)
            world_begin_write(world);
        if (world->partition->writing) {
            world_write_lands(world);
            partition_end_write(world->partition, true);
        }
    }
}

static void any_order_of_events_keeps_every_message_and_every_users_order(void **state)
{
    (void)state;
    size_t repeated = 0, parked = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world *world = mem_alloc(sizeof(*world));
        world_start(world, seed);
        world->failing = seed % 2 == 0;
        world->guarding = seed % 3 == 0;
        print_message(seed % 100 == 1 ? "seeds from %lu\n" : "", (unsigned long)seed);
        for (int i = 0; i < 6000; i++)
            step(world);
        drain(world);
        for (int user = 0; user < 16; user++)
            if (world->seen[user] != world->produced[user] || world->last[user] != world->produced[user])
                fail_msg("seed %lu, user %d: %u of %u seen", (unsigned long)seed, user, world->seen[user],
                         world->produced[user]);
        assert_int_equal(world_undone_in_broker(world), 0);
        assert_int_equal(world->passed, world->length);
        assert_int_equal(world->partition->bytes, 0);
        assert_int_equal(world->partition->lanes.count, 0);
        assert_null(world->partition->head);
        for (int user = 0; user < 16; user++)
            assert_int_equal(world->parks[user].count, 0);
        repeated += world->delivered - world->length;
        parked += world->parked_ever;
        world_end(world);
        free(world);
    }
    assert_true(repeated > 0); /* the crashes did happen in the midst */
    assert_true(parked > 10000);
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
        cmocka_unit_test(who_is_barred_holds_nobody_up_and_comes_in_order),
        cmocka_unit_test(a_quiet_partition_rests_when_what_is_in_flight_is_recorded),
        cmocka_unit_test(a_reset_takes_back_what_was_handed_out),
        cmocka_unit_test(any_order_of_events_keeps_every_message_and_every_users_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
