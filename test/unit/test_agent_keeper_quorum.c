/* SPDX-License-Identifier: Apache-2.0
 *
 * Who stays a member of three brokers, also in a unit that accepts by quorum: two are a majority.
 */
#include "keeper_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* Members on record are the first MEMBERS of three brokers. */
static struct keeper_state scene(unsigned members)
{
    struct keeper_state state = calm(2);
    state.quorum = 2;
    state.record = record_of(members);
    state.record.sync_full = state.record.wait = 2;
    return state;
}

/* The primary has lost its link to replica I of two, and has said so for long enough. */
static void lose_link(struct keeper_state *state, unsigned i)
{
    struct keeper_look look = primary_look(NOW - 4 * MS, 2);
    if (i == 0)
        look.links[0] = look.links[1];
    look.link_count = look.online = 1;
    keeper_saw_primary(state, &look);
    state->replicas[i].gone_us = NOW - 100 * MS;
}

static void silence(struct keeper_state *state, unsigned i)
{
    state->replicas[i].heard_us = state->replicas[i].look.ended_us = NOW - 2 * TIMEOUT;
}

static struct keeper_action decide(const struct keeper_state *state)
{
    struct keeper_action action;
    keeper_decide(state, NOW, &action);
    return action;
}

static bool names(const struct keeper_action *action, unsigned broker)
{
    return broker_record_member(&action->record, url_of(broker)) != NULL;
}

static void one_of_two_replicas_leaves_and_the_other_stays(void **state)
{
    (void)state;
    struct keeper_state seen = calm(2);
    struct keeper_action action;
    silence(&seen, 0);
    keeper_decide(&seen, NOW, &action);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 2);
    assert_string_equal(action.record.members[1].url, url_of(2));
    assert_int_equal(action.leave[0], KEEPER_LAGS);
    assert_int_equal(action.leave[1], KEEPER_STAYS);
}

/* For how long it must be well each time, in ms. */
static void leave_again_and_again(struct keeper_state *state, bool lags, uint64_t every_us, uint64_t rests[6])
{
    for (int i = 0; i < 6; i++) {
        keeper_strike(state, 0, lags, NOW + (uint64_t)i * every_us);
        rests[i] = state->replicas[0].rest_us / MS;
    }
}

static void who_leaves_again_and_again_stays_out_for_longer(void **unused)
{
    (void)unused;
    static const uint64_t after_lagging[6] = {1000, 2000, 4000, 8000, 16000, 16000},
                          after_leaving[6] = {0, 1000, 2000, 4000, 8000, 8000};
    uint64_t rests[6];
    struct keeper_state state = calm(1);
    leave_again_and_again(&state, true, 10 * TIMEOUT, rests);
    assert_memory_equal(rests, after_lagging, sizeof(rests));
    keeper_strike(&state, 0, true, NOW + 1000 * TIMEOUT);
    assert_int_equal(state.replicas[0].rest_us, TIMEOUT);
    state = calm(1);
    leave_again_and_again(&state, false, 10 * TIMEOUT, rests);
    assert_memory_equal(rests, after_leaving, sizeof(rests));
}

/* The second replica, whose link ends half a second after each time that it has joined, for 300 ms. */
struct flap {
    uint64_t ends_us, back_us;
    unsigned changes; /* of the record */
};

static bool is_away(const struct flap *flap, uint64_t at_us)
{
    return at_us >= flap->ends_us && at_us < flap->back_us;
}

static void write_record(struct keeper_state *state, struct keeper_action *action, struct flap *flap, uint64_t at_us)
{
    bool was_there = broker_record_member(&state->record, url_of(2)) != NULL, is_there = names(action, 2);
    for (unsigned i = 0; i < state->replica_count; i++)
        if (action->leave[i] != KEEPER_STAYS)
            keeper_strike(state, i, action->leave[i] == KEEPER_LAGS, at_us);
    action->record.version = state->record.version + 1;
    state->record = action->record;
    flap->changes++;
    if (is_there && !was_there)
        *flap = (struct flap){at_us + 500 * MS, at_us + 800 * MS, flap->changes};
}

static void flap_round(struct keeper_state *state, struct flap *flap, uint64_t at_us)
{
    struct keeper_look look = primary_look(at_us, is_away(flap, at_us) ? 1 : 2);
    struct keeper_action action;
    look.sync_full = 2;
    look.epoch = state->primary.epoch;
    keeper_saw_primary(state, &look);
    keeper_decide(state, at_us + 2 * MS, &action);
    if (action.verdict == KEEPER_WRITE)
        write_record(state, &action, flap, at_us + 3 * MS);
    if (action.verdict == KEEPER_STAMP || action.verdict == KEEPER_WRITE)
        state->primary.epoch = state->record.version + (action.verdict == KEEPER_STAMP);
    for (unsigned i = 0; i < state->replica_count; i++) {
        struct keeper_look replica = replica_look(at_us + 10 * MS, i);
        replica.epoch = state->primary.epoch;
        replica.link_up = i == 0 || !is_away(flap, at_us);
        keeper_saw_replica(state, i, &replica);
    }
}

static void a_link_that_comes_and_goes_changes_the_record_seldom(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(3);
    struct flap flap = {NOW + 500 * MS, NOW + 800 * MS, 0};
    for (uint64_t at_us = NOW; at_us < NOW + 60 * TIMEOUT; at_us += 100 * MS)
        flap_round(&state, &flap, at_us);
    assert_in_range(flap.changes, 6, 40); /* without a rest it is some hundred */
}

