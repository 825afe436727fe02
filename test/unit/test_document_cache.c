/* SPDX-License-Identifier: Apache-2.0 */
#include "common/document_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/file.h"

struct world {
    char folder[64], path[96];
    struct store *store;
};

static int set_up(void **state)
{
    struct world *world = mem_calloc(1, sizeof(*world));
    struct error err;
    snprintf(world->folder, sizeof(world->folder), "/tmp/ldc-cache-XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    snprintf(world->path, sizeof(world->path), "%s/cache", world->folder);
    world->store = store_open(world->folder, &err);
    assert_non_null(world->store);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    char command[96];
    store_close(&world->store);
    snprintf(command, sizeof(command), "rm -r '%s'", world->folder);
    assert_int_equal(system(command), 0);
    free(world);
    return 0;
}

static uint64_t put(struct world *world, uint64_t expected, struct str text)
{
    uint64_t version = 0;
    struct error err = {ERROR_NONE, ""};
    if (store_document_put(world->store, "colors/RZ01", expected, text, &version, &err) != 0)
        fail_msg("%s", err.text);
    return version;
}

static uint64_t get(struct world *world, struct document_cache *cache)
{
    struct buf text = {NULL, 0, 0};
    uint64_t version;
    struct error err = {ERROR_NONE, ""};
    if (document_cache_get(cache, world->store, "colors/RZ01", &text, &version, &err) != 0)
        fail_msg("%s", err.text);
    buf_free(&text);
    return version;
}

static void expect(const char *path, uint64_t wanted, const char *wanted_text)
{
    struct document_cache *cache = document_cache_create(path);
    struct buf text = {NULL, 0, 0};
    uint64_t version;
    document_cache_recall(cache, "colors/RZ01", &text, &version);
    assert_int_equal(version, wanted);
    assert_string_equal(text.base ? text.base : "", wanted_text);
    buf_free(&text);
    document_cache_destroy(&cache);
}

static void what_the_store_said_last_is_there_in_the_next_life(void **state)
{
    struct world *world = *state;
    struct document_cache *cache = document_cache_create(world->path);
    assert_int_equal(get(world, cache), 0);
    uint64_t first = put(world, 0, STR_LIT("{\"green\":5}"));
    assert_int_equal(get(world, cache), first);
    expect(world->path, 0, "");
    document_cache_save(cache);
    expect(world->path, first, "{\"green\":5}");
    uint64_t second = put(world, first, STR_LIT("{\"green\":25}"));
    expect(world->path, first, "{\"green\":5}");
    assert_int_equal(get(world, cache), second);
    document_cache_destroy(&cache);
    expect(world->path, second, "{\"green\":25}");
}

static void a_file_that_is_missing_or_garbled_counts_as_empty(void **state)
{
    struct world *world = *state;
    struct error err;
    expect(world->path, 0, "");
    assert_int_equal(file_replace(world->path, STR_LIT("{\"documents\":{\"colors/RZ01\":{\"ver"), 0600, &err), 0);
    expect(world->path, 0, "");
    assert_int_equal(
        file_replace(world->path, STR_LIT("{\"documents\":{\"colors/RZ01\":{\"version\":-1}}}"), 0600, &err), 0);
    expect(world->path, 0, "");
}

static void what_could_not_be_written_is_written_when_it_can_be(void **state)
{
    struct world *world = *state;
    char folder[80], path[96];
    snprintf(folder, sizeof(folder), "%s/later", world->folder);
    snprintf(path, sizeof(path), "%s/cache", folder);
    struct document_cache *cache = document_cache_create(path);
    uint64_t version = put(world, 0, STR_LIT("x"));
    assert_int_equal(get(world, cache), version);
    document_cache_save(cache);
    assert_int_equal(mkdir(folder, 0700), 0);
    document_cache_save(cache);
    expect(path, version, "x");
    document_cache_destroy(&cache);
}

static void without_a_file_nothing_is_kept_and_nothing_fails(void **state)
{
    struct world *world = *state;
    struct document_cache *cache = document_cache_create(NULL), *unwritable = document_cache_create("/nowhere/cache");
    uint64_t version = put(world, 0, STR_LIT("x"));
    assert_int_equal(get(world, cache), version);
    assert_int_equal(get(world, unwritable), version);
    expect(NULL, 0, "");
    document_cache_destroy(&cache);
    document_cache_destroy(&unwritable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_store_said_last_is_there_in_the_next_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_missing_or_garbled_counts_as_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_written_is_written_when_it_can_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_file_nothing_is_kept_and_nothing_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
