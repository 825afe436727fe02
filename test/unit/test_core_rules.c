/* SPDX-License-Identifier: Apache-2.0
 *
 * Each rule that stands between a suspicion and a failover: what it lets pass, and what it stops.
 */
#include "test/unit/core_scene.h"

#define TEST(name) static void name(void **state __attribute__((unused)))

static enum core_refusal refusal(uint64_t unit)
{
    return scene_unit(unit)->refusal;
}

/* The primary of UNIT falls silent, and the others vote against it. */
static void fail_primary(void)
{
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_vote(1, GW3, UNIT, CORE_SILENT);
    scene.votes[0].epoch = scene.votes[1].epoch = scene_unit(UNIT)->record.epoch;
    scene_pass_ms(40);
}

static void expect_moved(void)
{
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
}

static void expect_refused(enum core_refusal expected)
{
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    assert_int_equal(refusal(UNIT), expected);
}

TEST(nothing_objects_to_a_clear_case)
{
    fail_primary();
    expect_moved();
}

TEST(no_unit_is_moved_where_that_is_left_to_operators)
{
    scene.policy.automatic = false;
    scene_configure();
    fail_primary();
    expect_refused(CORE_NOT_AUTOMATIC);
}

TEST(a_gateway_whose_loop_lagged_does_not_vote_until_it_has_heard_anew)
{
    fail_primary();
    scene_forget_actions();
    scene_begin(NULL);
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_vote(1, GW3, UNIT, CORE_SILENT);
    scene_pass_ms(30);
    scene.now_us += CORE_TICK_US;
    scene_step((struct core_event){.kind = CORE_TICK, .lag_us = 15000});
    expect_refused(CORE_DOUBTS_ITSELF);
    assert_true(scene_unit(UNIT)->vote.abstains);
    scene_pass_ms(40);
    expect_refused(CORE_DOUBTS_ITSELF);
    scene_pass_ms(20);
    expect_moved();
}

TEST(a_gateway_that_was_stopped_notices_with_whatever_it_reads_first)
{
    scene.now_us += 80000;
    scene_tell();
    assert_true(scene_unit(UNIT)->vote.abstains);
}

TEST(a_primary_that_was_never_heard_is_given_time_to_be_heard)
{
    memset(&scene.core, 0, sizeof(scene.core));
    scene_silence(UNIT);
    scene_configure();
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = true});
    scene_put(scene_record(UNIT));
    scene_pass_ms(900);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_PRIMARY], CORE_FINE);
    scene_pass_ms(150);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_PRIMARY], CORE_SILENT);
}

/* The primary falls silent for 10 ms more than MS, and comes back. */
static void pause_primary(unsigned ms)
{
    struct core_broker_seen seen = scene.seen[P];
    scene.seen[P].unit = 0;
    scene_pass_ms(ms);
    scene.seen[P] = seen;
    scene_pass_ms(20);
}

TEST(a_false_alarm_makes_the_gap_longer_for_a_while)
{
    pause_primary(20);
    fail_primary();
    expect_moved();
    scene_begin(NULL);
    pause_primary(30);
    scene_forget_actions();
    fail_primary();
    expect_refused(CORE_NOT_SUSPECTED);
    scene_pass_ms(20);
    expect_moved();
    scene_begin(NULL);
    pause_primary(30);
    scene_pass_ms(10000);
    fail_primary();
    expect_moved();
}

TEST(the_gap_grows_twice_at_most)
{
    for (unsigned i = 0; i < 4; i++)
        pause_primary(80);
    scene_forget_actions();
    fail_primary();
    scene_pass_ms(40);
    expect_refused(CORE_NOT_SUSPECTED);
    scene_pass_ms(20);
    expect_moved();
}

TEST(what_a_gateway_sleeps_through_is_no_false_alarm)
{
    scene.now_us += 80000;
    scene_tell();
    scene_pass_ms(200);
    fail_primary();
    expect_moved();
}

TEST(when_most_units_fall_silent_together_the_gateway_doubts_itself)
{
    for (unsigned i = P; i < X; i++)
        scene.seen[i].unit = 0;
    scene.seen[X].unit = 0;
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_pass_ms(50);
    expect_refused(CORE_DOUBTS_ITSELF);
}

TEST(half_of_the_units_may_fall_silent_together)
{
    scene_silence(OTHER);
    fail_primary();
    expect_moved();
}

