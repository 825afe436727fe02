/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* --- one fact is different -----------------------------------------------------------------------------------------
 */

static void nothing(struct keeper_state *state)
{
    (void)state;
}

static void store_unread(struct keeper_state *state)
{
    state->record_known = false;
}

static void primary_silent(struct keeper_state *state)
{
    state->primary.ended_us = NOW - 2 * TIMEOUT;
}

static void primary_is_replica(struct keeper_state *state)
{
    state->primary.is_primary = false;
    state->primary.link_up = true;
}

static void no_record_no_stamp(struct keeper_state *state)
{
    no_record(state);
    state->primary.epoch = state->replicas[0].look.epoch = 0;
}

static void no_record_and_no_name(struct keeper_state *state)
{
    no_record(state);
    state->primary.dataset[0] = '\0';
}

static void primary_empty(struct keeper_state *state)
{
    state->primary.dataset[0] = '\0';
}

static void primary_other(struct keeper_state *state)
{
    state->primary.dataset[0] = 'x';
}

static void primary_older(struct keeper_state *state)
{
    state->primary.epoch = 6;
    strcpy(state->record.run_id, "before");
}

static void primary_stranger(struct keeper_state *state)
{
    strcpy(state->record.primary, url_of(3));
    strcpy(state->record.members[0].url, url_of(3));
    strcpy(state->record.run_id, "another");
}

static void primary_renamed(struct keeper_state *state)
{
    strcpy(state->record.primary, "redis://localhost:0");
    strcpy(state->record.members[0].url, "redis://localhost:0");
}

static void outside(struct keeper_state *state)
{
    struct broker_record alone = record_of(1);
    alone.sync_full = state->record.sync_full;
    alone.wait = state->record.wait;
    state->record = alone;
}

/* The stamp has reached the replica: it holds whatever came before. */
static void outside_stamped(struct keeper_state *state)
{
    outside(state);
    state->primary.epoch = state->replicas[0].look.epoch = 8;
}

/* The two looks cross: whether writers went on in between is not known, and will be in a moment. */
static void outside_stamped_looks_cross(struct keeper_state *state)
{
    outside_stamped(state);
    state->replicas[0].look.ended_us = state->primary.began_us + 1;
}

static void outside_stamped_ahead(struct keeper_state *state)
{
    outside_stamped(state);
    state->replicas[0].look.epoch = 7;
}

static void stamped_for_nobody(struct keeper_state *state)
{
    state->primary.epoch = state->replicas[0].look.epoch = 8;
}

static void stamp_not_in_force(struct keeper_state *state)
{
    state->record.version = 8;
}

static void outside_without_file(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].look.aof_on = false;
}

static void outside_rewriting(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].look.rewriting = true;
}

static void outside_rewrite_failed(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].look.rewrite_sound = false;
}

static void outside_behind(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].look.offset = OFFSET - 17;
}

static void outside_late(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].heard_us = NOW - TIMEOUT - 100 * MS;
}

static void outside_linked_elsewhere(struct keeper_state *state)
{
    outside(state);
    strcpy(state->replicas[0].look.link_at, "127.0.0.1:999");
}

static void outside_with_other_data(struct keeper_state *state)
{
    outside(state);
    state->replicas[0].look.dataset[0] = 'x';
}

/* Sound, and attached 96 ms before the decision: the primary's first writers go first. */
static void outside_attached_just_now(struct keeper_state *state)
{
    outside(state);
    state->steady_us = NOW - 91 * MS;
}

static void outside_attached_a_while_ago(struct keeper_state *state)
{
    outside(state);
    state->steady_us = NOW - 95 * MS;
}

static void stamped_and_attached_just_now(struct keeper_state *state)
{
    outside_stamped(state);
    state->steady_us = NOW - 91 * MS;
}

static void outside_attached_after_the_look(struct keeper_state *state)
{
    outside(state);
    struct keeper_look last = primary_look(NOW - 2 * MS, 1);
    last.sync_full++;
    keeper_saw_primary(state, &last);
}

static void outside_looked_at_too_late(struct keeper_state *state)
{
    outside(state);
    struct keeper_look late = replica_look(NOW - 4 * MS, 0);
    keeper_saw_replica(state, 0, &late);
}

