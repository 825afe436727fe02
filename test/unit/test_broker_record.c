/* SPDX-License-Identifier: Apache-2.0 */
#include "common/broker_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/broker_info.h"

#define RUN_ID "0123456789abcdef0123456789abcdef01234567"
#define JSON                                                                                                           \
    "{\"dataset\":\"00112233445566778899aabbccddeeff\",\"primary\":\"redis://a:1\",\"run_id\":\"" RUN_ID               \
    "\",\"sync_full\":2,\"sync_partial\":1,\"wait\":1,\"in_sync\":[{\"broker\":\"redis://a:1\",\"run_id\":\"" RUN_ID   \
    "\"},{\"broker\":\"redis://"                                                                                       \
    "b:2\",\"run_id\":\"b\"}],\"consumer\":\"RZ02\",\"hold\":true,\"why\":\"drill\",\"moved_us\":5,\"at_us\":17,"      \
    "\"by\":\"agent-1\"}"
#define ONLINE "ip=127.0.0.1,port=2,state=online,offset=900,lag=1\r\n"

static struct broker_record sound(void)
{
    struct broker_record record;
    struct error err = {ERROR_NONE, ""};
    if (broker_record_parse(STR_LIT(JSON), &record, &err) != 0)
        fail_msg("%s", err.text);
    return record;
}

static void a_record_is_read_and_written_without_loss(void **state)
{
    (void)state;
    struct broker_record record = sound();
    struct buf out = {NULL, 0, 0};
    assert_string_equal(record.consumer, "RZ02");
    assert_true(record.hold);
    assert_string_equal(record.why, "drill");
    assert_int_equal(record.member_count, 2);
    assert_string_equal(record.members[1].url, "redis://b:2");
    assert_int_equal(record.wait, 1);
    broker_record_format(&record, &out);
    assert_string_equal(out.base, JSON);
    assert_ptr_equal(broker_record_member(&record, "redis://b:2"), &record.members[1]);
    assert_null(broker_record_member(&record, "redis://c:3"));
    buf_free(&out);
}

/* JSON with its first occurrence of FROM replaced by TO. */
static bool parses_with(const char *from, const char *to)
{
    char text[1000];
    const char *at = strstr(JSON, from);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - JSON), JSON, to, at + strlen(from));
    struct broker_record record;
    struct error err;
    bool taken = broker_record_parse(str_of(text), &record, &err) == 0;
    assert_true(taken || (record.member_count == 0 && record.run_id[0] == '\0'));
    return taken;
}

static void what_is_planned_stands_in_it_only_where_something_is(void **state)
{
    (void)state;
    struct broker_record record = sound(), again;
    struct buf out = {NULL, 0, 0};
    struct error err;
    assert_string_equal(record.target, "");
    assert_int_equal(record.drained.at_us, 0);
    snprintf(record.target, sizeof(record.target), "redis://b:2");
    snprintf(record.target_consumer, sizeof(record.target_consumer), "RZ02");
    record.drained = (struct broker_drain){.at_us = 18, .by = "ann", .why = "new disks"};
    record.counted = (struct broker_count){5, 17};
    record.before = 16;
    broker_record_format(&record, &out);
    assert_int_equal(broker_record_parse(buf_str(&out), &again, &err), 0);
    assert_memory_equal(&record, &again, sizeof(record));
    buf_free(&out);
}

static void what_was_counted_counts_for_the_record_of_that_moment(void **state)
{
    (void)state;
    struct broker_record record = sound();
    assert_false(broker_record_counted(&record, 5));
    record.counted = (struct broker_count){5, record.at_us};
    assert_true(broker_record_counted(&record, 5));
    assert_false(broker_record_counted(&record, 4));
    record.at_us++;
    assert_false(broker_record_counted(&record, 5));
}

static void who_takes_over_is_known_by_the_record_of_before(void **state)
{
    (void)state;
    struct broker_record record = sound();
    record.version = 16;
    broker_record_lead(&record, &record.members[1]);
    assert_string_equal(record.primary, "redis://b:2");
    assert_int_equal(record.member_count, 1);
    assert_int_equal(record.before, 16);
}

static void garbled_records_are_refused_whole(void **state)
{
    (void)state;
    assert_true(parses_with("\"wait\":1", "\"epoch\":4,\"wait\":1,\"later\":[]"));
    assert_true(parses_with("\"consumer\":\"RZ02\",\"hold\":true,\"why\":\"drill\",\"moved_us\":5,", ""));
    assert_false(parses_with("\"hold\":true", "\"hold\":1"));
    assert_false(parses_with("\"hold\":true", "\"hold\":true,\"target\":7"));
    assert_false(parses_with("\"hold\":true", "\"hold\":true,\"before\":-1"));
    assert_false(parses_with("\"hold\":true", "\"hold\":true,\"drained\":{\"by\":\"ann\"}"));
    assert_false(parses_with("\"consumer\":\"RZ02\"", "\"consumer\":null"));
    assert_false(parses_with("\"at_us\":17", "\"at_us\":-1"));
    assert_false(parses_with("\"wait\":1", "\"wait\":0"));
    assert_false(parses_with("\"wait\":1", "\"wait\":99999"));
    assert_false(parses_with("\"primary\":\"redis://a:1\"", "\"primary\":\"redis://b:2\""));
    assert_false(parses_with("redis://b:2", "redis://a:1"));
    assert_false(parses_with(RUN_ID, RUN_ID "0"));
    assert_false(parses_with("\"in_sync\":[", "\"in_sync\":[[],"));
    assert_false(parses_with("}", ""));
}

