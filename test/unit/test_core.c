/* SPDX-License-Identifier: Apache-2.0
 *
 * The core of failover: what it makes of what it hears, and what it wants done.
 */
#include "router/core_text.h"
#include "test/unit/core_scene.h"

#define TEST(name) static void name(void **state __attribute__((unused)))

static enum core_reason suspicion(void)
{
    return scene_unit(UNIT)->suspicion[CORE_PRIMARY];
}

/* --- suspicion ---------------------------------------------------------------------------------------------------- */

TEST(a_unit_that_is_well_is_left_alone)
{
    scene_pass_ms(5000);
    assert_int_equal(scene_unit(UNIT)->refusal, CORE_NOT_SUSPECTED);
    for (unsigned i = 0; i <= CORE_CALM; i++)
        assert_int_equal(scene.counts[i], 0);
}

TEST(a_primary_that_nobody_hears_of_for_the_gap_is_silent)
{
    scene_silence(UNIT);
    scene_pass_ms(30);
    assert_int_equal(suspicion(), CORE_FINE);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_SILENT);
}

TEST(a_primary_that_does_not_answer_its_agent_is_silent_although_the_agent_is_not)
{
    for (unsigned ms = 10; ms <= 40; ms += 10) {
        scene.seen[P].age_us = ms * 1000;
        scene_pass_ms(10);
    }
    assert_int_equal(suspicion(), CORE_SILENT);
}

TEST(requests_that_succeed_outweigh_a_silent_agent)
{
    scene_silence(UNIT);
    for (unsigned i = 0; i < 20; i++) {
        scene_line(P, CORE_LINE_OK);
        scene_pass_ms(20);
        assert_int_equal(suspicion(), CORE_FINE);
    }
}

TEST(a_connection_reset_and_then_refused_is_suspected_at_once)
{
    scene_line(P, CORE_LINE_REFUSED);
    assert_int_equal(suspicion(), CORE_FINE);
    scene_line(P, CORE_LINE_RESET);
    assert_int_equal(suspicion(), CORE_REFUSED);
    scene_line(P, CORE_LINE_OK);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_FINE);
}

TEST(a_refusal_is_worth_something_for_the_gap_only)
{
    scene_line(P, CORE_LINE_RESET);
    scene_line(P, CORE_LINE_REFUSED);
    scene_pass_ms(50);
    assert_int_equal(suspicion(), CORE_FINE);
}

TEST(a_broker_that_its_agent_finds_gone_or_unwell_is_suspected_at_once)
{
    scene.seen[P].healthy = false;
    scene_tell();
    assert_int_equal(suspicion(), CORE_CONDEMNED);
    scene.seen[P].gone = true;
    scene_tell();
    assert_int_equal(suspicion(), CORE_REFUSED);
}

TEST(an_agents_verdict_does_not_stand_against_requests_that_succeed)
{
    scene.seen[P].healthy = false;
    for (unsigned i = 0; i < 10; i++) {
        scene_line(P, CORE_LINE_OK);
        scene_tell();
        assert_int_equal(suspicion(), CORE_FINE);
        scene.now_us += 5000;
    }
}

TEST(a_primary_that_is_another_run_than_recorded_is_suspected)
{
    scene.seen[P].run_id = ANOTHER_RUN;
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_RESTARTED);
}

TEST(requests_that_fail_are_a_slow_proof_where_all_else_is_well)
{
    for (unsigned ms = 0; ms < 400; ms += 50) {
        scene_line(P, CORE_LINE_ERROR);
        assert_int_equal(suspicion(), CORE_FINE);
        scene_pass_ms(50);
    }
    scene_line(P, CORE_LINE_ERROR);
    assert_int_equal(suspicion(), CORE_FAILING);
    scene_line(P, CORE_LINE_OK);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_FINE);
}

TEST(a_primary_that_answers_itself_is_not_silent_though_its_agent_is)
{
    scene_silence(UNIT);
    for (unsigned ms = 0; ms < 500; ms += 10) {
        scene_line(P, CORE_LINE_ALIVE);
        scene_pass_ms(10);
        assert_int_equal(suspicion(), CORE_FINE);
    }
    scene_pass_ms(50);
    assert_int_equal(suspicion(), CORE_SILENT);
}