static void outside_struck(struct keeper_state *state)
{
    outside(state);
    keeper_strike(state, 0, true, NOW - 10 * MS);
}

static void outside_struck_long_ago(struct keeper_state *state)
{
    outside(state);
    keeper_strike(state, 0, true, NOW - 1500 * MS);
    state->replicas[0].struck_us = 0;
}

static void member_without_file(struct keeper_state *state)
{
    state->replicas[0].look.aof_on = false;
}

static void member_with_full_disk(struct keeper_state *state)
{
    state->replicas[0].look.aof_sound = false;
}

static void member_rewriting(struct keeper_state *state)
{
    state->replicas[0].look.rewriting = true;
}

static void member_made_primary(struct keeper_state *state)
{
    state->replicas[0].look.is_primary = true;
}

static void member_copying(struct keeper_state *state)
{
    state->replicas[0].look.link_up = false;
    state->replicas[0].look.syncing = true;
}

static void member_copying_with_everysec(struct keeper_state *state)
{
    strcpy(state->record.run_id, "before");
    state->primary.fsync_always = false;
    member_copying(state);
}

static void member_silent_for_a_moment(struct keeper_state *state)
{
    state->replicas[0].heard_us = NOW - TIMEOUT + 10 * MS;
    state->replicas[0].look.ended_us = NOW - 2 * TIMEOUT;
}

static void member_silent(struct keeper_state *state)
{
    state->replicas[0].heard_us = NOW - TIMEOUT - MS;
    state->replicas[0].look.ended_us = NOW - 2 * TIMEOUT;
}

static void member_silent_to_one_who_was_away(struct keeper_state *state)
{
    member_silent(state);
    state->watch_us = NOW - 100 * MS;
}

static void link_gone_for_a_moment(struct keeper_state *state)
{
    struct keeper_look last = primary_look(NOW - 2 * MS, 0);
    last.sync_full = state->record.sync_full;
    keeper_saw_primary(state, &last);
}

static void link_gone(struct keeper_state *state)
{
    struct keeper_look look = primary_look(NOW - 60 * MS, 0);
    look.sync_full = state->record.sync_full;
    keeper_saw_primary(state, &look);
    link_gone_for_a_moment(state);
}

static void member_attached_anew(struct keeper_state *state)
{
    state->record.sync_partial = 0;
    struct keeper_look last = primary_look(NOW - 2 * MS, 1);
    last.sync_partial = 1;
    keeper_saw_primary(state, &last);
}

static void member_attached_anew_and_safe(struct keeper_state *state)
{
    member_attached_anew(state);
    struct keeper_look again = replica_look(NOW, 0), last = primary_look(NOW + 2 * MS, 1);
    last.sync_partial = 1;
    keeper_saw_replica(state, 0, &again);
    keeper_saw_primary(state, &last);
}

static void primary_restarted_alone(struct keeper_state *state)
{
    primary_restarted(state);
    member_silent(state);
}

static void primary_restarted_alone_with_everysec(struct keeper_state *state)
{
    primary_restarted_alone(state);
    state->primary.fsync_always = false;
}

static void foreign_attached(struct keeper_state *state)
{
    struct keeper_look look = primary_look(NOW - 3 * TIMEOUT, 2);
    look.progress[1].port = 9;
    keeper_saw_primary(state, &look);
    state->record.sync_full = 2;
    state->record.wait = 2;
    look.began_us = NOW - 2 * MS;
    look.ended_us = NOW - MS;
    keeper_saw_primary(state, &look);
    state->steady_us = NOW - 2 * TIMEOUT;
}

static void foreign_that_may_be_ours(struct keeper_state *state)
{
    foreign_attached(state);
    state->replicas[0].look.link_up = false;
    state->replicas[0].look.ended_us = 0;
    state->replicas[0].look.link_at[0] = '\0';
}

