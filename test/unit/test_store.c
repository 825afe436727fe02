/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/file.h"

#define PATIENCE_MS 60000 /* at most: the machine may be busy */

static char root[64], folder[96], location[128];

static int enter(void **state)
{
    struct error err;
    strcpy(root, "/tmp/ldc-test-store-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(folder, sizeof(folder), "%s/store", root);
    snprintf(location, sizeof(location), "dir:%s", folder);
    *state = store_open(location, &err);
    return *state == NULL ? -1 : 0;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    if (dir != NULL) {
        for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
            char below[700];
            snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                remove_tree(below);
        }
        closedir(dir);
    }
    remove(path);
}

static int leave(void **state)
{
    struct store *store = *state;
    store_close(&store);
    remove_tree(root);
    return 0;
}

static char *path_of(const char *name)
{
    static char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static size_t files_in(const char *name)
{
    size_t count = 0;
    DIR *dir = opendir(path_of(name));
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    if (dir != NULL)
        closedir(dir);
    return count;
}

static struct store_record put(struct store *store, uint64_t expected, const char *text)
{
    struct store_record now;
    struct error err = {ERROR_NONE, ""};
    if (store_put_rules(store, expected, str_of(text), 0, "test", "a note", &now, &err) == -1)
        fail_msg("%s", err.text);
    return now;
}

static uint64_t epoch_of(struct store *store)
{
    struct store_record record;
    struct error err;
    assert_int_equal(store_current(store, &record, &err), 0);
    return record.epoch;
}

static bool readable(struct store *store, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = store_watch_fd(store), .events = POLLIN};
    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void an_empty_store_is_at_epoch_zero(void **state)
{
    struct store_record record, records[4];
    struct store_member members[4];
    struct error err;
    assert_int_equal(store_current(*state, &record, &err), 0);
    assert_int_equal(record.epoch, 0);
    assert_int_equal(store_history(*state, records, 4, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 0);
    struct buf text = {NULL, 0, 0};
    assert_int_equal(store_rules(*state, 0, &text, &err), -1);
    assert_int_equal(store_rules(*state, 1, &text, &err), -1);
    assert_int_equal(err.code, ERROR_REFUSED);
}

static void versions_are_kept_with_their_history(void **state)
{
    struct store_record first = put(*state, 0, "version: 1 # one\n"), second = put(*state, 1, "version: 1 # two\n");
    struct store_record current, records[8];
    struct error err;
    assert_int_equal(first.epoch, 1);
    assert_int_equal(second.version, 2);
    assert_int_equal(store_current(*state, &current, &err), 0);
    assert_memory_equal(&current, &second, sizeof(current));
    assert_string_equal(current.by, "test");
    assert_string_equal(current.note, "a note");
    assert_int_equal(store_history(*state, records, 8, &err), 2);
    assert_memory_equal(&records[0], &second, sizeof(second));
    assert_memory_equal(&records[1], &first, sizeof(first));
    assert_int_equal(store_history(*state, records, 1, &err), 1);

    struct buf text = {NULL, 0, 0};
    assert_int_equal(store_rules(*state, 1, &text, &err), 0);
    assert_string_equal(text.base, "version: 1 # one\n");
    assert_int_equal(store_rules(*state, 2, &text, &err), 0);
    assert_string_equal(text.base, "version: 1 # one\nversion: 1 # two\n");
    buf_free(&text);
}

static void a_stale_expectation_conflicts_and_tells_the_epoch(void **state)
{
    struct store_record one = put(*state, 0, "one"), now;
    struct error err;
    assert_int_equal(store_put_rules(*state, 0, STR_LIT("other"), 0, "x", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_memory_equal(&now, &one, sizeof(now));
    assert_int_equal(store_put_rules(*state, 2, STR_LIT("other"), 0, "x", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(files_in("rules"), 1);
}

static void long_texts_are_cut_between_characters(void **state)
{
    struct store_record now;
    struct error err;
    char name[200];
    memset(name, 'a', sizeof(name));
    memcpy(name + 62, "\xc3\xa9", 3);
    assert_int_equal(store_put_rules(*state, 0, STR_LIT("x"), 0, name, NULL, &now, &err), 0);
    assert_int_equal(strlen(now.by), 62);
    assert_int_equal(store_put_rules(*state, 1, STR_LIT("x"), 0, "\xff", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(epoch_of(*state), 1);
}

static void a_change_by_another_process_makes_the_watch_readable(void **state)
{
    assert_false(readable(*state, 0));
    struct error err;
    struct store *other = store_open(location, &err);
    put(other, 0, "one");
    assert_true(readable(*state, PATIENCE_MS));
    store_drain(*state);
    assert_false(readable(*state, 0));
    store_close(&other);
}

static void a_garbled_record_is_an_error_that_names_it(void **state)
{
    static const char *const garbage[] = {
        "",
        "{",
        "[]",
        "{\"epoch\":1}",
        "\xff\xfe",
        "{\"epoch\":-1,\"version\":1,\"at_us\":1,\"by\":\"\",\"note\":\"\",\"sha256\":\"\"}",
        "{\"epoch\":1,\"epoch\":2}",
        "{\"epoch\":1,\"rules_epoch\":2,\"version\":1,\"at_us\":1,\"by\":\"\",\"note\":\"\",\"sha256\":\"\"}"};
    struct store_record record;
    struct error err;
    put(*state, 0, "one");
    struct buf whole = {NULL, 0, 0};
    assert_int_equal(file_read(path_of("current"), 10000, &whole, &err), 0);
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        assert_int_equal(file_replace(path_of("current"), str_of(garbage[i]), 0600, &err), 0);
        err.text[0] = '\0';
        assert_int_equal(store_current(*state, &record, &err), -1);
        assert_int_equal(err.code, ERROR_SYSTEM);
        assert_non_null(strstr(err.text, "/current"));
        assert_int_equal(store_put_rules(*state, 1, STR_LIT("two"), 0, "", "", &record, &err), -1);
    }
    assert_int_equal(file_replace(path_of("current"), buf_str(&whole), 0600, &err), 0);
    assert_int_equal(put(*state, 1, "two").epoch, 2);
    buf_free(&whole);
}

static void a_record_from_before_documents_had_epochs_is_understood(void **state)
{
    struct store_record record;
    struct error err;
    put(*state, 0, "one");
    put(*state, 1, "two");
    struct str old = STR_LIT("{\"epoch\":2,\"version\":2,\"at_us\":1,\"by\":\"\",\"note\":\"\",\"sha256\":\"\"}");
    assert_int_equal(file_replace(path_of("current"), old, 0600, &err), 0);
    assert_int_equal(store_current(*state, &record, &err), 0);
    assert_int_equal(record.rules_epoch, 2);
    assert_int_equal(put(*state, 2, "three").rules_epoch, 3);
}

static void a_record_follows_where_no_epoch_falls_and_no_rules_change_under_one(void **state)
{
    (void)state;
    const struct store_record before = {.epoch = 5, .rules_epoch = 3, .version = 2, .sha256 = "aa"};
    struct store_record after = before;
    assert_true(store_record_follows(&before, &after));
    after.epoch = 6;
    assert_true(store_record_follows(&before, &after));
    strcpy(after.sha256, "bb");
    assert_false(store_record_follows(&before, &after));
    after.rules_epoch = 6;
    assert_true(store_record_follows(&before, &after));
    after.rules_epoch = 5; /* the rules of epoch 5 were known, and others */
    assert_false(store_record_follows(&before, &after));
    after = before;
    after.epoch = 4;
    assert_false(store_record_follows(&before, &after));
    after = (struct store_record){0};
    assert_false(store_record_follows(&before, &after));
    assert_true(store_record_follows(&after, &before));
}

static void damaged_rules_are_told_from_sound_ones(void **state)
{
    struct error err;
    struct buf text = {NULL, 0, 0};
    put(*state, 0, "sound");
    assert_int_equal(file_replace(path_of("rules/0000000001.yaml"), STR_LIT("soun"), 0600, &err), 0);
    assert_int_equal(store_rules(*state, 1, &text, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_non_null(strstr(err.text, "damaged"));
    assert_int_equal(text.len, 0);
    buf_free(&text);
}

static void a_folder_that_goes_and_comes_back_is_followed_again(void **state)
{
    struct store_record record;
    struct error err;
    char away[128];
    snprintf(away, sizeof(away), "%s/away", root);
    put(*state, 0, "one");
    store_watch_fd(*state);
    assert_int_equal(rename(folder, away), 0);
    assert_true(readable(*state, PATIENCE_MS));
    store_drain(*state);
    assert_int_equal(store_current(*state, &record, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_int_equal(store_put_rules(*state, 1, STR_LIT("x"), 0, "", "", &record, &err), -1);
    assert_int_equal(access(folder, F_OK), -1);

    assert_int_equal(rename(away, folder), 0);
    assert_int_equal(epoch_of(*state), 1);
    store_drain(*state);
    put(*state, 1, "two");
    assert_true(readable(*state, PATIENCE_MS));
}

static void another_folder_in_its_place_is_watched(void **state)
{
    struct error err;
    put(*state, 0, "one");
    store_watch_fd(*state);
    remove_tree(folder);
    struct store_record record;
    assert_int_equal(store_current(*state, &record, &err), -1);
    store_drain(*state);
    struct store *other = store_open(location, &err);
    assert_int_equal(epoch_of(*state), 0);
    store_drain(*state);
    put(other, 0, "fresh");
    assert_true(readable(*state, PATIENCE_MS));
    assert_int_equal(epoch_of(*state), 1);
    store_close(&other);
}

static void a_full_disk_leaves_nothing_half_applied(void **state)
{
    struct store_record before = put(*state, 0, "one"), now;
    struct error err;
    struct rlimit usual, tight;
    char large[9000];
    memset(large, '#', sizeof(large));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &usual);
    /* 8192: the rules do not fit. 100: the history's record does not fit. */
    for (int round = 0; round < 2; round++) {
        struct str text = {large, round == 0 ? sizeof(large) : 50};
        tight = usual;
        tight.rlim_cur = round == 0 ? 8192 : 100;
        setrlimit(RLIMIT_FSIZE, &tight);
        int result = store_put_rules(*state, 1, text, 0, "", "", &now, &err);
        setrlimit(RLIMIT_FSIZE, &usual);
        assert_int_equal(result, -1);
        assert_int_equal(err.code, ERROR_SYSTEM);
        assert_int_equal(files_in("rules"), 1);
        assert_int_equal(files_in("history"), 1);
        assert_int_equal(store_current(*state, &now, &err), 0);
        assert_memory_equal(&now, &before, sizeof(now));
    }
    assert_int_equal(put(*state, 1, "two").epoch, 2);
}

static void leftovers_of_a_crash_do_not_count(void **state)
{
    struct store_record records[4];
    struct error err;
    struct buf text = {NULL, 0, 0};
    put(*state, 0, "one");
    assert_int_equal(file_replace(path_of("rules/0000000002.yaml"), STR_LIT("never"), 0600, &err), 0);
    assert_int_equal(file_replace(path_of("history/0000000002.json"), STR_LIT("{tor"), 0600, &err), 0);
    assert_int_equal(store_history(*state, records, 4, &err), 1);
    assert_int_equal(store_rules(*state, 2, &text, &err), -1);
    assert_int_equal(put(*state, 1, "two").version, 2);
    assert_int_equal(store_rules(*state, 2, &text, &err), 0);
    assert_string_equal(text.base, "two");
    assert_int_equal(store_history(*state, records, 4, &err), 2);
    buf_free(&text);
}

static void a_lock_that_somebody_sits_on_is_a_timeout(void **state)
{
    struct store_record now;
    struct error err;
    put(*state, 0, "one");
    int fd = open(path_of("lock"), O_RDWR);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(store_put_rules(*state, 1, STR_LIT("x"), 0, "", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_TIMEOUT);
    assert_int_equal(epoch_of(*state), 1);
    close(fd);
    put(*state, 1, "two");
}

#define RACERS 8
#define ROUNDS 50

/* Puts ROUNDS texts, each at the epoch that it sees; writes the epochs that it won to FD. */
static int race(int fd)
{
    struct error err;
    struct store_record now;
    struct store *store = store_open(location, &err);
    for (int won = 0; won < ROUNDS;) {
        char text[32];
        snprintf(text, sizeof(text), "%ld %d", (long)getpid(), won);
        if (store_current(store, &now, &err) == -1)
            return 2;
        uint64_t expected = now.epoch;
        if (store_put_rules(store, expected, str_of(text), 0, "racer", text, &now, &err) == 0) {
            if (now.epoch != expected + 1 || write(fd, &now.epoch, sizeof(now.epoch)) != sizeof(now.epoch))
                return 3;
            won++;
        } else if (err.code == ERROR_CONFLICT ? now.epoch <= expected : err.code != ERROR_TIMEOUT) {
            return 4;
        }
    }
    store_close(&store);
    return 0;
}

static void eight_processes_race_and_one_wins_each_epoch(void **state)
{
    int ends[2];
    pid_t racers[RACERS];
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < RACERS; i++)
        if ((racers[i] = fork()) == 0)
            _exit(race(ends[1]));
    close(ends[1]);
    bool won[RACERS * ROUNDS + 1] = {false};
    uint64_t epoch, wins = 0;
    while (read(ends[0], &epoch, sizeof(epoch)) == sizeof(epoch)) {
        assert_in_range(epoch, 1, RACERS * ROUNDS);
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
    assert_int_equal(wins, RACERS * ROUNDS);
    assert_int_equal(epoch_of(*state), RACERS * ROUNDS);
    struct store_record *records = mem_calloc(RACERS * ROUNDS, sizeof(*records));
    struct error err;
    assert_int_equal(store_history(*state, records, RACERS * ROUNDS, &err), RACERS * ROUNDS);
    for (uint64_t i = 0; i < RACERS * ROUNDS; i++) {
        struct buf text = {NULL, 0, 0};
        assert_int_equal(store_rules(*state, records[i].version, &text, &err), 0);
        assert_string_equal(text.base, records[i].note);
        buf_free(&text);
    }
    free(records);
}

static struct store_member gateway(const char *name)
{
    struct store_member member = {
        .role = "gateway", .datacenter = "hz1", .admin = "http://127.0.0.1:1", .pid = getpid()};
    snprintf(member.name, sizeof(member.name), "%s", name);
    return member;
}

static void members_live_as_long_as_their_process(void **state)
{
    int ready[2], end[2];
    struct error err;
    struct store_member members[4];
    assert_int_equal(pipe(ready) | pipe(end), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *store = store_open(location, &err);
        struct store_member self = gateway("gw/2");
        char byte = store_register(store, &self, &err) == 0 ? 'y' : 'n';
        close(end[1]);
        if (write(ready[1], &byte, 1) == 1)
            byte = (char)read(end[0], &byte, 1);
        _exit(0); /* as a crash would: nothing is tidied up */
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    struct store_member self = gateway("gw/1"), taken = gateway("gw/2");
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_register(*state, &taken, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(store_members(*state, members, 4, &err), 2);
    assert_string_equal(members[0].name, "gw/1");
    assert_string_equal(members[1].name, "gw/2");
    assert_int_equal(members[1].pid, child);
    assert_true(members[1].alive);
    assert_string_equal(members[1].datacenter, "hz1");

    close(end[1]);
    waitpid(child, NULL, 0);
    assert_int_equal(files_in("members"), 2);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    assert_string_equal(members[0].name, "gw/1");
    assert_int_equal(files_in("members"), 1);
    close(ready[0]), close(ready[1]), close(end[0]);
}

static void registering_again_replaces_what_was_said(void **state)
{
    struct error err;
    struct store_member members[4], self = gateway("a");
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    strcpy(self.datacenter, "sh1");
    strcpy(self.pulse, "127.0.0.1:7100");
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    assert_string_equal(members[0].datacenter, "sh1");
    assert_string_equal(members[0].pulse, "127.0.0.1:7100");
    strcpy(self.name, "b");
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
    assert_string_equal(members[0].name, "b");
    assert_int_equal(files_in("members"), 1);
    remove_tree(path_of("members"));
    assert_int_equal(store_register(*state, &self, &err), 0);
    assert_int_equal(store_members(*state, members, 4, &err), 1);
}

static void a_living_member_with_a_garbled_file_is_passed_over(void **state)
{
    struct error err;
    struct store_member members[4], self = gateway("a");
    assert_int_equal(store_register(*state, &self, &err), 0);
    int fd = open(path_of("members/gateway-a.json"), O_RDWR);
    assert_int_equal(write(fd, "\xff", 1), 1);
    close(fd);
    assert_int_equal(store_members(*state, members, 4, &err), 0);
    assert_int_equal(files_in("members"), 1);
}

static void locations_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "etcd", "mysql://x", "dir:", "dri:/x"};
    struct error err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(store_open(wrong[i], &err));
        assert_int_equal(err.code, ERROR_INPUT);
    }
    struct store *store = store_open(folder, &err);
    assert_non_null(store);
    store_close(&store);
    assert_null(store);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(an_empty_store_is_at_epoch_zero),
        TEST(versions_are_kept_with_their_history),
        TEST(a_stale_expectation_conflicts_and_tells_the_epoch),
        TEST(long_texts_are_cut_between_characters),
        TEST(a_change_by_another_process_makes_the_watch_readable),
        TEST(a_garbled_record_is_an_error_that_names_it),
        TEST(a_record_from_before_documents_had_epochs_is_understood),
        TEST(a_record_follows_where_no_epoch_falls_and_no_rules_change_under_one),
        TEST(damaged_rules_are_told_from_sound_ones),
        TEST(a_folder_that_goes_and_comes_back_is_followed_again),
        TEST(another_folder_in_its_place_is_watched),
        TEST(a_full_disk_leaves_nothing_half_applied),
        TEST(leftovers_of_a_crash_do_not_count),
        TEST(a_lock_that_somebody_sits_on_is_a_timeout),
        TEST(eight_processes_race_and_one_wins_each_epoch),
        TEST(members_live_as_long_as_their_process),
        TEST(registering_again_replaces_what_was_said),
        TEST(a_living_member_with_a_garbled_file_is_passed_over),
        TEST(locations_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