/* What broker_record_covers says to INFO with the fields. */
static const char *verdict(const char *run_id, const char *info)
{
    static char why[160];
    struct broker_record record = sound();
    return broker_record_covers(&record, str_of(info), run_id, why, sizeof(why)) ? "covered" : why;
}

#define INFO(role, replicas, full, partial)                                                                            \
    "# Replication\r\nrole:" role "\r\nconnected_slaves:1\r\n" replicas                                                \
    "master_replid:x\r\n\r\n# Stats\r\nsync_full:" full "\r\nsync_partial_ok:" partial                                 \
    "\r\nsync_partial_err:0\r\naof_enabled:1\r\n"

static void a_wait_proves_something_only_while_nothing_has_changed(void **state)
{
    (void)state;
    static const struct {
        const char *run_id, *info, *verdict;
    } cases[] = {
        {RUN_ID, INFO("master", "slave0:" ONLINE, "2", "1"), "covered"},
        {RUN_ID, INFO("master", "slave0:" ONLINE "slave1:ip=::1,port=3,state=send_bulk,offset=0,lag=0\r\n", "2", "1"),
         "covered"},
        {RUN_ID, INFO("master", "slave0:" ONLINE "slave1:" ONLINE, "2", "1"),
         "2 replicas are online, and the record knows of 1"},
        {RUN_ID, INFO("master", "", "2", "1"), "0 replicas are online, and the record knows of 1"},
        {RUN_ID, INFO("master", "slave0:" ONLINE, "3", "1"), "a replica has attached since the record was written"},
        {RUN_ID, INFO("master", "slave0:" ONLINE, "2", "2"), "a replica has attached since the record was written"},
        {RUN_ID, INFO("master", "slave0:" ONLINE, "2", "x"), "a replica has attached since the record was written"},
        {RUN_ID, INFO("slave", "slave0:" ONLINE, "2", "1"), "the broker is no primary any more"},
        {"other", INFO("master", "slave0:" ONLINE, "2", "1"),
         "the broker is another one, or was restarted, since the record was written"},
        {NULL, INFO("master", "slave0:" ONLINE, "2", "1"),
         "the broker is another one, or was restarted, since the record was written"},
        {RUN_ID, "run_id:other\r\n" INFO("master", "slave0:" ONLINE, "2", "1"),
         "the broker is another one, or was restarted, since the record was written"},
        {RUN_ID, "", "the broker is no primary any more"},
        {RUN_ID, "role:master\r\naof_enabled:0\r\n", "the broker keeps no append-only file any more"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(verdict(cases[i].run_id, cases[i].info), cases[i].verdict);
}

static void no_record_covers_nothing(void **state)
{
    (void)state;
    struct broker_record none = {0};
    assert_false(broker_record_covers(&none, STR_LIT(INFO("master", "", "0", "0")), "", NULL, 0));
}

static void info_is_read_line_by_line(void **state)
{
    (void)state;
    struct str info = STR_LIT("role:master\r\nxrole:no\r\nempty:\r\nslave0:" ONLINE "last:7");
    struct broker_replica replica;
    uint64_t number = 0;
    assert_true(broker_info_is(info, "role", "master"));
    assert_false(broker_info_is(info, "ole", "master"));
    assert_true(broker_info_is(info, "empty", ""));
    assert_null(broker_info_text(info, "slave").base);
    assert_true(broker_info_number(info, "last", &number));
    assert_int_equal(number, 7);
    assert_false(broker_info_number(info, "role", &number));
    assert_true(broker_info_replica(info, 0, &replica));
    assert_int_equal(replica.port, 2);
    assert_int_equal(replica.offset, 900);
    assert_int_equal(replica.lag_s, 1);
    assert_true(str_equal(replica.ip, STR_LIT("127.0.0.1")));
    assert_false(broker_info_replica(info, 1, &replica));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_and_written_without_loss),
        cmocka_unit_test(what_is_planned_stands_in_it_only_where_something_is),
        cmocka_unit_test(what_was_counted_counts_for_the_record_of_that_moment),
        cmocka_unit_test(who_takes_over_is_known_by_the_record_of_before),
        cmocka_unit_test(garbled_records_are_refused_whole),
        cmocka_unit_test(a_wait_proves_something_only_while_nothing_has_changed),
        cmocka_unit_test(no_record_covers_nothing),
        cmocka_unit_test(info_is_read_line_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