TEST(a_gateway_that_has_just_begun_learns_first_what_was_moved_of_late)
{
    memset(&scene.core, 0, sizeof(scene.core));
    scene_configure();
    scene_put(scene_record(UNIT));
    fail_primary();
    scene_pass_ms(1000);
    expect_refused(CORE_DOUBTS_ITSELF);
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = true});
    scene_pass_ms(490);
    expect_refused(CORE_DOUBTS_ITSELF);
    scene_pass_ms(20);
    expect_refused(CORE_STANDBY_UNWELL); /* of which it has only just heard */
    scene_pass_ms(1600);
    expect_moved();
}

static void put_moved(uint64_t unit, uint64_t ago_us)
{
    struct core_record record = scene_record(unit);
    record.moved_ago_us = ago_us;
    scene_put(record);
}

TEST(a_unit_that_was_moved_not_long_ago_is_not_moved_again)
{
    put_moved(UNIT, 599000000);
    fail_primary();
    expect_refused(CORE_COOLING_DOWN);
    scene_pass_ms(1000);
    expect_moved();
}

TEST(a_move_before_this_machine_started_counts_too)
{
    assert_true(scene.now_us < 100000000);
    put_moved(UNIT, 100000000);
    fail_primary();
    expect_refused(CORE_COOLING_DOWN);
}

TEST(the_consumers_may_follow_the_queue_that_has_just_moved)
{
    struct core_record record = scene_record(UNIT);
    record.epoch++;
    record.primary = S;
    record.moved_ago_us = 0;
    scene_put(record);
    scene.seen[S].primary = true;
    scene.agents[UNIT] = false;
    scene.votes[0] = (struct core_vote){.gateway = GW1, .unit = UNIT, .epoch = EPOCH + 1};
    scene.votes[0].reasons[CORE_CONSUMER] = CORE_SILENT;
    scene_pass_ms(40);
    expect_moved();
    assert_int_equal(scene.last[CORE_PROPOSE].proposal.matter, CORE_CONSUMER);
}

TEST(without_another_broker_in_sync_a_unit_stays)
{
    struct core_record record = scene_record(UNIT);
    record.epoch++;
    record.member_count = 1;
    scene_put(record);
    fail_primary();
    expect_refused(CORE_NO_STANDBY);
}

TEST(a_standby_that_is_another_run_than_was_in_sync_does_not_take_over)
{
    scene.seen[S].run_id = ANOTHER_RUN;
    fail_primary();
    expect_refused(CORE_STANDBY_RESTARTED);
}

TEST(a_standby_that_is_silent_or_unwell_does_not_take_over)
{
    scene.seen[S].unit = 0;
    scene.seen[S].sees_primary = false;
    scene_pass_ms(50);
    fail_primary();
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    scene_begin(NULL);
    scene.seen[S].healthy = false;
    fail_primary();
    expect_refused(CORE_STANDBY_UNWELL);
}

TEST(a_standby_that_was_unwell_is_trusted_again_after_a_clean_while)
{
    scene.seen[S].healthy = false;
    scene_pass_ms(10);
    scene.seen[S].healthy = true;
    fail_primary();
    expect_refused(CORE_STANDBY_UNWELL);
    scene_pass_ms(2800);
    expect_refused(CORE_STANDBY_UNWELL);
    scene_pass_ms(300);
    expect_moved();
}

/* A third broker, which is in sync too. */
static void add_standby(void)
{
    struct core_record record = scene_record(UNIT);
    record.members[record.member_count++] = (struct core_member){.broker = X, .run_id = RUN + X};
    record.epoch++;
    scene_units[0].brokers[2] = X;
    scene_units[0].broker_count = 3;
    scene_configure();
    scene_units[0].broker_count = 2;
    scene_put(record);
    scene.seen[X].unit = UNIT;
    scene.seen[X].primary = false;
    scene_pass_ms(4000);
}

TEST(of_two_standbys_one_that_was_well_for_long_takes_over)
{
    add_standby();
    scene.seen[S].healthy = false;
    scene_pass_ms(10);
    scene.seen[S].healthy = true;
    fail_primary();
    expect_moved();
    assert_int_equal(scene.last[CORE_PROPOSE].proposal.primary, X);
}

TEST(of_two_standbys_one_that_was_not_restarted_takes_over)
{
    add_standby();
    scene.seen[S].run_id = ANOTHER_RUN;
    fail_primary();
    expect_moved();
    assert_int_equal(scene.last[CORE_PROPOSE].proposal.primary, X);
}

TEST(a_standby_that_sees_the_primary_objects)
{
    fail_primary();
    expect_moved();
    scene_begin(NULL);
    scene_silence(UNIT);
    scene.seen[S].sees_primary = true;
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_vote(1, GW3, UNIT, CORE_SILENT);
    scene_pass_ms(100);
    expect_refused(CORE_STANDBY_OBJECTS);
}