/* All of the set that is left is no majority: writers wait for who rests. */
static void who_rests_joins_at_once_where_there_is_no_quorum_without_it(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    keeper_strike(&state, 1, true, NOW - 100 * MS);
    struct keeper_action action = decide(&state);
    assert_false(names(&action, 2));
    silence(&state, 0);
    action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_STAMP);
    assert_true(names(&action, 2));
}

/* Nobody is well who was not there, or late, meanwhile. */
static void who_rests_begins_anew_when_it_is_unwell(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    keeper_strike(&state, 1, true, NOW - 1500 * MS);
    struct keeper_action action = decide(&state);
    assert_true(names(&action, 2));
    lose_link(&state, 1);
    struct keeper_look back = primary_look(NOW - 3 * MS, 2);
    keeper_saw_primary(&state, &back);
    assert_true(state.replicas[1].well_us > NOW - 10 * MS);
    action = decide(&state);
    assert_false(names(&action, 2));
}

static void the_minority_leaves(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(3);
    lose_link(&state, 1);
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_true(names(&action, 1) && !names(&action, 2));
}

static void the_last_of_a_majority_stays_on_record_though_it_is_gone(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    silence(&state, 0);
    silence(&state, 1);
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_REST);
    assert_true(action.why[0] != '\0');
    assert_int_equal(action.detach_count, 0);
    state.quorum = 0;
    action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 1);
}

static void all_stay_where_a_majority_is_gone_at_once(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(3);
    silence(&state, 0);
    silence(&state, 1);
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_REST);
    assert_int_equal(action.record.member_count, 3);
    assert_true(action.leave[0] == KEEPER_STAYS && action.leave[1] == KEEPER_STAYS);
}

/* A WAIT for one would be answered by the other one, who is still attached. */
static void nobody_leaves_while_another_member_may_be_gone(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(3);
    state.quorum = 0;
    state.replicas[0].look.syncing = true;
    lose_link(&state, 1);
    state.replicas[1].gone_us = NOW - 10 * MS;
    assert_int_equal(decide(&state).verdict, KEEPER_REST);
    state.replicas[1].gone_us = NOW - 100 * MS;
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 1);
}

static void who_is_kept_though_it_is_gone_is_waited_for_beside_who_is_there(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    lose_link(&state, 0); /* the other one, which is no member, is still attached */
    silence(&state, 1);
    state.primary.epoch = 8;
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 2);
    assert_int_equal(action.record.wait, 2);
}

static void who_holds_the_data_no_more_leaves_whatever_is_left(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    silence(&state, 1);
    state.replicas[0].look.syncing = true;
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 1);
}

static void who_is_gone_leaves_when_another_one_completes_the_majority(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    silence(&state, 0);
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_STAMP); /* before it joins */
    assert_true(names(&action, 2) && !names(&action, 1));
}

static void a_record_with_less_than_a_majority_grows(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(1);
    silence(&state, 1);
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_STAMP);
    assert_true(names(&action, 1) && !names(&action, 2));
    assert_true(keeper_hurries(&state));
    state.record.member_count = 2;
    assert_false(keeper_hurries(&state));
}

static void who_has_just_attached_is_looked_at_often_for_a_while(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    state.quorum = 0;
    struct keeper_look look = primary_look(NOW, 2);
    look.sync_partial++;
    keeper_saw_primary(&state, &look);
    assert_true(keeper_hurries(&state));
    state.record.member_count = 3;
    assert_false(keeper_hurries(&state));
    state.record.member_count = 2;
    look.began_us += 2 * TIMEOUT;
    look.ended_us += 2 * TIMEOUT;
    keeper_saw_primary(&state, &look);
    assert_false(keeper_hurries(&state));
}

/* A keeper died between its stamp and its record: writers wait for one that is as new, though nobody is there. */
static void a_stamp_ahead_gets_its_record_while_a_majority_is_gone(void **unused)
{
    (void)unused;
    struct keeper_state state = scene(2);
    silence(&state, 0);
    silence(&state, 1);
    state.primary.epoch = 8;
    struct keeper_action action = decide(&state);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_true(action.record.member_count == 2 && names(&action, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_two_replicas_leaves_and_the_other_stays),
        cmocka_unit_test(who_leaves_again_and_again_stays_out_for_longer),
        cmocka_unit_test(a_link_that_comes_and_goes_changes_the_record_seldom),
        cmocka_unit_test(who_rests_joins_at_once_where_there_is_no_quorum_without_it),
        cmocka_unit_test(who_rests_begins_anew_when_it_is_unwell),
        cmocka_unit_test(the_minority_leaves),
        cmocka_unit_test(the_last_of_a_majority_stays_on_record_though_it_is_gone),
        cmocka_unit_test(all_stay_where_a_majority_is_gone_at_once),
        cmocka_unit_test(nobody_leaves_while_another_member_may_be_gone),
        cmocka_unit_test(who_is_kept_though_it_is_gone_is_waited_for_beside_who_is_there),
        cmocka_unit_test(who_holds_the_data_no_more_leaves_whatever_is_left),
        cmocka_unit_test(who_is_gone_leaves_when_another_one_completes_the_majority),
        cmocka_unit_test(a_record_with_less_than_a_majority_grows),
        cmocka_unit_test(who_has_just_attached_is_looked_at_often_for_a_while),
        cmocka_unit_test(a_stamp_ahead_gets_its_record_while_a_majority_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
