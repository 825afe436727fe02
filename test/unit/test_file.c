/* SPDX-License-Identifier: Apache-2.0 */
#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <dirent.h>
#include <cmocka.h>

static char folder[64];

static int enter(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/ldc-test-file-XXXXXX");
    return mkdtemp(folder) == NULL || chdir(folder) == -1 ? -1 : 0;
}

static int leave(void **state)
{
    (void)state;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.')
            remove(entry->d_name);
    closedir(dir);
    return rmdir(folder);
}

static size_t files_here(void)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void assert_content(const char *path, const char *expected)
{
    struct buf content = {NULL, 0, 0};
    struct error err;
    assert_int_equal(file_read(path, 1 << 20, &content, &err), 0);
    assert_string_equal(content.base, expected);
    buf_free(&content);
}

static void a_replaced_file_reads_back_whole(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(file_replace("a", STR_LIT("one"), 0600, &err), 0);
    assert_content("a", "one");
    assert_int_equal(file_replace("a", STR_LIT(""), 0640, &err), 0);
    assert_content("a", "");
    struct stat status;
    assert_int_equal(stat("a", &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_int_equal(files_here(), 1);
}

static void reading_appends_and_refuses_what_is_too_long(void **state)
{
    (void)state;
    struct error err;
    struct buf content = {NULL, 0, 0};
    buf_append_str(&content, STR_LIT("head "));
    assert_int_equal(file_replace("a", STR_LIT("12345"), 0600, &err), 0);
    assert_int_equal(file_read("a", 4, &content, &err), -1);
    assert_int_equal(err.code, ERROR_INPUT);
    assert_int_equal(content.len, 5);
    assert_int_equal(file_read("a", 5, &content, &err), 0);
    assert_string_equal(content.base, "head 12345");
    buf_free(&content);
}

static void a_missing_file_names_its_path(void **state)
{
    (void)state;
    struct error err;
    struct buf content = {NULL, 0, 0};
    assert_int_equal(file_read("missing", 10, &content, &err), -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_string_equal(err.text, "cannot open missing: No such file or directory");
}

static void a_secret_is_the_first_line_and_never_shown(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(file_replace("a", STR_LIT("  hunter2 \r\nmore"), 0600, &err), 0);
    char *secret = file_read_secret("a", &err);
    assert_string_equal(secret, "hunter2");
    free(secret);
    assert_int_equal(file_replace("a", STR_LIT(" \nhunter2"), 0600, &err), 0);
    assert_null(file_read_secret("a", &err));
    assert_int_equal(err.code, ERROR_INPUT);
    assert_null(strstr(err.text, "hunter2"));
    assert_null(file_read_secret("missing", &err));
    assert_int_equal(file_take_secret("broker.password_file", NULL, &secret, &err), 0);
    assert_int_equal(file_take_secret("broker.password_file", "missing", &secret, &err), -1);
    assert_string_equal(err.text, "broker.password_file: cannot open missing: No such file or directory");
    assert_int_equal(err.code, ERROR_SYSTEM);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct error err;
    char deep[128];
    snprintf(deep, sizeof(deep), "%s/x/y//z/", folder);
    assert_int_equal(file_make_folder(deep, 0700, &err), 0);
    assert_int_equal(file_make_folder(deep, 0700, &err), 0);
    assert_int_equal(file_replace("x/y/z/a", STR_LIT("1"), 0600, &err), 0);
    assert_int_equal(file_make_folder("x/y/z/a", 0700, &err), -1);
    assert_int_equal(file_make_folder("x/y/z/a/b", 0700, &err), -1);
    unlink("x/y/z/a");
    rmdir("x/y/z");
    rmdir("x/y");
}

static void a_disk_that_is_full_leaves_the_old_file(void **state)
{
    (void)state;
    struct error err;
    struct rlimit before, tight;
    assert_int_equal(file_replace("a", STR_LIT("kept"), 0600, &err), 0);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 1000;
    setrlimit(RLIMIT_FSIZE, &tight);
    char large[5000];
    memset(large, 'x', sizeof(large));
    int result = file_replace("a", (struct str){large, sizeof(large)}, 0600, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(result, -1);
    assert_int_equal(err.code, ERROR_SYSTEM);
    assert_non_null(strstr(err.text, "File too large"));
    assert_content("a", "kept");
    assert_int_equal(files_here(), 1);
}

static void *replace_often(void *letter)
{
    char content[20000];
    memset(content, *(char *)letter, sizeof(content));
    struct error err;
    for (int i = 0; i < 30; i++)
        if (file_replace("shared", (struct str){content, sizeof(content)}, 0600, &err) == -1)
            return err.text[0] ? letter : NULL;
    return NULL;
}

static void readers_never_see_half_a_file(void **state)
{
    (void)state;
    char letters[] = "ab";
    pthread_t threads[2];
    struct error err;
    assert_int_equal(file_replace("shared", STR_LIT("a"), 0600, &err), 0);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, replace_often, &letters[i]);
    for (int i = 0; i < 200; i++) {
        struct buf content = {NULL, 0, 0};
        assert_int_equal(file_read("shared", 1 << 20, &content, &err), 0);
        assert_true(content.len == 1 || content.len == 20000);
        assert_int_equal(content.base[0], content.base[content.len - 1]);
        buf_free(&content);
    }
    for (int i = 0; i < 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(files_here(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_replaced_file_reads_back_whole, enter, leave),
        cmocka_unit_test_setup_teardown(reading_appends_and_refuses_what_is_too_long, enter, leave),
        cmocka_unit_test_setup_teardown(a_missing_file_names_its_path, enter, leave),
        cmocka_unit_test_setup_teardown(a_secret_is_the_first_line_and_never_shown, enter, leave),
        cmocka_unit_test_setup_teardown(folders_are_made_with_their_parents, enter, leave),
        cmocka_unit_test_setup_teardown(a_disk_that_is_full_leaves_the_old_file, enter, leave),
        cmocka_unit_test_setup_teardown(readers_never_see_half_a_file, enter, leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
