/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "ops/play_plan.h"
#include "ops/play_process.h"
#include "rules/rules.h"

#define BASE 20000

static struct play_plan plan_of(int64_t gateways, int64_t units)
{
    struct play_plan plan = {.dir = "/some/where",
                             .programs = "/some/bin",
                             .gateways = gateways,
                             .units = units,
                             .agents = 1,
                             .core_brokers = 2,
                             .port_base = BASE,
                             .etcd = units % 2 == 0};
    play_plan_make(&plan);
    return plan;
}

static void its_rules_are_sound_for_any_number_of_units(void **state)
{
    (void)state;
    for (int64_t units = 1; units <= PLAY_UNITS_MOST; units++) {
        struct play_plan plan = plan_of(1, units);
        struct diag_list diags = {.file = "rules.yaml"};
        struct buf text = {0};
        play_plan_rules(&plan, &text);
        struct table *table = rules_load(buf_str(&text), 0, &diags);
        assert_int_equal(diags.count, 0);
        assert_non_null(table);
        assert_int_equal(table->unit_count, units + 2);
        table_unref(&table);
        diag_free(&diags);
        buf_free(&text);
        play_plan_free(&plan);
    }
}

static void no_port_and_no_name_is_given_twice(void **state)
{
    (void)state;
    struct play_plan plan = plan_of(PLAY_GATEWAYS_MOST, PLAY_UNITS_MOST);
    unsigned count = play_plan_ports(&plan);
    bool *taken = mem_calloc(count, sizeof(*taken));
    for (size_t i = 0; i < plan.count; i++) {
        for (size_t j = 0; j < 2 && plan.processes[i].ports[j].name != NULL; j++) {
            unsigned port = plan.processes[i].ports[j].number;
            assert_in_range(port, BASE, BASE + count - 1);
            assert_false(taken[port - BASE]);
            taken[port - BASE] = true;
        }
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(plan.processes[i].name, plan.processes[j].name);
        assert_true(i == 0 || plan.processes[i - 1].role <= plan.processes[i].role);
    }
    free(taken);
    play_plan_free(&plan);
}

static void a_broker_and_its_replica_stand_in_two_datacentres(void **state)
{
    (void)state;
    struct play_plan plan = plan_of(1, 5);
    for (size_t i = 0; i + 1 < plan.count && plan.processes[i].role == PLAY_BROKER; i += 2) {
        assert_true(plan.processes[i].primary && !plan.processes[i + 1].primary);
        assert_string_equal(plan.processes[i].unit, plan.processes[i + 1].unit);
        assert_string_not_equal(plan.processes[i].datacenter, plan.processes[i + 1].datacenter);
    }
    play_plan_free(&plan);
}

static const struct play_process *find(const struct play_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->count; i++)
        if (strcmp(plan->processes[i].name, name) == 0)
            return &plan->processes[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void namespaces_give_each_unit_gateway_and_member_an_address(void **state)
{
    (void)state;
    struct play_plan plan = {.dir = "/some/where",
                             .programs = "/some/bin",
                             .token = "secret",
                             .gateways = PLAY_GATEWAYS_MOST,
                             .units = PLAY_UNITS_MOST,
                             .agents = 2,
                             .core_brokers = 2,
                             .port_base = BASE,
                             .etcd = true,
                             .namespaces = true};
    play_plan_make(&plan);
    for (size_t i = 0; i < plan.count; i++)
        for (size_t j = 0; j < i; j++)
            assert_true((strcmp(plan.processes[i].host, plan.processes[j].host) == 0) ==
                        (strcmp(plan.processes[i].address, plan.processes[j].address) == 0));
    assert_string_equal(find(&plan, "RZ01-replica")->host, "RZ02");
    assert_string_equal(find(&plan, "RZ100-replica")->host, "RZ99");
    assert_string_equal(find(&plan, "CORE-replica")->host, "BZ01");
    assert_string_equal(find(&plan, "RZ01-agent-2")->address, find(&plan, "RZ01-blue")->address);
    play_plan_free(&plan);
}

static void brokers_that_listen_to_more_than_this_machine_want_the_token(void **state)
{
    (void)state;
    struct play_plan plan = {.dir = "/some/where",
                             .programs = "/some/bin",
                             .token = "secret",
                             .gateways = 1,
                             .units = 1,
                             .agents = 1,
                             .core_brokers = 2,
                             .port_base = BASE};
    play_plan_make(&plan);
    assert_null(strstr(find(&plan, "RZ01-broker")->config_text, "requirepass"));
    play_plan_free(&plan);
    plan.count = 0;
    plan.namespaces = true;
    play_plan_make(&plan);
    assert_non_null(strstr(find(&plan, "RZ01-broker")->config_text, "requirepass secret\nmasterauth secret\n"));
    assert_non_null(strstr(find(&plan, "RZ01-agent")->config_text, "password_file: \"/some/where/token\""));
    assert_non_null(strstr(find(&plan, "gateway-1")->config_text, "password_file: \"/some/where/token\""));
    play_plan_free(&plan);
}

static void its_store_is_a_folder_or_every_member_of_etcd(void **state)
{
    (void)state;
    struct play_plan folder = plan_of(1, 1), etcd = plan_of(1, 2);
    char *place = play_plan_store(&folder);
    assert_string_equal(place, "/some/where/store");
    free(place);
    place = play_plan_store(&etcd);
    for (size_t i = 0; i < PLAY_STORE_MEMBERS; i++) {
        char host[32];
        assert_int_equal(etcd.processes[i].role, PLAY_STORE);
        snprintf(host, sizeof(host), "127.0.0.1:%u", etcd.processes[i].ports[0].number);
        assert_non_null(strstr(place, host));
    }
    free(place);
    assert_int_equal(folder.processes[0].role, PLAY_BROKER);
    play_plan_free(&folder);
    play_plan_free(&etcd);
}

static void a_process_is_known_by_its_number_and_its_beginning(void **state)
{
    (void)state;
    uint64_t ticks = play_process_start_ticks(getpid());
    assert_true(ticks > 0);
    assert_true(play_process_lives(getpid(), ticks));
    assert_false(play_process_lives(getpid(), ticks + 1));
    assert_false(play_process_lives(0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_rules_are_sound_for_any_number_of_units),
        cmocka_unit_test(no_port_and_no_name_is_given_twice),
        cmocka_unit_test(a_broker_and_its_replica_stand_in_two_datacentres),
        cmocka_unit_test(namespaces_give_each_unit_gateway_and_member_an_address),
        cmocka_unit_test(brokers_that_listen_to_more_than_this_machine_want_the_token),
        cmocka_unit_test(its_store_is_a_folder_or_every_member_of_etcd),
        cmocka_unit_test(a_process_is_known_by_its_number_and_its_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
