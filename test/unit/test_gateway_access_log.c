/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/access_log.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/file.h"
#include "gateway/gateway.h"

static char path[64];
static struct gateway gateway;
static struct worker workers[2];

static int enter(void **state)
{
    (void)state;
    strcpy(path, "/tmp/ldc-test-access-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    gateway = (struct gateway){.config = {.log = {.access = path}}};
    for (int i = 0; i < 2; i++) {
        workers[i].gateway = &gateway;
        stat_set(&workers[i].stats.access_log_dropped_total, 0);
    }
    return fd == -1;
}

static int leave(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static socklen_t peername(h2o_conn_t *conn, struct sockaddr *address)
{
    (void)conn;
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(0x7f000001)}};
    return sizeof(*in);
}

/* A request as libh2o and request.c leave it. */
struct fixture {
    h2o_conn_t conn;
    h2o_req_t req;
    struct table table;
    struct unit unit;
    struct view_unit place;
    struct view view;
    struct table_unit rules;
    struct exchange exchange;
};

static struct fixture *fixture(const char *target)
{
    static const h2o_conn_callbacks_t callbacks = {.get_peername = peername};
    struct fixture *f = mem_calloc(1, sizeof(*f));
    f->conn.callbacks = &callbacks;
    f->req.conn = &f->conn;
    f->req.version = 0x101;
    f->req.method = h2o_iovec_init(H2O_STRLIT("POST"));
    f->req.path = h2o_iovec_init(target, strlen(target));
    const char *query = strchr(target, '?');
    f->req.query_at = query ? (size_t)(query - target) : SIZE_MAX;
    f->req.res.status = 202;
    f->req.bytes_sent = 17;
    f->table.epoch = 42;
    f->table.units = &f->rules;
    f->place.unit = &f->unit;
    f->view.units = &f->place;
    f->view.table = &f->table;
    f->rules.name = STR_LIT("RZ01");
    f->exchange = (struct exchange){
        .req = &f->req,
        .worker = &workers[0],
        .traceparent = STR_LIT("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
        .received_us = 1769866620123456,
    };
    return f;
}

static json_t *only_line(void)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    assert_int_equal(file_read(path, 1 << 20, &text, &err), 0);
    assert_ptr_equal(strchr(text.base, '\n'), text.base + text.len - 1);
    json_t *line = json_loads(text.base, JSON_ALLOW_NUL, NULL);
    assert_non_null(line);
    buf_free(&text);
    return line;
}

static const char *text_of(json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

static void a_write_to_a_collection_is_told_with_its_version(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/-/c/rates/eur");
    const struct table_route route = {.action = ACTION_ZONE_C};
    h2o_mem_init_pool(&f->req.pool);
    h2o_add_header_by_str(&f->req.pool, &f->req.res.headers, H2O_STRLIT("ldc-version"), 0, NULL, H2O_STRLIT("17"));
    f->exchange.route = &route;
    access_log_write(log, &f->exchange);
    access_log_destroy(&log);
    json_t *line = only_line();
    assert_int_equal(json_integer_value(json_object_get(line, "version")), 17);
    json_decref(line);
    h2o_mem_clear_pool(&f->req.pool);
    free(f);
}

static void a_routed_request_is_told_in_full(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/pay/1?token=secret");
    f->exchange.user = STR_LIT("1001");
    f->exchange.view = &f->view;
    f->exchange.rules = &f->rules;
    f->exchange.decision.color = COLOR_GREEN;
    f->exchange.message_id = STR_LIT("RZ01.payments.3.ab");
    f->exchange.node = STR_LIT("10.0.0.1:80");
    f->exchange.attempts = 2;
    access_log_write(log, &f->exchange);
    access_log_destroy(&log);
    json_t *line = only_line();
    assert_string_equal(text_of(line, "time"), "2026-01-31T13:37:00.123456Z");
    assert_string_equal(text_of(line, "peer"), "127.0.0.1");
    assert_string_equal(text_of(line, "protocol"), "HTTP/1.1");
    assert_string_equal(text_of(line, "method"), "POST");
    assert_string_equal(text_of(line, "path"), "/pay/1");
    assert_int_equal(json_integer_value(json_object_get(line, "status")), 202);
    assert_int_equal(json_integer_value(json_object_get(line, "bytes")), 17);
    assert_true(json_is_integer(json_object_get(line, "duration_us")));
    assert_string_equal(text_of(line, "verdict"), "ok");
    assert_string_equal(text_of(line, "trace"), "0123456789abcdef0123456789abcdef");
    assert_string_equal(text_of(line, "user"), "1001");
    assert_string_equal(text_of(line, "unit"), "RZ01");
    assert_string_equal(text_of(line, "color"), "green");
    assert_int_equal(json_integer_value(json_object_get(line, "epoch")), 42);
    assert_string_equal(text_of(line, "message_id"), "RZ01.payments.3.ab");
    assert_string_equal(text_of(line, "node"), "10.0.0.1:80");
    assert_int_equal(json_integer_value(json_object_get(line, "attempts")), 2);
    json_decref(line);
    free(f);
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/");
    f->exchange.verdict = VERDICT_NO_RULES;
    f->exchange.traceparent = (struct str){NULL, 0};
    access_log_write(log, &f->exchange);
    access_log_flush(log);
    json_t *line = only_line();
    assert_int_equal(json_object_size(line), 9);
    assert_string_equal(text_of(line, "verdict"), "no-rules");
    json_decref(line);
    access_log_destroy(&log);
    free(f);
}

static void a_hostile_path_cannot_forge_a_line(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/a\"b\\\n{\"status\":200}\xff\xc3\xa9");
    f->exchange.user = (struct str){"u\0\x1b", 3};
    access_log_write(log, &f->exchange);
    access_log_destroy(&log);
    json_t *line = only_line();
    assert_string_equal(text_of(line, "path"), "/a\"b\\\n{\"status\":200}\xef\xbf\xbd\xc3\xa9");
    assert_int_equal(json_string_length(json_object_get(line, "user")), 3);
    json_decref(line);
    free(f);
}