static void load(double of_unit, double of_standby)
{
    scene_step((struct core_event){.kind = CORE_LOAD, .load = {UNIT, of_unit}});
    scene_step((struct core_event){.kind = CORE_LOAD, .load = {STANDBY, of_standby}});
}

TEST(a_unit_is_not_moved_to_where_its_load_has_no_room)
{
    scene_units[2].capacity_rps = 100;
    scene_configure();
    scene_units[2].capacity_rps = 0;
    load(60, 50);
    fail_primary();
    expect_refused(CORE_NO_HEADROOM);
    load(50, 50);
    scene_pass_ms(10);
    expect_moved();
}

TEST(no_more_units_are_moved_within_the_window_than_the_rules_allow)
{
    put_moved(OTHER, 50000000);
    fail_primary();
    expect_refused(CORE_FROZEN);
}

TEST(a_second_unit_may_be_moved_when_the_window_is_over)
{
    put_moved(OTHER, 61000000);
    fail_primary();
    expect_moved();
}

TEST(a_share_of_all_units_may_be_moved_where_that_is_more)
{
    scene.policy.max_share = 50;
    scene_configure();
    put_moved(OTHER, 1000000);
    fail_primary();
    expect_moved();
}

TEST(after_a_wish_too_many_nothing_moves_until_a_window_has_passed)
{
    scene.policy.window_ms = 5000;
    scene_configure();
    put_moved(OTHER, 0);
    fail_primary();
    scene_pass_ms(1500);
    assert_int_equal(scene.counts[CORE_ALARM], 1);
    scene_pass_ms(10000);
    expect_refused(CORE_FROZEN); /* the window began anew with each moment in which it still wished to */
    scene_begin(NULL);
}

TEST(a_gateway_votes_for_no_more_units_than_may_be_moved)
{
    scene_silence(UNIT);
    scene_silence(OTHER);
    scene_pass_ms(60);
    unsigned votes = scene_unit(UNIT)->vote.reasons[CORE_PRIMARY] != CORE_FINE;
    votes += scene_unit(OTHER)->vote.reasons[CORE_PRIMARY] != CORE_FINE;
    assert_int_equal(votes, 1);
}

TEST(a_vote_that_leads_to_nothing_makes_room_for_another_unit)
{
    bool seen_unit = false, seen_other = false;
    scene_silence(UNIT);
    scene_silence(OTHER);
    for (unsigned i = 0; i < 500; i++) {
        scene_pass_ms(10);
        bool unit = scene_unit(UNIT)->vote.reasons[CORE_PRIMARY] != CORE_FINE;
        bool other = scene_unit(OTHER)->vote.reasons[CORE_PRIMARY] != CORE_FINE;
        assert_false(unit && other);
        seen_unit = seen_unit || unit;
        seen_other = seen_other || other;
    }
    assert_true(seen_unit && seen_other);
}

TEST(gateways_that_split_their_votes_come_together_on_the_first_unit)
{
    scene_silence(OTHER);
    scene_pass_ms(60);
    assert_int_equal(scene_unit(OTHER)->vote.reasons[CORE_PRIMARY], CORE_SILENT);
    fail_primary();
    scene_pass_ms(100);
    assert_int_equal(scene_unit(OTHER)->vote.reasons[CORE_PRIMARY], CORE_FINE);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0); /* what its vote for the other led to is not known yet */
    scene_pass_ms(1000);
    expect_moved();
    assert_int_equal(scene.last[CORE_PROPOSE].unit, UNIT);
}

TEST(nothing_is_proposed_while_the_store_is_away)
{
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = false});
    fail_primary();
    expect_refused(CORE_STORE_AWAY);
    assert_int_equal(scene_unit(UNIT)->vote.reasons[CORE_PRIMARY], CORE_SILENT);
    scene_step((struct core_event){.kind = CORE_STORE, .store_up = true});
    scene_pass_ms(10);
    expect_moved();
}

TEST(one_of_three_gateways_is_no_majority)
{
    scene_silence(UNIT);
    scene_pass_ms(100);
    expect_refused(CORE_NO_MAJORITY);
}

TEST(votes_on_another_epoch_do_not_count)
{
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene.votes[0].epoch = EPOCH - 1;
    scene_pass_ms(100);
    expect_refused(CORE_NO_MAJORITY);
}

TEST(votes_lapse_when_they_are_not_repeated)
{
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_tell();
    scene.votes[0].gateway = 0;
    scene_pass_ms(20);
    scene_silence(UNIT);
    scene_pass_ms(50);
    expect_refused(CORE_NO_MAJORITY);
}

