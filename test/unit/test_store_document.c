/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/file.h"
#include "test/unit/store_calls.h"

static char folder[64];

static int enter(void **state)
{
    struct error err;
    strcpy(folder, "/tmp/ldc-test-store-XXXXXX");
    *state = mkdtemp(folder) != NULL ? store_open(folder, &err) : NULL;
    return *state == NULL ? -1 : 0;
}

/* The store's files stand side by side. */
static void remove_folder(void)
{
    static const char *const names[] = {"document-a",
                                        "document-count",
                                        "document-brokers%2fRZ01",
                                        "document-brokers%2fRZ02",
                                        "current",
                                        "rules/0000000002.yaml",
                                        "rules/0000000001.yaml",
                                        "history/0000000001.json",
                                        "history/0000000002.json",
                                        "lock"};
    char path[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/rules", folder);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/history", folder);
    rmdir(path);
    rmdir(folder);
}

static int leave(void **state)
{
    struct store *store = *state;
    store_close(&store);
    remove_folder();
    return 0;
}

static struct store_record put_rules(struct store *store, uint64_t expected, const char *text)
{
    struct store_record now;
    struct error err = {ERROR_NONE, ""};
    if (store_put_rules(store, expected, str_of(text), 0, "test", "", &now, &err) == -1)
        fail_msg("%s", err.text);
    return now;
}

static void a_documents_version_is_the_epoch_of_its_last_change(void **state)
{
    assert_document(*state, "brokers/RZ01", 0, "");
    assert_int_equal(put_document(*state, "brokers/RZ01", 0, "{\"a\": 1}\n\nthree lines"), 1);
    assert_int_equal(put_document(*state, "brokers/RZ02", 0, ""), 2);
    assert_int_equal(put_document(*state, "brokers/RZ01", 1, "second"), 3);
    assert_document(*state, "brokers/RZ01", 3, "second");
    assert_document(*state, "brokers/RZ02", 2, "");
    assert_document(*state, "brokers", 0, "");
    assert_int_equal(current(*state).epoch, 3);
    assert_int_equal(current(*state).version, 0);
    assert_int_equal(current(*state).rules_epoch, 0);
}

static void rules_keep_their_epoch_while_documents_change(void **state)
{
    struct store_record records[4], one = put_rules(*state, 0, "one");
    struct error err;
    assert_int_equal(put_document(*state, "a", 0, "x"), 2);
    assert_int_equal(put_document(*state, "a", 2, "y"), 3);
    struct store_record now = current(*state);
    assert_int_equal(now.epoch, 3);
    now.epoch = one.epoch;
    assert_memory_equal(&now, &one, sizeof(now));
    struct store_record two = put_rules(*state, 3, "two");
    assert_int_equal(two.epoch, 4);
    assert_int_equal(two.rules_epoch, 4);
    assert_int_equal(two.version, 2);
    assert_int_equal(store_history(*state, records, 4, &err), 2);
    assert_memory_equal(&records[0], &two, sizeof(two));
    assert_memory_equal(&records[1], &one, sizeof(one));
}