TEST(a_gateway_that_does_not_come_to_ask_calls_nobody_silent)
{
    scene.deaf = true;
    scene_silence(UNIT);
    scene_pass_ms(500);
    assert_int_equal(suspicion(), CORE_FINE);
    scene.deaf = false;
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_SILENT);
}

TEST(an_answer_ends_what_failed_and_takes_back_no_verdict)
{
    for (unsigned ms = 0; ms <= 1000; ms += 50) {
        scene_line(P, CORE_LINE_ERROR);
        scene_pass_ms(50);
    }
    assert_int_equal(suspicion(), CORE_FAILING);
    scene_line(P, CORE_LINE_ALIVE);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_FINE);
    scene.seen[P].healthy = false;
    scene_line(P, CORE_LINE_ALIVE);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_CONDEMNED);
}

TEST(consumers_have_time_to_come_back_while_the_queue_is_at_home)
{
    scene.agents[UNIT] = false;
    scene_pass_ms(2900);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_CONSUMER], CORE_FINE);
    scene_pass_ms(200);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_CONSUMER], CORE_SILENT);
}

TEST(consumers_of_a_queue_that_has_moved_are_missed_at_once)
{
    struct core_record record = scene_record(UNIT);
    record.epoch++;
    record.primary = S;
    scene.seen[S].primary = true;
    scene.agents[UNIT] = false;
    scene_put(record);
    scene_pass_ms(40);
    assert_int_equal(scene_unit(UNIT)->suspicion[CORE_CONSUMER], CORE_SILENT);
    assert_int_equal(suspicion(), CORE_FINE);
}

/* --- proposals ---------------------------------------------------------------------------------------------------- */

TEST(a_silent_primary_is_replaced_by_its_standby_when_a_majority_agrees)
{
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_REFUSED);
    scene_pass_ms(40);
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
    const struct core_proposal *proposal = &scene.last[CORE_PROPOSE].proposal;
    assert_int_equal(proposal->unit, UNIT);
    assert_int_equal(proposal->from_epoch, EPOCH);
    assert_int_equal(proposal->primary, S);
    assert_int_equal(proposal->run_id, RUN + S);
    assert_int_equal(proposal->consumer, STANDBY);
    assert_int_equal(proposal->ballot_count, 2);
    assert_int_equal(proposal->needed, 2);
}

TEST(consumers_that_are_there_stay_where_they_are)
{
    scene_silence(UNIT);
    scene.agents[UNIT] = true;
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_pass_ms(40);
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
    assert_int_equal(scene.last[CORE_PROPOSE].proposal.consumer, 0);
}

TEST(consumers_that_are_gone_for_long_move_without_the_queue)
{
    scene.agents[UNIT] = false;
    scene.votes[0] = (struct core_vote){.gateway = GW1, .unit = UNIT, .epoch = EPOCH};
    scene.votes[0].reasons[CORE_CONSUMER] = CORE_SILENT;
    scene_pass_ms(3100);
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
    const struct core_proposal *proposal = &scene.last[CORE_PROPOSE].proposal;
    assert_int_equal(proposal->matter, CORE_CONSUMER);
    assert_int_equal(proposal->primary, P);
    assert_int_equal(proposal->run_id, RUN + P);
    assert_int_equal(proposal->consumer, STANDBY);
}

TEST(a_changed_vote_is_told_at_once_and_only_once)
{
    scene_silence(UNIT);
    scene_pass_ms(40);
    assert_int_equal(scene.counts[CORE_VOTE], 1);
    assert_int_equal(scene_unit(UNIT)->vote.reasons[CORE_PRIMARY], CORE_SILENT);
    scene_pass_ms(100);
    assert_int_equal(scene.counts[CORE_VOTE], 1);
}

static void propose(void)
{
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_SILENT);
    scene_pass_ms(40);
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
}

static void end_proposal(enum core_result result)
{
    scene_step((struct core_event){.kind = CORE_PROPOSED, .proposed = {UNIT, result}});
}

