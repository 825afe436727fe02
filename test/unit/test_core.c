/* SPDX-License-Identifier: Apache-2.0
 *
 * The core of failover, one gateway at a time: what it hears, and what it then does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "router/core.h"
#include "router/core_text.h"

enum { HOME = 1, AWAY, THIRD };         /* datacentres */
enum { UNIT = 10, STANDBY, OTHER };     /* units */
enum { PRIMARY = 20, REPLICA, S1, O1 }; /* brokers */
enum { GW1 = 30, GW2, GW3 };            /* gateways */
enum { RUN_P = 40, RUN_R, RUN_NEW };    /* runs */

static const struct table_failover preset = {true, 40, 600000, 60000, 3000, 1, 34};
static struct core core;
static struct core_actions actions;
static uint64_t now_us;

static void step(struct core_event event)
{
    event.now_us = now_us;
    core_step(&core, &event, &actions);
}

static const struct core_gateway gateways[] = {{GW1, HOME}, {GW2, AWAY}, {GW3, AWAY}};
static struct core_unit_facts units[] = {
    {.id = UNIT, .datacenter = HOME, .standby = STANDBY, .brokers = {PRIMARY, REPLICA}, .broker_count = 2},
    {.id = STANDBY, .datacenter = AWAY, .brokers = {S1}, .broker_count = 1, .capacity_rps = 0},
    {.id = OTHER, .datacenter = AWAY, .brokers = {O1}, .broker_count = 1},
};

static void configure(struct table_failover policy)
{
    struct core_config config = {policy, GW2, gateways, 3, units, 3};
    step((struct core_event){.kind = CORE_CONFIG, .config = &config});
}

static void put_record(uint64_t epoch, uint64_t primary, uint64_t moved_ago_us)
{
    struct core_record record = {.unit = UNIT,
                                 .epoch = epoch,
                                 .primary = primary,
                                 .members = {{PRIMARY, RUN_P}, {REPLICA, RUN_R}},
                                 .member_count = 2,
                                 .moved_ago_us = moved_ago_us};
    step((struct core_event){.kind = CORE_RECORD, .record = record});
}

static void see(struct core_broker_seen seen)
{
    step((struct core_event){.kind = CORE_BROKER, .broker = seen});
}

static const struct core_broker_seen well_primary = {
    .unit = UNIT, .broker = PRIMARY, .run_id = RUN_P, .healthy = true, .primary = true};
static const struct core_broker_seen well_replica = {
    .unit = UNIT, .broker = REPLICA, .run_id = RUN_R, .healthy = true, .sees_primary = true};

static void see_others(void)
{
    see((struct core_broker_seen){.unit = STANDBY, .broker = S1, .healthy = true, .primary = true});
    see((struct core_broker_seen){.unit = OTHER, .broker = O1, .healthy = true, .primary = true});
    step((struct core_event){.kind = CORE_AGENT, .agent = {STANDBY, true}});
}

static void tick(uint64_t lag_us)
{
    now_us += CORE_TICK_US;
    step((struct core_event){.kind = CORE_TICK, .lag_us = lag_us});
}

/* Time passes, in which everything is well. */
static void pass_well(unsigned ticks)
{
    for (unsigned i = 0; i < ticks; i++) {
        tick(0);
        see(well_primary);
        see(well_replica);
        see_others();
        step((struct core_event){.kind = CORE_AGENT, .agent = {UNIT, true}});
    }
}

static void vote_by(uint64_t gateway, enum core_reason reason)
{
    struct core_vote vote = {.gateway = gateway, .unit = UNIT, .epoch = 5, .reasons = {reason}};
    step((struct core_event){.kind = CORE_PEER, .peer = vote});
}

/* The primary falls silent; the replica says so. */
static void pass_silent(unsigned ticks)
{
    struct core_broker_seen replica = well_replica;
    replica.sees_primary = false;
    for (unsigned i = 0; i < ticks; i++) {
        tick(0);
        see(replica);
        see_others();
    }
}

static const struct core_action *find(enum core_action_kind kind)
{
    for (unsigned i = 0; i < actions.count; i++)
        if (actions.items[i].kind == kind)
            return &actions.items[i];
    return NULL;
}

static int setup(void **state)
{
    (void)state;
    memset(&core, 0, sizeof(core));
    now_us = 1000000;
    configure(preset);
    step((struct core_event){.kind = CORE_STORE, .store_up = true});
    put_record(5, PRIMARY, UINT64_MAX);
    pass_well(60);
    return 0;
}

static enum core_refusal refusal(void)
{
    return core_find_unit(&core, UNIT)->refusal;
}

static void a_unit_that_is_well_is_left_alone(void **state)
{
    (void)state;
    pass_well(100);
    assert_int_equal(refusal(), CORE_NOT_SUSPECTED);
    assert_int_equal(actions.count, 0);
}

static void a_silent_primary_is_replaced_by_its_standby_once_a_majority_agrees(void **state)
{
    (void)state;
    pass_silent(4);
    assert_int_equal(refusal(), CORE_NO_MAJORITY);
    vote_by(GW1, CORE_SILENT);
    const struct core_action *action = find(CORE_PROPOSE);
    assert_non_null(action);
    assert_int_equal(action->proposal.primary, REPLICA);
    assert_int_equal(action->proposal.run_id, RUN_R);
    assert_int_equal(action->proposal.from_epoch, 5);
    assert_int_equal(action->proposal.consumer, STANDBY);
    assert_int_equal(action->proposal.ballot_count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_unit_that_is_well_is_left_alone, setup),
        cmocka_unit_test_setup(a_silent_primary_is_replaced_by_its_standby_once_a_majority_agrees, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
