/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of store.h on a real etcd. What becomes of it when members die stands in test/system/test_store_etcd.py.
 */
#define _GNU_SOURCE
#include "common/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "test/unit/etcd_fixture.h"
#include "test/unit/store_calls.h"

static struct etcd_fixture etcd;
static char location[128];
static int deployments;

#define PATIENCE_MS 60000 /* at most: the machine may be busy */

static const struct store_access patient = {.timeout = 20000};

static int start(void **state)
{
    (void)state;
    etcd_fixture_start(&etcd);
    return 0;
}

static int end(void **state)
{
    (void)state;
    etcd_fixture_remove(&etcd);
    return 0;
}

static struct store *open_store(void)
{
    struct error err;
    struct store *store = store_open_as(location, &patient, &err);
    if (store == NULL)
        fail_msg("%s", err.text);
    return store;
}

/* Each test has a deployment of its own. */
static int enter(void **state)
{
    snprintf(location, sizeof(location), "%s/test/%d", etcd.location, ++deployments);
    *state = open_store();
    return 0;
}

static int leave(void **state)
{
    struct store *store = *state;
    store_close(&store);
    return 0;
}

static struct store_record put(struct store *store, uint64_t expected, const char *text)
{
    struct store_record now;
    struct error err = {ERROR_NONE, ""};
    if (store_put_rules(store, expected, str_of(text), 0, "test", "a note", &now, &err) == -1)
        fail_msg("%s", err.text);
    return now;
}

static bool readable(struct store *store, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = store_watch_fd(store), .events = POLLIN};
    bool is = poll(&poll_fd, 1, timeout_ms) == 1;
    store_drain(store);
    return is;
}

/* Until the watch has told all that there was to tell. */
static void settle(struct store *store)
{
    while (readable(store, 300))
        ;
}