TEST(a_proposal_under_way_is_not_made_again)
{
    propose();
    scene_put(scene_record(UNIT)); /* as it was read before */
    scene_pass_ms(200);
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
}

TEST(an_unknown_outcome_is_asked_for_until_the_record_tells)
{
    propose();
    scene_forget_actions();
    end_proposal(CORE_UNKNOWN);
    assert_int_equal(scene.counts[CORE_ASK], 1);
    scene_pass_ms(100);
    assert_int_equal(scene.counts[CORE_ASK], 3);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
    scene_put(scene_record(UNIT));
    assert_int_equal(scene.counts[CORE_PROPOSE], 1);
}

TEST(what_somebody_else_made_of_a_unit_is_taken_over)
{
    propose();
    end_proposal(CORE_LOST);
    struct core_record record = scene_record(UNIT);
    record.epoch = EPOCH + 7;
    record.primary = S;
    record.moved_ago_us = 0;
    scene_put(record);
    scene.seen[S].primary = true;
    scene_forget_actions();
    scene_pass_ms(30);
    assert_int_equal(suspicion(), CORE_FINE);
    assert_int_equal(scene.counts[CORE_PROPOSE], 0);
}

TEST(an_older_record_changes_nothing)
{
    struct core_record record = scene_record(UNIT);
    record.epoch = EPOCH - 1;
    record.primary = S;
    scene_put(record);
    assert_int_equal(scene_unit(UNIT)->record.epoch, EPOCH);
    assert_int_equal(scene_unit(UNIT)->record.primary, P);
}

TEST(a_newer_epoch_in_a_pulse_or_a_vote_makes_it_ask_for_the_record)
{
    scene.seen[S].epoch = EPOCH + 1;
    scene_tell();
    assert_int_equal(scene.counts[CORE_ASK], 1);
    scene_pass_ms(40);
    assert_int_equal(scene.counts[CORE_ASK], 1);
    scene.seen[S].epoch = EPOCH;
    scene_pass_ms(50);
    scene_vote(0, GW1, UNIT, CORE_FINE);
    scene.votes[0].epoch = EPOCH + 1;
    scene_tell();
    assert_int_equal(scene.counts[CORE_ASK], 2);
}

/* --- alarms ------------------------------------------------------------------------------------------------------- */

TEST(what_stays_wrong_is_told_to_operators_once_and_its_end_when_it_lasts)
{
    scene_silence(UNIT);
    scene_pass_ms(1000);
    assert_int_equal(scene.counts[CORE_ALARM], 0);
    scene_pass_ms(2000);
    assert_int_equal(scene.counts[CORE_ALARM], 1);
    assert_int_equal(scene.last[CORE_ALARM].refusal, CORE_NO_MAJORITY);
    scene.seen[P].unit = UNIT;
    scene.agents[UNIT] = true;
    scene_pass_ms(2900);
    assert_int_equal(scene.counts[CORE_CALM], 0);
    scene_pass_ms(300);
    assert_int_equal(scene.counts[CORE_CALM], 1);
}

/* --- configuration ------------------------------------------------------------------------------------------------ */

TEST(units_keep_what_was_heard_of_them_when_the_rules_change_their_order)
{
    struct core_unit_facts turned[] = {scene_units[3], scene_units[1], scene_units[0]};
    struct core_config config = {scene.policy, GW2, scene.gateways, 3, turned, 3};
    scene_silence(UNIT);
    scene_pass_ms(30);
    scene_step((struct core_event){.kind = CORE_CONFIG, .config = &config});
    assert_int_equal(scene.core.unit_count, 3);
    assert_null(scene_unit(STANDBY));
    assert_int_equal(scene_unit(UNIT)->record.epoch, EPOCH);
    scene_pass_ms(10);
    assert_int_equal(suspicion(), CORE_SILENT);
    assert_int_equal(scene_unit(OTHER)->suspicion[CORE_PRIMARY], CORE_FINE);
}

TEST(a_new_unit_starts_without_a_past)
{
    scene_silence(UNIT);
    scene_pass_ms(200);
    scene_units[3].id = 77;
    scene_configure();
    scene_units[3].id = FOURTH;
    assert_null(scene_unit(FOURTH));
    assert_int_equal(scene_unit(77)->record.epoch, 0);
    assert_int_equal(scene_unit(77)->suspicion[CORE_PRIMARY], CORE_FINE);
    assert_int_equal(suspicion(), CORE_SILENT);
}