TEST(votes_of_gateways_that_are_not_registered_do_not_count)
{
    scene_silence(UNIT);
    scene_vote(0, 99, UNIT, CORE_SILENT);
    scene_vote(1, GW2, UNIT, CORE_SILENT); /* this one's own, come back */
    scene_pass_ms(100);
    expect_refused(CORE_NO_MAJORITY);
}

TEST(a_gateway_alone_is_its_own_majority)
{
    scene.gateways[0] = (struct core_gateway){GW2, AWAY};
    scene.gateway_count = 1;
    scene_configure();
    scene_silence(UNIT);
    scene_pass_ms(40);
    expect_moved();
}

TEST(gateways_beside_the_primary_need_a_vote_from_elsewhere)
{
    scene.gateways[1].datacenter = HOME; /* this one */
    scene.gateways[2].datacenter = AWAY;
    scene_configure();
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_pass_ms(100);
    expect_refused(CORE_NO_OTHER_SITE);
    scene_vote(0, GW3, UNIT, CORE_SILENT);
    scene_pass_ms(10);
    expect_moved();
}

TEST(where_there_is_one_datacentre_only_its_votes_are_enough)
{
    for (unsigned i = 0; i < 3; i++)
        scene.gateways[i].datacenter = HOME;
    scene_configure();
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_pass_ms(40);
    expect_moved();
}

#define RUN_TEST(name) cmocka_unit_test_setup(name, scene_begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN_TEST(nothing_objects_to_a_clear_case),
        RUN_TEST(no_unit_is_moved_where_that_is_left_to_operators),
        RUN_TEST(a_gateway_whose_loop_lagged_does_not_vote_until_it_has_heard_anew),
        RUN_TEST(a_gateway_that_was_stopped_notices_with_whatever_it_reads_first),
        RUN_TEST(a_primary_that_was_never_heard_is_given_time_to_be_heard),
        RUN_TEST(a_false_alarm_makes_the_gap_longer_for_a_while),
        RUN_TEST(the_gap_grows_twice_at_most),
        RUN_TEST(what_a_gateway_sleeps_through_is_no_false_alarm),
        RUN_TEST(when_most_units_fall_silent_together_the_gateway_doubts_itself),
        RUN_TEST(half_of_the_units_may_fall_silent_together),
        RUN_TEST(a_gateway_that_has_just_begun_learns_first_what_was_moved_of_late),
        RUN_TEST(a_unit_that_was_moved_not_long_ago_is_not_moved_again),
        RUN_TEST(a_move_before_this_machine_started_counts_too),
        RUN_TEST(the_consumers_may_follow_the_queue_that_has_just_moved),
        RUN_TEST(without_another_broker_in_sync_a_unit_stays),
        RUN_TEST(a_standby_that_is_another_run_than_was_in_sync_does_not_take_over),
        RUN_TEST(a_standby_that_is_silent_or_unwell_does_not_take_over),
        RUN_TEST(a_standby_that_was_unwell_is_trusted_again_after_a_clean_while),
        RUN_TEST(of_two_standbys_one_that_was_well_for_long_takes_over),
        RUN_TEST(of_two_standbys_one_that_was_not_restarted_takes_over),
        RUN_TEST(a_standby_that_sees_the_primary_objects),
        RUN_TEST(a_unit_is_not_moved_to_where_its_load_has_no_room),
        RUN_TEST(no_more_units_are_moved_within_the_window_than_the_rules_allow),
        RUN_TEST(a_second_unit_may_be_moved_when_the_window_is_over),
        RUN_TEST(a_share_of_all_units_may_be_moved_where_that_is_more),
        RUN_TEST(after_a_wish_too_many_nothing_moves_until_a_window_has_passed),
        RUN_TEST(a_gateway_votes_for_no_more_units_than_may_be_moved),
        RUN_TEST(a_vote_that_leads_to_nothing_makes_room_for_another_unit),
        RUN_TEST(gateways_that_split_their_votes_come_together_on_the_first_unit),
        RUN_TEST(nothing_is_proposed_while_the_store_is_away),
        RUN_TEST(one_of_three_gateways_is_no_majority),
        RUN_TEST(votes_on_another_epoch_do_not_count),
        RUN_TEST(votes_lapse_when_they_are_not_repeated),
        RUN_TEST(votes_of_gateways_that_are_not_registered_do_not_count),
        RUN_TEST(a_gateway_alone_is_its_own_majority),
        RUN_TEST(gateways_beside_the_primary_need_a_vote_from_elsewhere),
        RUN_TEST(where_there_is_one_datacentre_only_its_votes_are_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
