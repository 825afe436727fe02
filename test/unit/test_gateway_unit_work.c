/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/unit_work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HOME "redis://a:1"
#define AWAY "redis://b:2"
#define NOW  1000

static struct str brokers[] = {STR_LIT(HOME), STR_LIT(AWAY)};
static struct table_unit units[2];
static struct table table;
static struct unit_work work;
static struct broker_record record;
static struct error err;

/* RZ01 at home, all well; RZ02 stands by for it. */
static int begin(void **state)
{
    (void)state;
    units[0] = (struct table_unit){.name = STR_LIT("RZ01"), .standby = 1, .brokers = brokers, .broker_count = 2};
    units[1] = (struct table_unit){.name = STR_LIT("RZ02"), .standby = NO_UNIT};
    table = (struct table){.units = units, .unit_count = 2};
    work = (struct unit_work){.table = &table,
                              .home = {1, 2, 2},
                              .standby = {1, 2, 2},
                              .well = {true, true},
                              .by = "ann",
                              .note = "new disks",
                              .now_us = NOW};
    record = (struct broker_record){.version = 5, .primary = HOME, .run_id = "a", .member_count = 2, .moved_us = 7};
    record.members[0] = (struct broker_member){HOME, "a"};
    record.members[1] = (struct broker_member){AWAY, "b"};
    err = (struct error){ERROR_NONE, ""};
    return 0;
}

static void move_away(void)
{
    broker_record_lead(&record, &(struct broker_member){AWAY, "b"});
    record.members[record.member_count++] = (struct broker_member){HOME, "a"};
    snprintf(record.consumer, sizeof(record.consumer), "RZ02");
}

