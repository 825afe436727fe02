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
    static const char *const names[] = {"a", "count", "brokers%2fRZ01", "brokers%2fRZ02"};
    char path[160];
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/document-%s", folder, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/lock", folder);
    unlink(path);
    rmdir(folder);
}

static int leave(void **state)
{
    struct store *store = *state;
    store_close(&store);
    remove_folder();
    return 0;
}

static uint64_t put_document(struct store *store, const char *name, uint64_t expected, const char *text)
{
    uint64_t now;
    struct error err = {ERROR_NONE, ""};
    if (store_document_put(store, name, expected, str_of(text), &now, &err) == -1)
        fail_msg("%s", err.text);
    return now;
}

static void assert_document(struct store *store, const char *name, uint64_t version, const char *text)
{
    struct buf found = {NULL, 0, 0};
    struct error err = {ERROR_NONE, ""};
    uint64_t at = 99;
    if (store_document_get(store, name, &found, &at, &err) == -1)
        fail_msg("%s", err.text);
    assert_int_equal(at, version);
    assert_string_equal(found.base ? found.base : "", text);
    buf_free(&found);
}

static void documents_have_versions_of_their_own(void **state)
{
    assert_document(*state, "brokers/RZ01", 0, "");
    assert_int_equal(put_document(*state, "brokers/RZ01", 0, "{\"a\": 1}\n\nthree lines"), 1);
    assert_int_equal(put_document(*state, "brokers/RZ02", 0, ""), 1);
    assert_int_equal(put_document(*state, "brokers/RZ01", 1, "second"), 2);
    assert_document(*state, "brokers/RZ01", 2, "second");
    assert_document(*state, "brokers/RZ02", 1, "");
    assert_document(*state, "brokers", 0, "");
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
        TEST(documents_have_versions_of_their_own),
        TEST(a_document_at_another_version_conflicts_and_stays),
        TEST(documents_with_odd_names_or_too_much_text_are_refused),
        TEST(a_document_put_elsewhere_makes_the_watch_readable),
        TEST(a_garbled_document_or_a_store_that_is_away_is_no_empty_document),
        TEST(four_processes_raise_a_document_and_no_raise_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
