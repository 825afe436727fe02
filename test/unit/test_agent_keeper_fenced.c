/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper_play.h"

/* --- a primary that was started, and waits to be told that it may serve --------------------------------------------
 */

/* And its replica was looked at since. */
static void fence(struct keeper_state *state)
{
    struct keeper_look *look = &state->replicas[0].look;
    state->primary.is_primary = false;
    state->steady_us = NOW - 30 * MS;
    *look = replica_look(NOW - 20 * MS, 0);
    look->link_up = false;
    look->link_at[0] = '\0';
}

static void fenced(struct keeper_state *state)
{
    primary_restarted(state);
    fence(state);
}

static void fenced_with_less(struct keeper_state *state)
{
    fenced(state);
    state->primary.writes = 99;
    state->primary.fsync_always = false;
}

static void fenced_with_less_than_was_seen(struct keeper_state *state)
{
    fenced(state);
    state->record = record_of(1);
    primary_restarted(state);
    state->primary.writes = 99;
}

static void fenced_without_word_of_the_member(struct keeper_state *state)
{
    fenced(state);
    state->replicas[0].look.ended_us = 0;
}

static void fenced_with_word_of_before(struct keeper_state *state)
{
    fenced(state);
    state->replicas[0].look.began_us = state->steady_us - MS;
}

static void fenced_while_the_member_reads_on(struct keeper_state *state)
{
    fenced(state);
    state->replicas[0].look.link_up = true;
}

static void fenced_and_empty(struct keeper_state *state)
{
    fenced(state);
    state->primary.dataset[0] = '\0';
}

static void fenced_of_before(struct keeper_state *state)
{
    fenced(state);
    state->primary.epoch = 6;
}

static void fenced_before_its_stamp(struct keeper_state *state)
{
    fenced_of_before(state);
    state->record = record_of(1);
    primary_restarted(state);
    state->record.at_us = 17;
    state->record.counted = (struct broker_count){100, 17};
}

static void fenced_before_its_stamp_with_less(struct keeper_state *state)
{
    fenced_before_its_stamp(state);
    state->most_writes = 0;
    state->primary.writes = 99;
}

static void fenced_before_a_stamp_of_others(struct keeper_state *state)
{
    fenced_before_its_stamp(state);
    state->record.at_us = 18;
}

static void fenced_before_it_took_over(struct keeper_state *state)
{
    fenced_before_a_stamp_of_others(state);
    state->record.before = 6;
}

static void fenced_before_it_took_over_with_an_old_copy(struct keeper_state *state)
{
    fenced_before_it_took_over(state);
    state->primary.epoch = 5;
}

static void fenced_before_it_took_over_with_everysec(struct keeper_state *state)
{
    fenced_before_it_took_over(state);
    state->primary.fsync_always = false;
}

static void fenced_before_its_stamp_beside_a_member(struct keeper_state *state)
{
    fenced_before_its_stamp(state);
    state->record.members[state->record.member_count++] = record_of(2).members[1];
}

static void fenced_and_stamped_ahead(struct keeper_state *state)
{
    fence(state);
}

static void fenced_and_known(struct keeper_state *state)
{
    state->primary.is_primary = false;
    state->primary.epoch = 6;
}

static void fenced_at_first(struct keeper_state *state)
{
    fenced(state);
    no_record(state);
    state->primary.dataset[0] = state->replicas[0].look.dataset[0] = '\0';
    state->primary.epoch = 0;
}

static void fenced_at_first_beside_data(struct keeper_state *state)
{
    fenced_at_first(state);
    strcpy(state->replicas[0].look.dataset, data);
}

static void fenced_at_first_beside_newer_data(struct keeper_state *state)
{
    fenced(state);
    no_record(state);
    state->primary.writes = 99;
}

static void fenced_at_first_before_the_other_was_heard(struct keeper_state *state)
{
    fenced_at_first(state);
    state->replicas[0].look.ended_us = 0;
    state->watch_us = NOW - TIMEOUT / 2;
}

static void fenced_at_first_and_the_other_is_not_there(struct keeper_state *state)
{
    fenced_at_first_before_the_other_was_heard(state);
    state->watch_us = NOW - 2 * TIMEOUT;
}

static const struct scene scenes[] = {
    {"the primary is fenced and holds all", fenced, KEEPER_WRITE, 1, "", 0},
    {"it holds less than a member", fenced_with_less, KEEPER_REFUSE, 0, "must take over", 0},
    {"it holds less than it did", fenced_with_less_than_was_seen, KEEPER_REFUSE, 0, "its data are old", 0},
    {"it holds what a member may exceed", fenced_without_word_of_the_member, KEEPER_REST, 0, "does not say", 0},
    {"a member told that before it came back", fenced_with_word_of_before, KEEPER_REST, 0, "does not say", 0},
    {"a member may still be receiving", fenced_while_the_member_reads_on, KEEPER_REST, 0, "does not say", 0},
    {"it holds nothing", fenced_and_empty, KEEPER_REFUSE, 0, "was emptied", 0},
    {"it holds data of an older epoch", fenced_of_before, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"it was not stamped yet, and holds what it held", fenced_before_its_stamp, KEEPER_WRITE, 1, "", 0},
    {"it was not stamped yet, and holds less", fenced_before_its_stamp_with_less, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"nobody has counted", fenced_before_a_stamp_of_others, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"it died before it took over", fenced_before_it_took_over, KEEPER_WRITE, 1, "", 0},
    {"it holds a copy of before that", fenced_before_it_took_over_with_an_old_copy, KEEPER_REFUSE, 0, "epoch 5", 0},
    {"its disk may lack something", fenced_before_it_took_over_with_everysec, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"a member may exceed it", fenced_before_its_stamp_beside_a_member, KEEPER_REFUSE, 0, "epoch 6", 0},
    {"it is on record, in this run", fenced_and_known, KEEPER_REST, 0, "about to serve", 0},
    {"it is on record, but stamped as far as that", fenced_and_stamped_ahead, KEEPER_WRITE, 1, "", 0},
    {"it is fenced and new", fenced_at_first, KEEPER_WRITE, 1, "", 0},
    {"it is fenced and new, beside one with data", fenced_at_first_beside_data, KEEPER_REFUSE, 0, "holds data", 0},
    {"another has newer data", fenced_at_first_beside_newer_data, KEEPER_REFUSE, 0, "holds data", 0},
    {"another was not heard", fenced_at_first_before_the_other_was_heard, KEEPER_REST, 0, "has not said yet", 0},
    {"another is not there", fenced_at_first_and_the_other_is_not_there, KEEPER_WRITE, 1, "", 0},
};

static void a_fenced_primary_serves_only_with_all_that_was_acknowledged(void **state)
{
    (void)state;
    play_scenes(scenes, sizeof(scenes) / sizeof(*scenes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fenced_primary_serves_only_with_all_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