static void expect_refusal(unit_work_fn *fn, const char *words)
{
    struct broker_record before = record;
    assert_int_equal(fn(&work, &record, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_int_equal(record.at_us, before.at_us);
}

static void draining_holds_the_unit_until_its_standby_leads(void **state)
{
    (void)state;
    assert_int_equal(unit_work_drain(&work, &record, &err), 0);
    assert_true(record.hold);
    assert_string_equal(record.target, AWAY);
    assert_string_equal(record.target_consumer, "RZ02");
    assert_string_equal(record.primary, HOME);
    assert_string_equal(record.consumer, "");
    assert_string_equal(record.why, "drained: new disks");
    assert_string_equal(record.by, "ann");
    assert_string_equal(record.drained.why, "new disks");
    assert_int_equal(record.drained.at_us, NOW);
}

static void a_unit_that_has_moved_already_is_drained_where_it_is(void **state)
{
    (void)state;
    move_away();
    assert_int_equal(unit_work_drain(&work, &record, &err), 0);
    assert_false(record.hold);
    assert_int_equal(record.drained.at_us, NOW);
    work.now_us++;
    assert_int_equal(unit_work_drain(&work, &record, &err), 0);
    assert_int_equal(record.at_us, NOW); /* there is nothing to be done again */
}

static void draining_is_refused_where_nobody_could_take_over(void **state)
{
    (void)state;
    work.well[1] = false;
    expect_refusal(unit_work_drain, "no standby of RZ01 is in sync and well");
    work.well[1] = true;
    work.standby_full = true;
    expect_refusal(unit_work_drain, "RZ02 has no room for the load of RZ01");
    work.standby_full = false;
    work.standby = (struct unit_hands){1, 0, 2};
    expect_refusal(unit_work_drain, "no agent of RZ02 is heard that could deliver");
    work.standby = (struct unit_hands){1, 2, 2};
    work.standby_drained = true;
    expect_refusal(unit_work_drain, "drained itself");
    work.guest = "RZ03";
    expect_refusal(unit_work_drain, "RZ01 serves RZ03, too");
    units[0].standby = NO_UNIT;
    expect_refusal(unit_work_drain, "name no standby");
    record.hold = true;
    expect_refusal(unit_work_drain, "under way");
    record = (struct broker_record){.version = 0};
    expect_refusal(unit_work_drain, "no broker record");
}

static void what_is_missing_at_home_is_said_at_once(void **state)
{
    (void)state;
    move_away();
    record.member_count = 1;
    work.home = (struct unit_hands){1, 1, 2};
    expect_refusal(unit_work_ready, "1 of the 2 nodes of its app are up; its broker " HOME " is not in sync yet");
    work.home.agents = 0;
    expect_refusal(unit_work_failback, "no agent of it is heard");
}

static void who_is_ready_stays_where_he_is(void **state)
{
    (void)state;
    move_away();
    assert_int_equal(unit_work_ready(&work, &record, &err), 0);
    assert_int_equal(record.at_us, 0); /* it was not drained */
    record.drained.at_us = 1;
    assert_int_equal(unit_work_ready(&work, &record, &err), 0);
    assert_int_equal(record.drained.at_us, 0);
    assert_false(record.hold);
    assert_int_equal(record.moved_us, 7);
}

static void a_failback_brings_everything_home_and_forgives_the_failover(void **state)
{
    (void)state;
    move_away();
    record.drained.at_us = 1;
    assert_int_equal(unit_work_failback(&work, &record, &err), 0);
    assert_true(record.hold);
    assert_string_equal(record.target, HOME);
    assert_string_equal(record.target_consumer, "");
    assert_int_equal(record.drained.at_us, 0);
    assert_int_equal(record.moved_us, 0);
}

static void consumers_alone_come_home_without_a_hold(void **state)
{
    (void)state;
    snprintf(record.consumer, sizeof(record.consumer), "RZ02");
    assert_int_equal(unit_work_failback(&work, &record, &err), 0);
    assert_false(record.hold);
    assert_string_equal(record.consumer, "");
}

static void a_forced_failover_takes_who_is_in_sync_and_nobody_else(void **state)
{
    (void)state;
    work.home = (struct unit_hands){0, 0, 0};
    record.hold = true;
    snprintf(record.target, sizeof(record.target), AWAY);
    assert_int_equal(unit_work_fail(&work, &record, &err), 0);
    assert_string_equal(record.primary, AWAY);
    assert_string_equal(record.run_id, "b");
    assert_int_equal(record.member_count, 1);
    assert_string_equal(record.consumer, "RZ02");
    assert_false(record.hold);
    assert_string_equal(record.target, "");
    expect_refusal(unit_work_fail, "--accept-loss");
}

static void nobody_is_failed_over_to_a_drained_home(void **state)
{
    (void)state;
    move_away();
    record.drained.at_us = 1;
    expect_refusal(unit_work_fail, "no other broker of RZ01 is in sync and well");
}

static void an_accepted_loss_needs_a_broker_that_the_rules_name(void **state)
{
    (void)state;
    struct broker_member stranger = {"redis://c:3", "c"}, stale = {AWAY, "later"};
    assert_int_equal(unit_work_accept_loss(&work, &stranger, &record, &err), -1);
    assert_int_equal(unit_work_accept_loss(&work, &stale, &record, &err), 0);
    assert_string_equal(record.primary, AWAY);
    assert_string_equal(record.run_id, "later");
    assert_string_equal(record.why, "forced failover, with loss accepted: new disks");
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(draining_holds_the_unit_until_its_standby_leads),
        TEST(a_unit_that_has_moved_already_is_drained_where_it_is),
        TEST(draining_is_refused_where_nobody_could_take_over),
        TEST(what_is_missing_at_home_is_said_at_once),
        TEST(who_is_ready_stays_where_he_is),
        TEST(a_failback_brings_everything_home_and_forgives_the_failover),
        TEST(consumers_alone_come_home_without_a_hold),
        TEST(a_forced_failover_takes_who_is_in_sync_and_nobody_else),
        TEST(nobody_is_failed_over_to_a_drained_home),
        TEST(an_accepted_loss_needs_a_broker_that_the_rules_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