static void an_empty_store_is_at_epoch_zero(void **state)
{
    struct store_record records[4];
    struct store_member members[4];
    struct buf text = {NULL, 0, 0};
    struct error err;
    assert_int_equal(current(*state).epoch, 0);
    assert_int_equal(store_history(*state, records, 4, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 0);
    assert_int_equal(store_rules(*state, 1, &text, &err), -1);
    assert_int_equal(err.code, ERROR_REFUSED);
    assert_document(*state, "brokers/RZ01", 0, "");
}

static void rules_and_documents_share_one_epoch(void **state)
{
    struct store_record records[8], one = put(*state, 0, "version: 1 # one\n");
    struct error err;
    assert_int_equal(one.epoch, 1);
    assert_int_equal(put_document(*state, "brokers/RZ01", 0, "{\"a\": 1}\n\nthree lines"), 2);
    assert_int_equal(put_document(*state, "brokers/RZ02", 0, ""), 3);
    assert_int_equal(put_document(*state, "brokers/RZ01", 2, "second"), 4);
    struct store_record two = put(*state, 1, "version: 1 # two\n");
    assert_int_equal(two.epoch, 5);
    assert_int_equal(two.rules_epoch, 5);
    assert_int_equal(two.version, 2);
    assert_document(*state, "brokers/RZ01", 4, "second");
    assert_document(*state, "brokers/RZ02", 3, "");
    struct store_record now = current(*state);
    assert_memory_equal(&now, &two, sizeof(now));
    assert_int_equal(store_history(*state, records, 8, &err), 2);
    assert_memory_equal(&records[0], &two, sizeof(two));
    assert_memory_equal(&records[1], &one, sizeof(one));
    struct buf text = {NULL, 0, 0};
    assert_int_equal(store_rules(*state, 1, &text, &err), 0);
    assert_int_equal(store_rules(*state, 2, &text, &err), 0);
    assert_string_equal(text.base, "version: 1 # one\nversion: 1 # two\n");
    buf_free(&text);
}

static void a_stale_expectation_conflicts_and_tells_what_is_there(void **state)
{
    struct store_record one = put(*state, 0, "one"), now;
    struct error err;
    uint64_t version;
    assert_int_equal(store_put_rules(*state, 0, STR_LIT("other"), 0, "x", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_memory_equal(&now, &one, sizeof(now));
    put_document(*state, "a", 0, "first");
    assert_int_equal(store_document_put(*state, "a", 0, STR_LIT("x"), &version, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(version, 2);
    assert_int_equal(store_document_put(*state, "b", 7, STR_LIT("x"), &version, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(version, 0);
    assert_document(*state, "a", 2, "first");
    assert_int_equal(current(*state).epoch, 2);
}

static void what_another_changes_is_seen_by_the_watch(void **state)
{
    struct store *other = open_store();
    put(other, 0, "one");
    settle(*state);
    assert_int_equal(current(*state).epoch, 1);
    put_document(other, "brokers/RZ01", 0, "x");
    assert_true(readable(*state, PATIENCE_MS));
    assert_document(*state, "brokers/RZ01", 2, "x");
    assert_int_equal(current(*state).epoch, 2);
    put(other, 1, "two");
    assert_true(readable(*state, PATIENCE_MS));
    assert_int_equal(current(*state).version, 2);
    store_close(&other);
}

/* The mirror may be behind: what it says is never the reason of a conflict. */
static void a_writer_whose_mirror_is_behind_asks_before_it_gives_up(void **state)
{
    struct store *other = open_store();
    settle(*state);
    for (uint64_t version = 0; version < 40; version += 2) {
        assert_int_equal(put_document(other, "a", version, "theirs"), version + 1);
        assert_int_equal(put_document(*state, "a", version + 1, "ours"), version + 2);
        assert_document(*state, "a", version + 2, "ours");
    }
    store_close(&other);
}

static void long_rules_are_cut_and_put_together(void **state)
{
    size_t len = 2500000;
    char *text = mem_alloc(len);
    struct store_record now;
    struct error err = {ERROR_NONE, ""};
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + i % 23);
    if (store_put_rules(*state, 0, (struct str){text, len}, 0, "x", "", &now, &err) == -1)
        fail_msg("%s", err.text);
    struct buf found = {NULL, 0, 0};
    assert_int_equal(store_rules(*state, 1, &found, &err), 0);
    assert_int_equal(found.len, len);
    assert_memory_equal(found.base, text, len);
    assert_int_equal(store_put_rules(*state, 1, STR_LIT(""), 0, "x", "", &now, &err), 0);
    found.len = 0;
    assert_int_equal(store_rules(*state, 2, &found, &err), 0);
    assert_int_equal(found.len, 0);
    buf_free(&found);
    free(text);
}

#define RACERS 4
#define ROUNDS 10

/* Puts ROUNDS rules and as many documents, each at the version that it sees; writes the epochs that it won to FD. */
static int race(int fd, int racer)
{
    struct store *store = store_open_as(location, &patient, &(struct error){0});
    struct error err;
    char name[8];
    snprintf(name, sizeof(name), "d%d", racer % 2);
    for (int won = 0; won < 2 * ROUNDS;) {
        struct store_record now;
        struct buf text = {NULL, 0, 0};
        uint64_t epoch, version;
        if (store_current(store, &now, &err) == -1 || store_document_get(store, name, &text, &version, &err) == -1)
            return 2;
        buf_free(&text);
        int result = won % 2 == 0 ? store_put_rules(store, now.epoch, STR_LIT("x"), 0, "racer", "", &now, &err)
                                  : store_document_put(store, name, version, STR_LIT("x"), &epoch, &err);
        if (result == 0 && won % 2 == 0)
            epoch = now.epoch;
        if (result == -1 && err.code != ERROR_CONFLICT)
            return 3;
        if (result == 0 && write(fd, &epoch, sizeof(epoch)) != sizeof(epoch))
            return 4;
        won += result == 0;
    }
    store_close(&store);
    return 0;
}

static void racing_processes_win_each_epoch_once(void **state)
{
    int ends[2];
    pid_t racers[RACERS];
    bool won[2 * RACERS * ROUNDS + 1] = {false};
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < RACERS; i++)
        if ((racers[i] = fork()) == 0)
            _exit(race(ends[1], i));
    close(ends[1]);
    uint64_t epoch, wins = 0;
    while (read(ends[0], &epoch, sizeof(epoch)) == sizeof(epoch)) {
        assert_in_range(epoch, 1, 2 * RACERS * ROUNDS);
        assert_false(won[epoch]);
        won[epoch] = true;
        wins++;
    }
    close(ends[0]);
    for (int i = 0; i < RACERS; i++) {
        int status;
        waitpid(racers[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(wins, 2 * RACERS * ROUNDS);
    assert_int_equal(current(*state).epoch, wins);
    assert_int_equal(current(*state).version, RACERS * ROUNDS);
}

static struct store_member gateway(const char *name, const char *admin)
{
    struct store_member member = {.role = "gateway", .datacenter = "hz1", .pid = getpid()};
    snprintf(member.name, sizeof(member.name), "%s", name);
    snprintf(member.admin, sizeof(member.admin), "%s", admin);
    return member;
}

static void members_are_there_until_they_leave(void **state)
{
    struct error err = {ERROR_NONE, ""};
    struct store_member members[4], one = gateway("gw/1", "http://127.0.0.1:1"),
                                    two = gateway("gw/2", "http://127.0.0.1:2");
    struct store *other = open_store();
    if (store_register(*state, &one, &err) == -1 || store_register(other, &two, &err) == -1)
        fail_msg("%s", err.text);
    assert_int_equal(store_register(other, &two, &err), 0);
    settle(*state);
    assert_int_equal(store_members(*state, members, 4, &err), 2);
    assert_string_equal(members[0].name, "gw/1");
    assert_string_equal(members[1].name, "gw/2");
    assert_true(members[1].alive);
    strcpy(two.datacenter, "sh1");
    assert_int_equal(store_register(other, &two, &err), 0);
    struct store_member taken = gateway("gw/2", "http://127.0.0.1:3");
    assert_int_equal(store_register(*state, &taken, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    store_close(&other);
    assert_int_equal(store_register(*state, &taken, &err), 0); /* under another name than before */
    settle(*state);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    assert_string_equal(members[0].name, "gw/2");
    assert_string_equal(members[0].admin, "http://127.0.0.1:3");
}

static void who_listens_where_a_member_did_is_its_successor(void **state)
{
    struct error err = {ERROR_NONE, ""};
    struct store_member members[4], self = gateway("gw", "http://127.0.0.1:1");
    pid_t child = fork();
    if (child == 0) { /* dies as in a crash: its lease goes on for seconds */
        struct store *store = store_open_as(location, &patient, &err);
        _exit(store != NULL && store_register(store, &self, &err) == 0 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    if (store_register(*state, &self, &err) == -1)
        fail_msg("%s", err.text);
    settle(*state);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    assert_int_equal(members[0].pid, getpid());
}

static int64_t wait_for_members(struct store *store, int wanted, int most_ms)
{
    struct store_member members[4];
    struct error err;
    for (int waited = 0; waited < most_ms; waited += 100) {
        if (store_members(store, members, 4, &err) == wanted)
            return waited;
        readable(store, 100);
    }
    fail_msg("no %d members in %d ms", wanted, most_ms);
    return -1;
}

/* Its lease ends, and only then. */
static void a_member_that_crashed_is_listed_no_more_after_its_lease(void **state)
{
    struct error err = {ERROR_NONE, ""};
    struct store_member self = gateway("gw", "http://127.0.0.1:1"), here = gateway("here", "http://127.0.0.1:2");
    pid_t child = fork();
    if (child == 0) {
        struct store *store = store_open_as(location, &patient, &err);
        _exit(store != NULL && store_register(store, &self, &err) == 0 ? 0 : 1);
    }
    waitpid(child, NULL, 0);
    assert_int_equal(store_register(*state, &here, &err), 0);
    wait_for_members(*state, 2, PATIENCE_MS);
    wait_for_members(*state, 1, PATIENCE_MS);
    assert_int_equal(store_register(*state, &here, &err), 0); /* kept alive meanwhile */
}

static void a_store_that_is_away_fails_at_once_and_comes_back(void **state)
{
    struct error err = {ERROR_NONE, ""};
    struct store_record record;
    struct store_member members[2], self = gateway("gw", "http://127.0.0.1:1");
    uint64_t version;
    put(*state, 0, "one");
    assert_int_equal(store_register(*state, &self, &err), 0);
    settle(*state);
    etcd_fixture_end(&etcd);
    assert_true(readable(*state, PATIENCE_MS));
    assert_int_equal(store_current(*state, &record, &err), -1);
    assert_int_equal(err.code, ERROR_UNREACHABLE);
    assert_int_equal(store_members(*state, members, 2, &err), -1);
    assert_int_equal(store_document_put(*state, "a", 0, STR_LIT("x"), &version, &err), -1);
    etcd_fixture_start(&etcd);
    assert_true(readable(*state, PATIENCE_MS));
    assert_int_equal(current(*state).epoch, 1);
    assert_int_equal(put_document(*state, "a", 0, "x"), 2);
    wait_for_members(*state, 1, PATIENCE_MS);
}

static void call(const char *path, const char *body)
{
    char url[100];
    struct buf answer = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", etcd.port, path);
    struct http_request request = {.method = "POST", .url = url, .body = str_of(body), .timeout_ms = 5000};
    if (http_call(&request, &answer, &err) != 200)
        fail_msg("%s %s", err.text, answer.base ? answer.base : "");
    buf_free(&answer);
}

/* etcd restarts with a history that begins behind what the watch knows: it is told so, and reads anew. */
static void a_watch_behind_a_compaction_reads_anew(void **state)
{
    struct error err;
    char body[64];
    put(*state, 0, "one");
    settle(*state);
    etcd_fixture_end(&etcd);
    assert_true(readable(*state, PATIENCE_MS));
    etcd_fixture_start(&etcd);
    struct store *other = open_store();
    for (uint64_t i = 0; i < 20; i++)
        put_document(other, "a", i == 0 ? 0 : i + 1, "x");
    snprintf(body, sizeof(body), "{\"revision\":\"%d\",\"physical\":true}", 30);
    call("/v3/kv/compaction", body);
    for (int i = 0; i < PATIENCE_MS / 100 && current(other).epoch == 21; i++) {
        struct store_record record;
        if (store_current(*state, &record, &err) == 0 && record.epoch == 21)
            break;
        readable(*state, 100);
    }
    assert_int_equal(current(*state).epoch, 21);
    put_document(other, "a", 21, "y");
    settle(*state);
    assert_document(*state, "a", 22, "y");
    store_close(&other);
}

/* --- a member that dies between the deed and the answer ----------------------------------------------------------- */

static int connect_to_etcd(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)etcd.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

/* Carries bytes both ways until either side ends, or until etcd answers a transaction: that answer is lost. */
static void relay(int client, int server)
{
    bool changes = false;
    char bytes[16384];
    struct pollfd ends[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    while (poll(ends, 2, -1) > 0) {
        int from = ends[0].revents != 0 ? 0 : 1;
        ssize_t len = read(ends[from].fd, bytes, sizeof(bytes));
        if (len <= 0 || (from == 1 && changes))
            return;
        changes = changes || (from == 0 && memmem(bytes, (size_t)len, "/v3/kv/txn", 10) != NULL);
        if (write(ends[1 - from].fd, bytes, (size_t)len) != len)
            return;
    }
}

/* Starts a member that answers no transaction; its port. */
static pid_t start_forgetful(unsigned *port)
{
    int listener = redis_fixture_bind(port);
    assert_int_equal(listen(listener, 8), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int client = accept(listener, NULL, NULL);
            int server = connect_to_etcd();
            relay(client, server);
            close(client);
            close(server);
        }
    }
    close(listener);
    return pid;
}

static void what_was_done_without_an_answer_is_known_as_ones_own(void **state)
{
    unsigned port;
    char both[160];
    struct error err;
    pid_t forgetful = start_forgetful(&port);
    snprintf(both, sizeof(both), "etcd:http://127.0.0.1:%u,127.0.0.1:%u/test/%d", port, etcd.port, deployments);
    for (int round = 0; round < 2; round++) { /* each session begins at the member that forgets */
        struct store *store = store_open_as(both, &patient, &err);
        struct store_record before = current(*state);
        if (round == 0) {
            assert_int_equal(put(store, 0, "one").epoch, 1);
            struct store_record records[4];
            assert_int_equal(store_history(*state, records, 4, &err), 1);
        } else {
            assert_int_equal(put_document(store, "a", 0, "x"), 2);
            assert_document(*state, "a", 2, "x");
        }
        assert_int_equal(current(*state).epoch, before.epoch + 1);
        store_close(&store);
    }
    kill(forgetful, SIGKILL);
    waitpid(forgetful, NULL, 0);
}

/* How often anybody has asked this etcd for a range of keys. */
static unsigned long ranges_asked(void)
{
    char url[80];
    struct buf body = {NULL, 0, 0};
    struct error err;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/metrics", etcd.port);
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = PATIENCE_MS};
    assert_int_equal(http_call(&request, &body, &err), 200);
    const char *counter = strstr(body.base, "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Range\"");
    assert_non_null(counter);
    unsigned long asked = strtoul(strchr(counter, '}') + 1, NULL, 10);
    buf_free(&body);
    return asked;
}

static void await_version(struct store *store, const char *name, uint64_t wanted)
{
    struct buf text = {NULL, 0, 0};
    struct error err;
    uint64_t version = 0;
    while (version < wanted) {
        assert_true(readable(store, PATIENCE_MS));
        assert_int_equal(store_document_get(store, name, &text, &version, &err), 0);
    }
    buf_free(&text);
}

/* The one that watches may read all anew meanwhile. */
static void who_leans_on_a_watch_asks_nothing_before_a_change(void **state)
{
    struct store *leaning = open_store();
    put_document(*state, "a", 0, "0");
    settle(*state);
    store_lean_on(leaning, *state);
    unsigned long before = ranges_asked();
    for (uint64_t version = 1; version < 6; version++) {
        assert_int_equal(put_document(leaning, "a", version, "next"), version + 1);
        await_version(*state, "a", version + 1);
    }
    assert_true(ranges_asked() - before < 5);
    assert_document(leaning, "a", 6, "next");
    store_close(&leaning);
}

/* What another changed meanwhile does not hide that ours came first, or that it never came. */
static void a_stranger_s_work_is_not_taken_for_ones_own(void **state)
{
    struct error err;
    uint64_t version;
    put_document(*state, "a", 0, "same text");
    struct store *other = open_store();
    assert_int_equal(store_document_put(other, "a", 0, STR_LIT("same text"), &version, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(version, 1);
    store_close(&other);
}

static void locations_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {"etcd:",
                                        "etcd:127.0.0.1:1",
                                        "etcd:ftp://a",
                                        "etcd:http://",
                                        "etcd:http://a,,b/x",
                                        "etcd:http://user:word@a:1/x",
                                        "etcd:http://1,2,3,4,5,6,7,8,9,10"};
    struct error err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(store_open(wrong[i], &err));
        assert_int_equal(err.code, ERROR_INPUT);
    }
    struct store *store = store_open("etcd:http://127.0.0.1:1,127.0.0.1:2", &err);
    assert_non_null(store);
    store_close(&store);
    char ca[] = "/ca.pem";
    assert_null(store_open_as("etcd:http://127.0.0.1:1", &(struct store_access){.ca_file = ca}, &err));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_store_is_at_epoch_zero),
        TEST(rules_and_documents_share_one_epoch),
        TEST(a_stale_expectation_conflicts_and_tells_what_is_there),
        TEST(what_another_changes_is_seen_by_the_watch),
        TEST(a_writer_whose_mirror_is_behind_asks_before_it_gives_up),
        TEST(long_rules_are_cut_and_put_together),
        TEST(racing_processes_win_each_epoch_once),
        TEST(members_are_there_until_they_leave),
        TEST(who_listens_where_a_member_did_is_its_successor),
        TEST(a_member_that_crashed_is_listed_no_more_after_its_lease),
        TEST(a_store_that_is_away_fails_at_once_and_comes_back),
        TEST(a_watch_behind_a_compaction_reads_anew),
        TEST(what_was_done_without_an_answer_is_known_as_ones_own),
        TEST(who_leans_on_a_watch_asks_nothing_before_a_change),
        TEST(a_stranger_s_work_is_not_taken_for_ones_own),
        TEST(locations_are_checked),
    };
    return cmocka_run_group_tests(tests, start, end);
}
