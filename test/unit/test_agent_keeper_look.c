/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/keeper_look.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const char primary_info[] =
    "# Server\r\nrun_id:abc\r\n# Persistence\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n"
    "aof_rewrite_scheduled:0\r\naof_last_bgrewrite_status:ok\r\naof_last_write_status:ok\r\n"
    "# Stats\r\nsync_full:3\r\nsync_partial_ok:2\r\n# Replication\r\nrole:master\r\n"
    "connected_slaves:2\r\nslave0:ip=::1,port=6380,state=online,offset=77,lag=1\r\n"
    "slave1:ip=10.0.0.1,port=6380,state=wait_bgsave,offset=0,lag=0\r\nmaster_repl_offset:80\r\n";

static void a_primary_is_read(void **state)
{
    (void)state;
    struct keeper_look look = {0};
    keeper_look_replicas(&look, STR_LIT("id=4 addr=[::1]:55404 laddr=[::1]:6379 fd=8 name= flags=S user=default\n"
                                        "id=9 addr=10.0.0.1:5 laddr=10.0.0.9:6379 fd=9 name= flags=S user=default\n"));
    assert_true(keeper_look_info(&look, str_of(primary_info)));
    assert_true(look.is_primary && look.aof_on && look.aof_sound && look.rewrite_sound && !look.rewriting);
    assert_int_equal(look.sync_full, 3);
    assert_int_equal(look.sync_partial, 2);
    assert_int_equal(look.offset, 80);
    assert_int_equal(look.online, 1);
    const struct keeper_link *link = keeper_look_link(&look, "[::1]:55404");
    assert_non_null(link);
    assert_int_equal(link->id, 4);
    assert_int_equal(keeper_look_progress(&look, link, 6380)->offset, 77);
    assert_null(keeper_look_progress(&look, link, 6381));
    assert_false(keeper_look_progress(&look, keeper_look_link(&look, "10.0.0.1:5"), 6380)->online);
    assert_null(keeper_look_link(&look, "10.0.0.1:6"));
    assert_null(keeper_look_link(&look, ""));
}

static void a_replica_is_read(void **state)
{
    (void)state;
    struct keeper_look look = {0};
    keeper_look_primary(&look, STR_LIT("id=4 addr=127.0.0.1:6379 laddr=127.0.0.1:55404 fd=9 name= flags=M\n"));
    assert_true(
        keeper_look_info(&look, STR_LIT("run_id:abc\r\nrole:slave\r\nmaster_link_status:up\r\n"
                                        "master_sync_in_progress:0\r\nslave_repl_offset:108\r\naof_enabled:1\r\n"
                                        "aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:1\r\nsync_full:0\r\n"
                                        "sync_partial_ok:0\r\n")));
    assert_string_equal(look.link_at, "127.0.0.1:55404");
    assert_int_equal(look.offset, 108);
    assert_true(look.link_up && look.rewriting);
    assert_false(look.is_primary || look.syncing);
}

static void what_is_cut_short_is_no_look(void **state)
{
    (void)state;
    struct str info = str_of(primary_info);
    static const char *const needed[] = {"run_id:", "sync_full:", "sync_partial_ok:", "master_repl_offset:"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
        struct keeper_look look = {0};
        char text[sizeof(primary_info)];
        memcpy(text, info.base, info.len + 1);
        *strstr(text, needed[i]) = 'x';
        assert_false(keeper_look_info(&look, str_of(text)));
    }
    struct keeper_look look = {0};
    assert_false(keeper_look_info(&look, (struct str){NULL, 0}));
    keeper_look_replicas(&look, (struct str){NULL, 0});
    keeper_look_primary(&look, (struct str){NULL, 0});
    assert_int_equal(look.link_count, 0);
    assert_string_equal(look.link_at, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_primary_is_read),
        cmocka_unit_test(a_replica_is_read),
        cmocka_unit_test(what_is_cut_short_is_no_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