static size_t whole_lines(const char *file)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    assert_int_equal(file_read(file, 1 << 26, &text, &err), 0);
    struct str rest = buf_str(&text), line;
    size_t count = 0;
    while (str_next(&rest, '\n', &line)) {
        json_t *json = json_loadb(line.base, line.len, 0, NULL);
        count += json != NULL;
        json_decref(json);
    }
    buf_free(&text);
    return count;
}

static void *write_many(void *worker)
{
    struct access_log *log = access_log_create(worker);
    struct fixture *f = fixture("/some/path/of/a/usual/length");
    for (int i = 0; i < 5000; i++) {
        access_log_write(log, &f->exchange);
        if (i % 7 == 0)
            access_log_flush(log);
    }
    access_log_destroy(&log);
    free(f);
    return NULL;
}

static void workers_do_not_tear_each_others_lines(void **state)
{
    (void)state;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, write_many, &workers[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(whole_lines(path), 10000);
}

static void lines_leave_by_themselves_when_they_are_many(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/x");
    struct stat status = {0};
    for (int i = 0; i < 1000 && status.st_size == 0; i++) {
        access_log_write(log, &f->exchange);
        assert_int_equal(stat(path, &status), 0);
    }
    assert_in_range(status.st_size, 65536, 67000);
    access_log_destroy(&log);
    free(f);
}

static void a_file_that_was_moved_away_is_opened_anew(void **state)
{
    (void)state;
    char moved[80];
    snprintf(moved, sizeof(moved), "%s.1", path);
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/x");
    access_log_write(log, &f->exchange);
    assert_int_equal(rename(path, moved), 0);
    access_log_write(log, &f->exchange);
    access_log_reopen(log);
    access_log_write(log, &f->exchange);
    access_log_destroy(&log);
    assert_int_equal(whole_lines(moved), 2);
    assert_int_equal(whole_lines(path), 1);
    unlink(moved);
    free(f);
}

static void a_full_disk_costs_lines_that_are_counted(void **state)
{
    (void)state;
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/x");
    struct rlimit usual, tight;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &usual);
    tight = usual;
    tight.rlim_cur = 700;
    setrlimit(RLIMIT_FSIZE, &tight);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++)
            access_log_write(log, &f->exchange);
        access_log_flush(log);
    }
    setrlimit(RLIMIT_FSIZE, &usual);
    size_t kept = whole_lines(path);
    assert_in_range(kept, 1, 9);
    assert_int_equal(stat_get(&workers[0].stats.access_log_dropped_total), 30 - kept);
    for (int i = 0; i < 10; i++)
        access_log_write(log, &f->exchange);
    access_log_destroy(&log);
    assert_int_equal(whole_lines(path), kept + 10);
    assert_int_equal(stat_get(&workers[0].stats.access_log_dropped_total), 30 - kept);
    free(f);
}

static void a_log_that_cannot_be_opened_counts_what_it_loses(void **state)
{
    (void)state;
    gateway.config.log.access = (char *)"/nowhere/access.log";
    struct access_log *log = access_log_create(&workers[0]);
    struct fixture *f = fixture("/x");
    assert_non_null(log);
    access_log_write(log, &f->exchange);
    access_log_flush(log);
    assert_int_equal(stat_get(&workers[0].stats.access_log_dropped_total), 1);
    access_log_destroy(&log);
    free(f);
}

static void without_a_file_there_is_no_log(void **state)
{
    (void)state;
    gateway.config.log.access = NULL;
    struct access_log *log = access_log_create(&workers[0]);
    assert_null(log);
    access_log_write(log, NULL);
    access_log_flush(log);
    access_log_reopen(log);
    access_log_destroy(&log);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(a_routed_request_is_told_in_full),
        TEST(a_write_to_a_collection_is_told_with_its_version),
        TEST(what_is_not_known_is_left_out),
        TEST(a_hostile_path_cannot_forge_a_line),
        TEST(workers_do_not_tear_each_others_lines),
        TEST(lines_leave_by_themselves_when_they_are_many),
        TEST(a_file_that_was_moved_away_is_opened_anew),
        TEST(a_full_disk_costs_lines_that_are_counted),
        TEST(a_log_that_cannot_be_opened_counts_what_it_loses),
        TEST(without_a_file_there_is_no_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