static void a_change_of_a_document_is_no_conflict_for_rules(void **state)
{
    struct store_record now;
    struct error err;
    put_document(*state, "a", 0, "x");
    assert_int_equal(put_rules(*state, 0, "one").epoch, 2);
    put_document(*state, "a", 1, "y");
    assert_int_equal(store_put_rules(*state, 1, STR_LIT("two"), 0, "", "", &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(store_put_rules(*state, 4, STR_LIT("two"), 0, "", "", &now, &err), -1);
    assert_int_equal(now.epoch, 3);
    assert_int_equal(now.rules_epoch, 2);
    assert_int_equal(put_rules(*state, 2, "two").epoch, 4);
}

static void a_version_above_the_epoch_is_passed_and_not_repeated(void **state)
{
    struct error err;
    char path[160];
    snprintf(path, sizeof(path), "%s/document-a", folder);
    assert_int_equal(file_replace(path, STR_LIT("57\nx"), 0640, &err), 0);
    assert_int_equal(put_document(*state, "a", 57, "y"), 58);
    assert_int_equal(current(*state).epoch, 58);
}

static void a_document_at_another_version_conflicts_and_stays(void **state)
{
    uint64_t now = 0;
    struct error err;
    assert_int_equal(store_document_put(*state, "a", 3, STR_LIT("x"), &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(now, 0);
    put_document(*state, "a", 0, "first");
    assert_int_equal(store_document_put(*state, "a", 0, STR_LIT("x"), &now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    assert_int_equal(now, 1);
    assert_document(*state, "a", 1, "first");
}

static void documents_with_odd_names_or_too_much_text_are_refused(void **state)
{
    static const char *const wrong[] = {"", "/", "a/", "/a", "a//b", "../a", "a/.b", "a b", "a%2fb"};
    uint64_t now;
    struct error err;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(store_document_put(*state, wrong[i], 0, STR_LIT("x"), &now, &err), -1);
        assert_int_equal(err.code, ERROR_INPUT);
    }
    char *text = mem_calloc(1, STORE_DOCUMENT_MOST + 1);
    struct str most = {text, STORE_DOCUMENT_MOST}, more = {text, STORE_DOCUMENT_MOST + 1};
    struct buf found = {NULL, 0, 0};
    assert_int_equal(store_document_put(*state, "a", 0, more, &now, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(store_document_put(*state, "a", 0, most, &now, &err), 0);
    assert_int_equal(store_document_get(*state, "a", &found, &now, &err), 0);
    assert_int_equal(found.len, STORE_DOCUMENT_MOST);
    buf_free(&found);
    free(text);
}

static void a_document_put_elsewhere_makes_the_watch_readable(void **state)
{
    struct error err;
    struct pollfd watch = {store_watch_fd(*state), POLLIN, 0};
    struct store *other = store_open(folder, &err);
    store_drain(*state);
    assert_int_equal(poll(&watch, 1, 0), 0);
    put_document(other, "brokers/RZ01", 0, "x");
    assert_int_equal(poll(&watch, 1, 2000), 1);
    store_drain(*state);
    assert_document(*state, "brokers/RZ01", 1, "x");
    store_close(&other);
}

static void a_garbled_document_or_a_store_that_is_away_is_no_empty_document(void **state)
{
    struct error err;
    struct buf found = {NULL, 0, 0};
    uint64_t version;
    char path[160];
    snprintf(path, sizeof(path), "%s/document-a", folder);
    put_document(*state, "a", 0, "x");
    assert_int_equal(file_replace(path, STR_LIT("no version"), 0640, &err), 0);
    assert_int_equal(store_document_get(*state, "a", &found, &version, &err), -1);
    assert_non_null(strstr(err.text, "document-a"));
    assert_int_equal(store_document_put(*state, "a", 1, STR_LIT("y"), &version, &err), -1);
    assert_int_equal(current(*state).epoch, 1);
    remove_folder();
    assert_int_equal(store_document_get(*state, "a", &found, &version, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_int_equal(found.len, 0);
}

static void raise_document(unsigned times)
{
    struct error err;
    struct store *store = store_open(folder, &err);
    while (times > 0) {
        struct buf text = {NULL, 0, 0}, next = {NULL, 0, 0};
        uint64_t version;
        if (store_document_get(store, "count", &text, &version, &err) == -1)
            _exit(1);
        buf_printf(&next, "%d", atoi(text.base ? text.base : "0") + 1);
        times -= store_document_put(store, "count", version, buf_str(&next), &version, &err) == 0;
        buf_free(&text);
        buf_free(&next);
    }
    _exit(0);
}

static void four_processes_raise_a_document_and_no_raise_is_lost(void **state)
{
    for (int i = 0; i < 4; i++)
        if (fork() == 0)
            raise_document(20);
    for (int i = 0, status; i < 4; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_document(*state, "count", 80, "80");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
    const struct CMUnitTest tests[] = {
        TEST(a_documents_version_is_the_epoch_of_its_last_change),
        TEST(rules_keep_their_epoch_while_documents_change),
        TEST(a_change_of_a_document_is_no_conflict_for_rules),
        TEST(a_version_above_the_epoch_is_passed_and_not_repeated),
        TEST(a_document_at_another_version_conflicts_and_stays),
        TEST(documents_with_odd_names_or_too_much_text_are_refused),
        TEST(a_document_put_elsewhere_makes_the_watch_readable),
        TEST(a_garbled_document_or_a_store_that_is_away_is_no_empty_document),
        TEST(four_processes_raise_a_document_and_no_raise_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
