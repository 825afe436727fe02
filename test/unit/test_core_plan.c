/* SPDX-License-Identifier: Apache-2.0 */
#include "router/core_text.h"
#include "test/unit/core_scene.h"

#define HELD_EPOCH 7

static struct core_record held_record(void)
{
    struct core_record record = scene_record(UNIT);
    record.epoch = HELD_EPOCH;
    record.hold = record.drained = true;
    record.target = S;
    record.target_consumer = STANDBY;
    return record;
}

static void hold(void)
{
    scene.seen[P].offset = 500;
    scene.seen[S].offset = 400;
    scene_put(held_record());
}

static void fence(void)
{
    scene.seen[P].epoch = HELD_EPOCH;
    scene.seen[P].offset = 520;
}

static const struct core_proposal *proposal(void)
{
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
    return &scene.last[CORE_PROPOSE].proposal;
}

static void a_held_unit_moves_when_its_target_is_level_with_the_fenced_primary(void **state)
{
    (void)state;
    hold();
    scene_pass_ms(20);
    assert_int_equal(scene_unit(UNIT)->plan, CORE_PLAN_HELD);
    fence();
    scene_pass_ms(20);
    assert_int_equal(scene_unit(UNIT)->plan, CORE_PLAN_FENCED);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    scene.seen[S].offset = 520;
    scene_pass_ms(10);
    assert_int_equal(proposal()->plan, CORE_PLAN_LEVEL);
    assert_int_equal(proposal()->from_epoch, HELD_EPOCH);
    assert_int_equal(proposal()->primary, S);
    assert_int_equal(proposal()->run_id, RUN + S);
    assert_int_equal(proposal()->consumer, STANDBY);
}

static void what_the_target_held_before_the_fence_proves_nothing(void **state)
{
    (void)state;
    hold();
    scene.seen[S].offset = 500;
    scene_pass_ms(20);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    fence();
    scene_pass_ms(20);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
}

static void what_agents_write_behind_the_fence_is_not_waited_for(void **state)
{
    (void)state;
    hold();
    fence();
    scene_pass_ms(10);
    scene.seen[P].offset = 9000;
    scene_pass_ms(10);
    scene.seen[S].offset = 521;
    scene_pass_ms(10);
    assert_int_equal(proposal()->plan, CORE_PLAN_LEVEL);
}

static void another_run_than_the_recorded_one_is_neither_fenced_nor_level(void **state)
{
    (void)state;
    hold();
    fence();
    scene.seen[S].offset = 600;
    scene.seen[S].run_id = ANOTHER_RUN;
    scene_pass_ms(30);
    assert_int_equal(scene_unit(UNIT)->plan, CORE_PLAN_FENCED);
    scene.seen[S].run_id = RUN + S;
    scene.seen[S].primary = true; /* it follows nobody any more */
    scene_pass_ms(30);
    assert_int_equal(scene_unit(UNIT)->plan, CORE_PLAN_FENCED);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
}

static void a_switch_that_takes_too_long_is_given_up(void **state)
{
    (void)state;
    struct buf why = {NULL, 0, 0};
    hold();
    fence();
    scene_pass_ms(CORE_HOLD_US / 1000 - 20);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    scene_pass_ms(40);
    assert_int_equal(proposal()->plan, CORE_PLAN_FENCED);
    assert_int_equal(proposal()->primary, P);
    assert_int_equal(proposal()->consumer, 0);
    core_explain(proposal(), NULL, NULL, &why);
    assert_non_null(strstr(why.base, "given up"));
    assert_non_null(strstr(why.base, "the standby was not heard to be level"));
    buf_free(&why);
}

static void a_keeper_that_writes_meanwhile_gains_it_no_time(void **state)
{
    (void)state;
    struct core_record again = held_record();
    hold();
    scene_pass_ms(CORE_HOLD_US / 1000 - 100);
    again.epoch++;
    scene_put(again);
    scene_pass_ms(120);
    assert_int_equal(proposal()->plan, CORE_PLAN_HELD);
    assert_int_equal(proposal()->from_epoch, HELD_EPOCH + 1);
}

static void a_switch_to_who_is_not_in_sync_any_more_is_given_up_at_once(void **state)
{
    (void)state;
    struct core_record shrunk = held_record();
    hold();
    shrunk.epoch++;
    shrunk.member_count = 1;
    scene_put(shrunk);
    scene_pass_ms(10);
    assert_int_equal(proposal()->plan, CORE_PLAN_LOST);
}

static void nothing_is_proposed_while_the_store_is_away(void **state)
{
    (void)state;
    hold();
    fence();
    scene.seen[S].offset = 520;
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = false});
    scene_pass_ms(50);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = true});
    scene_pass_ms(10);
    assert_int_equal(proposal()->plan, CORE_PLAN_LEVEL);
}

static struct core_record drained_record(void)
{
    struct core_record record = scene_record(UNIT);
    record.epoch = HELD_EPOCH;
    record.primary = S;
    record.consumer = STANDBY;
    record.drained = true;
    return record;
}

static void nothing_returns_to_a_drained_home_by_itself(void **state)
{
    (void)state;
    scene.seen[P].primary = false;
    scene.seen[S].primary = true;
    scene_put(drained_record());
    scene_pass_ms(4000);
    scene.seen[S].unit = 0;
    scene_pass_ms(100);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_PRIMARY], CORE_SILENT);
    assert_int_equal(scene_unit(UNIT)->refusal, CORE_DRAINED);
    assert_int_equal(scene_unit(UNIT)->vote.reasons[CORE_PRIMARY], CORE_FINE);
}

static void an_operator_who_brings_a_unit_home_arms_its_failover_again(void **state)
{
    (void)state;
    struct core_record moved = scene_record(UNIT), home = scene_record(UNIT);
    moved.epoch = HELD_EPOCH;
    moved.moved_ago_us = 1000000;
    scene_put(moved);
    scene_silence(UNIT);
    scene_pass_ms(100);
    assert_int_equal(scene_unit(UNIT)->refusal, CORE_COOLING_DOWN);
    home.epoch = HELD_EPOCH + 1;
    scene_put(home);
    scene_pass_ms(100);
    assert_int_not_equal(scene_unit(UNIT)->refusal, CORE_COOLING_DOWN);
}

#define TEST(name) cmocka_unit_test_setup(name, scene_begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_held_unit_moves_when_its_target_is_level_with_the_fenced_primary),
        TEST(what_the_target_held_before_the_fence_proves_nothing),
        TEST(what_agents_write_behind_the_fence_is_not_waited_for),
        TEST(another_run_than_the_recorded_one_is_neither_fenced_nor_level),
        TEST(a_switch_that_takes_too_long_is_given_up),
        TEST(a_keeper_that_writes_meanwhile_gains_it_no_time),
        TEST(a_switch_to_who_is_not_in_sync_any_more_is_given_up_at_once),
        TEST(nothing_is_proposed_while_the_store_is_away),
        TEST(nothing_returns_to_a_drained_home_by_itself),
        TEST(an_operator_who_brings_a_unit_home_arms_its_failover_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