static const struct scene scenes[] = {
    {"nothing happens", nothing, KEEPER_REST, 0, "", 0},
    {"the store was not read", store_unread, KEEPER_REST, 0, "the store has not been read", 0},
    {"the primary is silent", primary_silent, KEEPER_REST, 0, "does not answer", 0},
    {"the primary is a replica", primary_is_replica, KEEPER_REST, 0, "is a replica", 0},
    {"there is no record, and the data have no name", no_record_and_no_name, KEEPER_MARK, 0, "", 0},
    {"there is no record", no_record_no_stamp, KEEPER_STAMP, 2, "", 0},
    {"the primary is empty", primary_empty, KEEPER_REFUSE, 0, "was emptied", 0},
    {"the primary holds other data", primary_other, KEEPER_REFUSE, 0, "other data", 0},
    {"the primary holds data of an older epoch", primary_older, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"the rules name a primary that was not in sync", primary_stranger, KEEPER_REFUSE, 0, "was not in sync with", 0},
    {"the rules name the same primary otherwise", primary_renamed, KEEPER_WRITE, 2, "", 0},

    {"a replica is safe", outside, KEEPER_STAMP, 2, "", 0},
    {"a replica is safe, and writers are stopped", outside_stamped, KEEPER_WRITE, 2, "", 0},
    {"a replica is safe, and does not have the stamp", outside_stamped_ahead, KEEPER_REST, 2, "", 0},
    {"writers are stopped for nobody", stamped_for_nobody, KEEPER_WRITE, 2, "", 0},
    {"the primary is not stamped yet", stamp_not_in_force, KEEPER_REST, 2, "", 0},
    {"a replica keeps no file", outside_without_file, KEEPER_REST, 0, "set appendonly yes", 0},
    {"a replica rewrites its file", outside_rewriting, KEEPER_REST, 0, "rewrites", 0},
    {"a replica failed to rewrite its file", outside_rewrite_failed, KEEPER_REST, 0, "rewrite", 0},
    {"a replica is behind", outside_behind, KEEPER_REST, 0, "behind", 0},
    {"a replica has all that was acknowledged, but is late", outside_late, KEEPER_REST, 0, "behind", 0},
    {"a replica follows somebody else", outside_linked_elsewhere, KEEPER_REST, 0, "another broker", 0},
    {"a replica holds other data", outside_with_other_data, KEEPER_REST, 0, "its data", 0},
    {"writers wait, and looks cross", outside_stamped_looks_cross, KEEPER_REST, 0, "just attached", 0},
    {"a replica has just attached", outside_attached_just_now, KEEPER_REST, 0, "just attached", 0},
    {"a replica attached a while ago", outside_attached_a_while_ago, KEEPER_STAMP, 2, "", 0},
    {"writers are held up for it already", stamped_and_attached_just_now, KEEPER_WRITE, 2, "", 0},
    {"a replica attached after we looked", outside_attached_after_the_look, KEEPER_WRITE, 1, "just attached", 0},
    {"no look at the primary follows", outside_looked_at_too_late, KEEPER_REST, 0, "just attached", 0},
    {"a replica was dropped just now", outside_struck, KEEPER_REST, 0, "prove itself", 1},
    {"a replica was dropped long ago", outside_struck_long_ago, KEEPER_STAMP, 2, "", 0},

    {"a member keeps no file any more", member_without_file, KEEPER_WRITE, 1, "set appendonly yes", 0},
    {"a member's disk is full", member_with_full_disk, KEEPER_WRITE, 1, "full disk", 0},
    {"a member rewrites its file", member_rewriting, KEEPER_REST, 0, "rewrites", 0},
    {"a member was made a primary", member_made_primary, KEEPER_WRITE, 1, "no replica", 0},
    {"a member copies the data anew", member_copying, KEEPER_WRITE, 1, "copies", 0},
    {"but not from a primary that may have lost some", member_copying_with_everysec, KEEPER_REST, 0, "copies", 0},
    {"a member is silent for a moment", member_silent_for_a_moment, KEEPER_REST, 0, "does not answer", 0},
    {"a member is silent", member_silent, KEEPER_WRITE, 1, "does not answer", 0},
    {"a member is silent, and we were away", member_silent_to_one_who_was_away, KEEPER_REST, 0, "does not answer", 0},
    {"a member's link is gone for a moment", link_gone_for_a_moment, KEEPER_REST, 0, "another broker", 0},
    {"a member's link is gone", link_gone, KEEPER_WRITE, 1, "another broker", 0},
    {"a member attached anew", member_attached_anew, KEEPER_REST, 0, "just attached", 0},
    {"a member attached anew and is safe", member_attached_anew_and_safe, KEEPER_WRITE, 2, "", 0},

    {"the primary was restarted", primary_restarted, KEEPER_WRITE, 2, "", 0},
    {"the primary was restarted, its replica is gone", primary_restarted_alone, KEEPER_WRITE, 1, "", 0},
    {"with everysec too", primary_restarted_alone_with_everysec, KEEPER_REST, 0, "does not answer", 0},

    {"a foreign replica is attached", foreign_attached, KEEPER_REST, 0, "", 1},
    {"it may be one of ours", foreign_that_may_be_ours, KEEPER_REST, 0, "does not answer", 0},
};