/* --- words -------------------------------------------------------------------------------------------------------- */

static const char *name_of(void *arg, uint64_t id)
{
    (void)arg;
    return id == GW1 ? "gw1" : id == GW2 ? "gw2" : "gw3";
}

TEST(a_proposal_is_explained_by_its_votes)
{
    scene_silence(UNIT);
    scene_vote(0, GW1, UNIT, CORE_REFUSED);
    scene.votes[1] = (struct core_vote){.gateway = GW3, .unit = UNIT, .epoch = EPOCH, .abstains = true};
    scene_pass_ms(40);
    struct buf text = {NULL, 0, 0};
    core_explain(&scene.last[CORE_PROPOSE].proposal, name_of, NULL, &text);
    assert_string_equal(text.base, "primary suspected: gw1 refused, gw2 silent, gw3 abstains; 2 votes, 2 needed");
    buf_free(&text);
}

TEST(every_refusal_and_reason_has_words)
{
    for (enum core_refusal refusal = CORE_MAY_MOVE; refusal < CORE_REFUSALS; refusal++)
        assert_string_not_equal(core_refusal_name(refusal), "unknown");
    for (enum core_reason reason = CORE_FINE; reason <= CORE_FAILING; reason++)
        assert_string_not_equal(core_reason_name(reason), "unknown");
}

#define RUN_TEST(name) cmocka_unit_test_setup(name, scene_begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN_TEST(a_unit_that_is_well_is_left_alone),
        RUN_TEST(a_primary_that_nobody_hears_of_for_the_gap_is_silent),
        RUN_TEST(a_primary_that_does_not_answer_its_agent_is_silent_although_the_agent_is_not),
        RUN_TEST(requests_that_succeed_outweigh_a_silent_agent),
        RUN_TEST(a_connection_reset_and_then_refused_is_suspected_at_once),
        RUN_TEST(a_refusal_is_worth_something_for_the_gap_only),
        RUN_TEST(a_broker_that_its_agent_finds_gone_or_unwell_is_suspected_at_once),
        RUN_TEST(an_agents_verdict_does_not_stand_against_requests_that_succeed),
        RUN_TEST(a_primary_that_is_another_run_than_recorded_is_suspected),
        RUN_TEST(requests_that_fail_are_a_slow_proof_where_all_else_is_well),
        RUN_TEST(a_primary_that_answers_itself_is_not_silent_though_its_agent_is),
        RUN_TEST(a_gateway_that_does_not_come_to_ask_calls_nobody_silent),
        RUN_TEST(an_answer_ends_what_failed_and_takes_back_no_verdict),
        RUN_TEST(consumers_have_time_to_come_back_while_the_queue_is_at_home),
        RUN_TEST(consumers_of_a_queue_that_has_moved_are_missed_at_once),
        RUN_TEST(a_silent_primary_is_replaced_by_its_standby_when_a_majority_agrees),
        RUN_TEST(consumers_that_are_there_stay_where_they_are),
        RUN_TEST(consumers_that_are_gone_for_long_move_without_the_queue),
        RUN_TEST(a_changed_vote_is_told_at_once_and_only_once),
        RUN_TEST(a_proposal_under_way_is_not_made_again),
        RUN_TEST(an_unknown_outcome_is_asked_for_until_the_record_tells),
        RUN_TEST(what_somebody_else_made_of_a_unit_is_taken_over),
        RUN_TEST(an_older_record_changes_nothing),
        RUN_TEST(a_newer_epoch_in_a_pulse_or_a_vote_makes_it_ask_for_the_record),
        RUN_TEST(what_stays_wrong_is_told_to_operators_once_and_its_end_when_it_lasts),
        RUN_TEST(units_keep_what_was_heard_of_them_when_the_rules_change_their_order),
        RUN_TEST(a_new_unit_starts_without_a_past),
        RUN_TEST(a_proposal_is_explained_by_its_votes),
        RUN_TEST(every_refusal_and_reason_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