static void every_scene_ends_as_it_should(void **state)
{
    (void)state;
    play_scenes(scenes, sizeof(scenes) / sizeof(*scenes));
}

static void a_record_that_was_written_is_not_written_again(void **state)
{
    (void)state;
    struct keeper_state seen = calm(2);
    struct keeper_action action;
    outside(&seen);
    seen.primary.epoch = seen.replicas[0].look.epoch = seen.replicas[1].look.epoch = 8;
    keeper_decide(&seen, NOW, &action);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 3);
    assert_string_equal(action.record.members[2].run_id, "run of replica 2");
    seen.record = action.record;
    seen.record.version = 8;
    keeper_decide(&seen, NOW, &action);
    assert_int_equal(action.verdict, KEEPER_REST);
    assert_string_equal(action.why, "");
}

static void the_next_look_is_hurried_while_a_members_link_is_gone(void **state)
{
    (void)state;
    struct keeper_state seen = calm(1);
    assert_false(keeper_hurries(&seen));
    link_gone_for_a_moment(&seen);
    assert_true(keeper_hurries(&seen));
    seen.record = record_of(1);
    assert_false(keeper_hurries(&seen));
}

static void the_primary_can_speak_for_a_replica_that_does_not_answer_us(void **state)
{
    (void)state;
    struct keeper_state seen = calm(1);
    struct keeper_action action;
    for (uint64_t at_us = NOW; at_us < NOW + 5 * TIMEOUT; at_us += 100 * MS) {
        struct keeper_look look = primary_look(at_us, 1);
        keeper_saw_primary(&seen, &look);
        keeper_decide(&seen, at_us + MS, &action);
        assert_int_equal(action.verdict, KEEPER_REST);
    }
    for (unsigned lag_s = 0; lag_s < 3; lag_s++) {
        struct keeper_look look = primary_look(NOW + 5 * TIMEOUT + lag_s * 1000 * MS, 1);
        look.progress[0].lag_s = lag_s;
        keeper_saw_primary(&seen, &look);
    }
    keeper_decide(&seen, NOW + 7 * TIMEOUT + MS, &action);
    assert_int_equal(action.verdict, KEEPER_WRITE);
    assert_int_equal(action.record.member_count, 1);
}

static void a_primary_whose_warden_is_gone_lacks_the_stamp_of_the_record(void **state)
{
    (void)state;
    struct keeper_state seen = calm(1);
    assert_false(keeper_lacks_stamp(&seen));
    seen.record.version = seen.primary.epoch + 1;
    assert_true(keeper_lacks_stamp(&seen));
    seen.primary.is_primary = false;
    assert_false(keeper_lacks_stamp(&seen));
    seen.primary.is_primary = true;
    struct keeper_state emptied = seen;
    emptied.primary.dataset[0] = '\0';
    assert_false(keeper_lacks_stamp(&emptied));
    seen.primary.run_id[0] = 'b';
    assert_false(keeper_lacks_stamp(&seen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_primary_whose_warden_is_gone_lacks_the_stamp_of_the_record),
        cmocka_unit_test(every_scene_ends_as_it_should),
        cmocka_unit_test(a_record_that_was_written_is_not_written_again),
        cmocka_unit_test(the_next_look_is_hurried_while_a_members_link_is_gone),
        cmocka_unit_test(the_primary_can_speak_for_a_replica_that_does_not_answer_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
